"""docs/operating.md names every command and every option. What it shows is run by tests/test_docs.py."""

from __future__ import annotations

import re

import click
import pytest

from rsm.cli.main import cli
from tests.documents import ROOT

PAGE = ROOT / "docs" / "operating.md"


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, click.Command]]:
    """Every command that is no group, with its words."""
    if not isinstance(command, click.Group):
        return [(" ".join(path), command)]
    context = click.Context(command)
    found = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [leaf for name, below in found if below is not None for leaf in leaves(below, (*path, name))]


@pytest.mark.parametrize(("words", "command"), leaves(cli), ids=lambda value: value if isinstance(value, str) else "")
def test_the_page_names_every_option(words: str, command: click.Command) -> None:
    """Each command has a section of its own that names each of its options and arguments, and shows it being run."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^### `rsm {words}(?: [^`]*)?`\n(.*?)(?=^##|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section is not None, words
    heading = section[0].splitlines()[0]
    assert f"$ rsm {words} " in section[1]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert (parameter.metavar or "").strip("[]") in heading
        elif parameter.name != "debug":
            assert f"`{parameter.opts[0]}" in section[1], parameter.opts
