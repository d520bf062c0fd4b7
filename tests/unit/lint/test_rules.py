"""Every rule finds what it should and lets pass what is fine; docs/lint.md says what the rules say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rsm.lint.checking import Report, lint
from rsm.lint.rules import CODES, RULES, Rule
from tests.documents import ROOT
from tests.unit.lint.examples import BAD, GOOD, in_machine

PAGE = ROOT / "docs" / "lint.md"


def check(directory: Path, example: str) -> Report:
    """What the linter says of an example, which has to be Python."""
    source = in_machine(example)
    compile(source, "example", "exec")
    path = directory / "example.py"
    path.write_text(source, encoding="utf-8")
    return lint([str(path)])


def section(rule: Rule) -> str:
    """The part of the page that is about a rule."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^### {rule.code}: {re.escape(rule.title)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, rule.code
    return found[1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.code))
def test_the_page_says_what_the_rule_says(rule: Rule, tmp_path: Path) -> None:
    """Each rule has its section, with its own words; its example is found and what is called fine is fine."""
    text = section(rule)
    words = " ".join(text.split())
    assert words.startswith(f"{rule.what} Why: {rule.why} ```python")
    blocks = re.findall(r"```python\n# (found|fine)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["found", "fine"]
    for kind, example in blocks:
        report = check(tmp_path, example)
        assert {finding.code for finding in report.findings} == ({rule.code} if kind == "found" else set())
        assert report.exit_code == (1 if kind == "found" else 0)


def test_the_page_has_no_other_rules() -> None:
    """Headings and rules are the same, in the same order; codes are unique and well formed."""
    headings = re.findall(r"^### (RSM\d+): ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [rule.code for rule in RULES] == sorted(CODES)
    assert all(re.fullmatch(r"RSM[1-49]\d\d", code) for code in CODES)


@pytest.mark.parametrize(
    ("code", "example"), [(code, example) for code, examples in BAD.items() for example in examples]
)
def test_what_is_bad_is_found(code: str, example: str, tmp_path: Path) -> None:
    """The example breaks its rule, and no other: nothing is reported twice under two names."""
    report = check(tmp_path, example)
    assert {finding.code for finding in report.findings} == {code}
    assert report.unchecked == ()


@pytest.mark.parametrize("example", GOOD)
def test_what_is_good_is_clean(example: str, tmp_path: Path) -> None:
    """No false alarm."""
    report = check(tmp_path, example)
    assert [finding.text() for finding in report.findings] == []
    assert report.exit_code == 0


def test_every_rule_has_more_than_its_page() -> None:
    """No rule rests on one example."""
    assert set(BAD) == CODES


def test_the_place_is_that_of_the_breach(tmp_path: Path) -> None:
    """Line and column, from 1, of the expression at fault."""
    path = tmp_path / "example.py"
    path.write_text(in_machine("self.total = 1\nself.total = hash(text)"), encoding="utf-8")
    (finding,) = lint([str(path)]).findings
    line = path.read_text(encoding="utf-8").splitlines()[finding.line - 1]
    assert line[finding.column - 1 :] == "hash(text)"
    assert finding.text().startswith(f"{path}:{finding.line}:{finding.column}: RSM205 hash is an address")
