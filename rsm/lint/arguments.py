"""The arguments of calls: types and sorts of numpy, layouts, patterns, formats, and what is made into text."""

from __future__ import annotations

import ast
import re
from typing import Final

from rsm.lint.modules import Class
from rsm.lint.scene import Node
from rsm.lint.values import UNKNOWN, Value, has, members, words
from rsm.lint.writes import Writes

__all__ = [
    "LOCALE_NAMES",
    "NATIVE",
    "PATTERNS",
    "Arguments",
    "has_no_ties",
    "is_negative",
    "is_stable",
    "is_true",
    "texts_in",
]

INTEGER_ARRAYS: Final = frozenset(
    f"numpy.{name}" for name in ("array", "asarray", "zeros", "ones", "arange", "full", "empty")
)
SORTS: Final = ("numpy.sort", "numpy.argsort")
PATTERNS: Final = frozenset(
    f"re.{name}" for name in ("compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
)
WIDE_TYPES: Final = words("int uint l L p P intp uintp int_ long ulong")
# Layouts of `struct` that follow the platform: no < > ! before sizes of more than a byte.
NATIVE: Final = r"(?![<>!])(?=.*[hHiIlLqQnNefdP])"
# Of strftime and strptime: names of days and months, and whole dates, as the language has them.
LOCALE_NAMES: Final = r"%[aAbBcpxX]"


class Arguments(Writes):
    """Arguments of arguments, and of values that become text."""

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _check_numpy(self, node: ast.Call, name: str, keywords: set[str | None]) -> None:
        if name in SORTS and not is_stable(node):
            self.report("RSM209", node, f'{name}() orders equal elements at will: give kind="stable"')
        given = next((keyword.value for keyword in node.keywords if keyword.arg == "dtype"), None)
        if given is not None:
            self._check_type(given, node)
        elif name in INTEGER_ARRAYS and len(node.args) < 2 + (name == "numpy.full") and None not in keywords:
            self.report("RSM403", node, f"{name}() without a dtype has integers as wide as the platform's")

    def _check_type(self, given: ast.expr, node: ast.Call) -> None:
        """A type that numpy is given."""
        text = given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else ""
        if self.seen.get(given, UNKNOWN).name == "builtins.int" or text in WIDE_TYPES:
            self.report("RSM403", node, "int is as wide as the platform has it: name a width, such as int64")
        elif re.fullmatch(r"[<>=|]?(?:float|double|half|single|[fdegF])\d*", text):
            self.report("RSM402", node, "floats: use integers, of a smaller unit")

    def _check_layout(self, node: ast.Call, pattern: str) -> None:
        """The format of `struct` or the type code of `array`."""
        if any(re.match(pattern, text) for one in node.args[:1] for text in texts_in(one)[:1]):
            self.report("RSM403", node, "its integers are laid out as the platform has it: begin with < or >, or use q")

    def _check_pattern(self, node: ast.Call) -> None:
        pattern = node.args[0] if node.args else None
        flags = " ".join(ast.unparse(one) for one in [*node.args[1:], *(k.value for k in node.keywords)])
        if isinstance(pattern, ast.Name) and pattern.id not in self.local:
            bound = [one.node for one in self.module.bindings.get(pattern.id, ())]
            pattern = next((one.value for one in bound if isinstance(one, ast.Assign | ast.AnnAssign)), None)
        text = "" if pattern is None else "".join(texts_in(pattern))
        if text and not re.search(r"\b(?:ASCII|A)\b", flags) and "(?a" not in text:
            if re.search(r"\\[wWdDsSbB]", text.replace("\\\\", "")):
                self.report("RSM404", node, "the pattern follows the Unicode tables of this Python: give re.ASCII")
            elif re.search(r"\b(?:IGNORECASE|I)\b", flags) or "(?i" in text:
                self.report("RSM404", node, "ignoring case follows the Unicode tables of this Python: give re.ASCII")

    def _may_be_text(self, base: ast.expr, value: Value) -> bool:
        if isinstance(base, ast.Constant):
            return False
        return value.kind == "unknown" or has(value, ("str",))

    def _check_text_format(self, node: ast.Call, text: ast.Constant, arguments: list[Value]) -> None:
        if isinstance(text.value, str) and re.search(r":[^{}]*n\}", text.value):
            self.report("RSM405", node, "the format n follows the locale of the node")
        for value in arguments:
            self.text_of(value, node)

    # --- texts --------------------------------------------------------------------------------------------------------

    def text_of(self, value: Value, node: Node) -> None:
        """A value is made into text."""
        self.go_through(value, node, "made into text")
        for one in members(value):
            if one.kind == "instance" and one.name == "exception":
                self.report("RSM207", node, "the text of an exception differs between releases of Python and libraries")
            elif one.kind == "instance" and one.name in ("function", "object()"):
                self.report("RSM206", node, "the text of a function or of a bare object has an address in it")
            elif one.kind == "function" or (one.kind == "object" and is_silent(one.of)):
                self.report("RSM206", node, f"the text of {one.name or 'a function'} has an address in it")
            elif one.kind == "object":
                for name in ("__format__", "__str__", "__repr__"):
                    method = one.of.method(name)
                    if method is not None:
                        self.lead(method, one.of)

    def check_format(self, spec: ast.expr, node: Node) -> None:
        """A format specification."""
        if isinstance(spec, ast.JoinedStr) and spec.values:
            spec = spec.values[-1]
        text = spec.value if isinstance(spec, ast.Constant) and isinstance(spec.value, str) else ""
        if re.fullmatch(r"[^%]*n", text) or re.search(LOCALE_NAMES, text):
            self.report("RSM405", node, f"the format {text} follows the locale of the node")


def is_stable(node: ast.Call) -> bool:
    """Whether a sort of numpy's is told to be stable."""
    return any(
        keyword.arg is None
        or (
            keyword.arg == "kind"
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value in ("stable", "mergesort")
        )
        or (keyword.arg == "stable" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True)
        for keyword in node.keywords
    )


def texts_in(node: ast.expr) -> list[str]:
    """The constant texts in a text that is put together, in order."""
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def is_true(keyword: ast.keyword, name: str) -> bool:
    """Whether a keyword says yes."""
    return keyword.arg == name and isinstance(keyword.value, ast.Constant) and keyword.value.value is True


def is_negative(node: ast.expr | None) -> bool:
    """Whether it is a number with a minus before it."""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)


def has_no_ties(key: ast.keyword) -> bool:
    """Whether a key has the whole element in it: `lambda word: (len(word), word)`."""
    match key.value:
        case ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=body):
            parts = body.elts if isinstance(body, ast.Tuple) else [body]
            return any(isinstance(one, ast.Name) and one.id == name for one in parts)
    return False


def is_silent(owner: Class) -> bool:
    """Whether the text of an object is what `object` says: its class and its address."""
    if owner.method("__str__") or owner.method("__repr__") or owner.method("__format__"):
        return False
    for one in owner.mro():
        for decorator in one.node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if one.module.static(called).name.rpartition(".")[2] in ("dataclass", "define", "frozen", "attrs", "s"):
                return False
    plain = ("rsm.StateMachine", "builtins.object", "typing.Protocol", "typing.Generic", "abc.ABC")
    return all(base in plain for base in owner.foreign_bases())
