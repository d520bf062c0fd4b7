"""Calls: what they give, what they do to their arguments, and whether the order of a set comes through."""

from __future__ import annotations

import ast
import re
from typing import Final

from rsm.lint.modules import Class, Function
from rsm.lint.scene import PROPERTIES, Node
from rsm.lint.values import (
    MUTABLE,
    MUTATORS,
    TRACKED,
    UNICODE_METHODS,
    UNKNOWN,
    UNORDERED,
    Value,
    element,
    has,
    instance,
    item,
    joined,
    members,
    words,
)
from rsm.lint.writes import Writes

__all__ = ["Calls"]

# Functions whose result does not depend on the order of what they are given.
ORDERLESS: Final = frozenset({"sorted", "set", "frozenset", "sum", "len", "any", "all", "min", "max", "bool"})
# Functions that hand on the order of what they are given.
ORDERED: Final = words(
    """builtins.list builtins.tuple builtins.enumerate builtins.zip builtins.map builtins.filter builtins.iter
    builtins.reversed builtins.bytes builtins.bytearray builtins.dict collections.deque collections.Counter
    collections.OrderedDict array.array functools.reduce json.dumps numpy.array numpy.asarray numpy.fromiter"""
)
LAZY: Final = frozenset({"builtins.list", "builtins.tuple", "builtins.map", "builtins.filter", "builtins.iter"})
TEXTS: Final = frozenset({"builtins.str", "builtins.repr", "builtins.ascii", "builtins.format"})
RESULTS: Final = {
    "builtins.str": "str",
    "builtins.repr": "str",
    "builtins.ascii": "str",
    "builtins.format": "str",
    "builtins.chr": "str",
    "builtins.input": "str",
    "builtins.bytes": "bytes",
    "builtins.int": "int",
    "builtins.len": "int",
    "builtins.ord": "int",
    "builtins.abs": "number",
    "builtins.bool": "bool",
    "builtins.float": "float",
    "builtins.bytearray": "bytearray",
}
STR_METHODS: Final = UNICODE_METHODS | {"strip", "lstrip", "rstrip", "replace", "removeprefix", "removesuffix", "zfill"}
SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
INTEGER_ARRAYS: Final = frozenset(
    f"numpy.{name}" for name in ("array", "asarray", "zeros", "ones", "arange", "full", "empty")
)
# What opens a column of an rsm.Array for writing.
ARRAY_WRITES: Final = ("write", "set", "assign", "resize")
SORTS: Final = ("numpy.sort", "numpy.argsort")
PATTERNS: Final = frozenset(
    f"re.{name}" for name in ("compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
)


class Calls(Writes):
    """Calls of functions, methods and classes."""

    def call(self, node: ast.Call, sink: bool) -> Value:
        """Examine a call."""
        function = node.func
        if isinstance(function, ast.Attribute):
            base = self.expression(function.value, sink=function.attr in SET_METHODS)
            callee = self.attribute(function, base)
        else:
            base = UNKNOWN
            callee = self.expression(function)
        name = callee.name if callee.kind == "external" else ""
        bare = name.removeprefix("builtins.")
        orderless = bare in ORDERLESS and name != bare
        takes_any = orderless or (sink and name in LAZY) or name == "builtins.next"
        if name == "builtins.sorted" or name in ("builtins.min", "builtins.max"):
            takes_any = True
        arguments = [self.expression(one, sink=takes_any and place == 0) for place, one in enumerate(node.args)]
        for keyword in node.keywords:
            self.expression(keyword.value)
        if callee.kind == "external":
            return self._call_outside(node, name, arguments, sink)
        if callee.kind == "class":
            return self._make(callee.of)
        if callee.kind == "function":
            return self._call_own(callee)
        if isinstance(function, ast.Attribute):
            return self._call_method(node, function, base, arguments)
        return UNKNOWN

    # --- own functions and classes ------------------------------------------------------------------------------------

    def _make(self, owner: Class) -> Value:
        self.lead_to_class(owner)
        return Value("object", owner.name, of=owner, origin=("made", ""))

    def _call_own(self, callee: Value) -> Value:
        function: Function = callee.of
        receiver = callee.parts[0] if callee.parts else None
        of = receiver.of if receiver is not None and receiver.kind in ("object", "class") else function.owner
        return self.types.returned(function, of)

    # --- names of modules ---------------------------------------------------------------------------------------------

    def _call_outside(self, node: ast.Call, name: str, arguments: list[Value], sink: bool) -> Value:
        first = arguments[0] if arguments else UNKNOWN
        keywords = {keyword.arg for keyword in node.keywords}
        if name in ("builtins.sorted", "builtins.min", "builtins.max"):
            if "key" in keywords and has(first, UNORDERED):
                self.report("RSM203", node, f"{name[9:]}() of a set with a key: equal keys come in the order of hashes")
            return instance("list", element(first)) if name == "builtins.sorted" else element(first)
        if name == "builtins.next":
            if has(first, UNORDERED):
                self.report("RSM202", node, "which element of a set comes first depends on hashes")
            elif first.origin is not None and first.origin[0] in ("module", "class"):
                self.change(node, first, UNKNOWN)
        elif name.startswith(("builtins.dict.", "builtins.set.")) and has(first, TRACKED):
            if name.rpartition(".")[2] in MUTATORS:
                self.report(
                    "RSM305", node, f"{name[9:]}() writes past the container: nothing hashes it or rolls it back"
                )
        elif name in ("builtins.set", "builtins.frozenset"):
            return instance(name[9:], element(first))._replace(of="filled" if arguments else None)
        elif name == "builtins.super":
            return Value("object", "super", of=self.self_class) if self.self_class is not None else UNKNOWN
        elif name == "builtins.type" and len(arguments) == 1 and first.kind == "object":
            return Value("class", first.of.name, of=first.of)
        elif name in ("builtins.setattr", "builtins.delattr") or name.endswith(("object.__setattr__", "force_setattr")):
            self._set_attribute(node, name, first)
        elif name == "builtins.vars" and first.kind == "object":
            return self._dictionary(node, first)
        elif name in TEXTS:
            self.text_of(first, node)
            if name == "builtins.format" and len(node.args) > 1:
                self.check_format(node.args[1], node)
        elif name == "contextlib.suppress":
            self.check_caught(node.args, node)
        elif name in PATTERNS:
            self._check_pattern(node)
        elif name.startswith("numpy."):
            self._check_numpy(node, name, keywords)
        elif name == "datetime.datetime.fromtimestamp" and len(node.args) < 2 and "tz" not in keywords:
            self.report("RSM406", node, "fromtimestamp() without a zone takes the node's own: give datetime.UTC")
        elif name == "time.gmtime" and not node.args:
            self.report("RSM101", node, "time.gmtime() reads a clock: every replica reads another time; use ctx.now")
        return self._from_sequence(node, name, arguments, sink)

    def _from_sequence(self, node: ast.Call, name: str, arguments: list[Value], sink: bool) -> Value:
        """What a function of the standard library makes of the sequences that it is given."""
        first = arguments[0] if arguments else UNKNOWN
        parts = (element(first),)
        if name == "builtins.dict.fromkeys":
            return instance("unordered_dict" if has(first, UNORDERED) else "dict", element(first))
        if name in ORDERED or name.startswith("itertools."):
            mixed = any(has(one, UNORDERED) or has(one, ("unordered_dict",)) for one in arguments)
            if mixed and name in ("builtins.dict", "collections.OrderedDict", "collections.Counter"):
                return instance("unordered_dict", *parts)
            if mixed and sink and name in LAZY:
                return instance("unordered", element(arguments[-1]))
            for one in arguments:
                self.go_through(one, node, f"put into {name.removeprefix('builtins.')}()")
            kind = name.removeprefix("builtins.")
            if kind in ("map", "filter", "iter", "enumerate", "zip", "reversed") or "." in kind:
                kind = kind if kind in MUTABLE else "sequence"
            filled = "filled" if arguments and kind in ("list", "dict") else None
            values = first.parts if kind == "dict" and first.kind == "instance" else parts
            return instance(kind, *(values if kind in ("list", "tuple", "sequence", "dict") else ()))._replace(
                of=filled
            )
        if name in RESULTS:
            return instance(RESULTS[name])
        if name == "collections.defaultdict" and node.args:
            made = {"builtins.list": "list", "builtins.set": "set", "builtins.dict": "dict", "builtins.int": "int"}
            value = self.seen.get(node.args[0], UNKNOWN)
            return instance(name, UNKNOWN, instance(made[value.name]) if value.name in made else UNKNOWN)
        return instance(name) if name.rpartition(".")[2][:1].isupper() else instance(f"{name}()")

    def _set_attribute(self, node: ast.Call, name: str, first: Value) -> None:
        if first.kind == "object" and (first.of.is_machine or first.of in self.types.held):
            if self._last_name() not in ("__init__", "__post_init__", "__new__"):
                self.report("RSM305", node, f"{name.removeprefix('builtins.')}() passes by what the class declares")
        elif first.kind == "class":
            self.report("RSM302", node, f"{first.of.name} is shared by all machines of the process")
        elif first.kind in ("module", "external"):
            self.report("RSM301", node, f"a variable of {first.name} is written, which no snapshot has")
        elif name.endswith("__setattr__") and first.origin is not None and first.origin[0] == "element":
            self.report("RSM306", node, f"a value of self.{first.origin[1]} is changed where it lies: assign another")

    def _dictionary(self, node: Node, one: Value) -> Value:
        if one.of.is_machine or one.of in self.types.held:
            self.report(
                "RSM305", node, "the attributes of a machine are reached past what the class declares", "handler"
            )
        return instance("dict")

    def _check_numpy(self, node: ast.Call, name: str, keywords: set[str | None]) -> None:
        if name in SORTS and not is_stable(node):
            self.report("RSM209", node, f'{name}() orders equal elements at will: give kind="stable"')
        given = next((keyword.value for keyword in node.keywords if keyword.arg == "dtype"), None)
        if given is not None:
            if self.seen.get(given, UNKNOWN).name == "builtins.int":
                self.report("RSM403", node, "dtype=int is as wide as the platform has it: name a width, such as int64")
        elif name in INTEGER_ARRAYS and len(node.args) < 2 + (name == "numpy.full") and None not in keywords:
            self.report("RSM403", node, f"{name}() without a dtype has integers as wide as the platform's")

    def _check_pattern(self, node: ast.Call) -> None:
        pattern = node.args[0] if node.args else None
        flags = " ".join(ast.unparse(one) for one in [*node.args[1:], *(k.value for k in node.keywords)])
        text = pattern.value if isinstance(pattern, ast.Constant) else None
        if isinstance(text, str) and not re.search(r"\b(?:ASCII|A)\b", flags) and "(?a" not in text:
            if re.search(r"\\[wWdDsSbB]", text.replace("\\\\", "")):
                self.report("RSM404", node, "the pattern follows the Unicode tables of this Python: give re.ASCII")
            elif re.search(r"\b(?:IGNORECASE|I)\b", flags) or "(?i" in text:
                self.report("RSM404", node, "ignoring case follows the Unicode tables of this Python: give re.ASCII")

    # --- methods of values --------------------------------------------------------------------------------------------

    def _call_method(self, node: ast.Call, function: ast.Attribute, base: Value, arguments: list[Value]) -> Value:
        method = function.attr
        first = arguments[0] if arguments else UNKNOWN
        last = arguments[-1] if arguments else UNKNOWN
        if method in MUTATORS and not all(one.kind == "object" for one in members(base)):
            taken = last if method not in ("update", "extend", "extendleft", "pop", "remove", "discard") else UNKNOWN
            self.change(node, base, taken)
        elif method in ARRAY_WRITES and has(base, ("rsm.Array",)):
            self.change(node, base, UNKNOWN)
        if method in ("extend", "extendleft") or (method == "join" and arguments):
            self.go_through(first, node, f"put in by {method}()")
        if method in UNICODE_METHODS and not node.args and self._may_be_text(function.value, base):
            self.report("RSM404", node, f"{method}() follows the Unicode tables of this Python")
        elif method == "strftime" and base.kind != "object":
            self.report("RSM405", node, "strftime() follows the locale of the node")
        elif method in ("astimezone", "timestamp") and not node.args and not node.keywords and base.kind != "object":
            self.report("RSM406", node, f"{method}() takes the node's own time zone")
        elif method == "argsort" and base.kind != "object" and not is_stable(node):
            self.report("RSM209", node, 'argsort() orders equal elements at will: give kind="stable"')
        elif method == "format" and isinstance(function.value, ast.Constant):
            self._check_text_format(node, function.value, arguments)
        elif method == "pop" and has(base, UNORDERED):
            self.report("RSM202", node, "pop() of a set takes the element that its hash puts first")
        elif method == "sort" and any(one.name.startswith("numpy.") for one in members(base)) and not is_stable(node):
            self.report("RSM209", node, 'sort() orders equal elements at will: give kind="stable"')
        return joined(method_result(one, method, node) for one in members(base))

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
        if isinstance(spec, ast.Constant) and isinstance(spec.value, str) and re.fullmatch(r"[^%]*n", spec.value):
            self.report("RSM405", node, "the format n follows the locale of the node")

    # --- attributes ---------------------------------------------------------------------------------------------------

    def attribute(self, node: ast.Attribute, base: Value) -> Value:
        """Examine an attribute of a value that has been examined."""
        if base.kind == "union":
            return joined(self._attribute_of(node, one) for one in base.parts)
        return self._attribute_of(node, base)

    def _attribute_of(self, node: ast.Attribute, one: Value) -> Value:
        name = node.attr
        if one.kind == "object":
            return self._attribute_of_object(node, one)
        if one.kind in ("external", "module", "class"):
            if one.kind == "module":
                self.check_choice(node, one.of, name)
            if one.kind == "class" and name in one.of.fields and not one.of.method(name):
                return self._class_field(node, one.of)
            value = self.project.attribute(self.module, one, name)
            return self.outside(node, value, self.code_of(one))
        if (
            one.kind == "instance"
            and one.name == "exception"
            and name in ("args", "msg", "strerror", "message", "reason")
        ):
            self.report("RSM207", node, f"{name} of an exception differs between releases of Python and libraries")
        return UNKNOWN

    def _attribute_of_object(self, node: ast.Attribute, one: Value) -> Value:
        owner: Class = one.of
        name = node.attr
        if name == "__class__":
            return Value("class", owner.name, of=owner)
        if name == "__dict__":
            return self._dictionary(node, one)
        method = self._method(owner, name, is_super=one.name == "super")
        if method is not None:
            self.lead(method, owner)
            if method.is_decorated(*PROPERTIES):
                return self.types.returned(method, owner)
            return Value("function", name, (one,), method)
        value = self.types.attribute(owner, name)
        if value.kind == "instance" and value.origin is not None and value.origin[0] == "parameter":
            value = value._replace(of="given")
        if value.origin is not None and value.origin[0] == "class" and has(value, MUTABLE):
            return value
        is_mine = owner is self.self_class or (one.origin is not None and one.origin[0] == "self")
        if is_mine:
            return value._replace(origin=("self", name))
        return value._replace(origin=one.origin if one.origin and one.origin[0] == "element" else None)

    def _method(self, owner: Class, name: str, *, is_super: bool) -> Function | None:
        if not is_super or self.function.owner is None:
            return owner.method(name)
        mro = owner.mro()
        place = mro.index(self.function.owner) if self.function.owner in mro else 0
        return next((one.methods[name] for one in mro[place + 1 :] if name in one.methods), None)

    def _class_field(self, node: ast.Attribute, owner: Class) -> Value:
        self.lead_to_class(owner)
        value = self.types.attribute(owner, node.attr)
        return value._replace(origin=("class", f"{owner.name}.{node.attr}"))

    # --- needed from above --------------------------------------------------------------------------------------------

    def code_of(self, value: Value) -> str:
        """The rule that a name was reported for already."""
        raise NotImplementedError

    def check_caught(self, types: list[ast.expr], node: Node) -> None:
        """The types of exceptions that are caught."""
        raise NotImplementedError


def method_result(one: Value, method: str, node: ast.Call) -> Value:
    """What a method of a built-in type, or of a tracked container, gives."""
    if one.kind != "instance":
        return instance("bytes") if method == "encode" else UNKNOWN
    name, parts = one.name, one.parts
    is_dict = name in ("dict", "unordered_dict", "mapping", "collections.defaultdict") or name in TRACKED[:2]
    order = "unordered_dict_view" if name == "unordered_dict" else "dict_keys"
    key = parts[0] if parts else UNKNOWN
    if name in ("set", "frozenset") and method in SET_METHODS:
        return instance(name, *parts)
    if is_dict and method in ("keys", "items"):
        return instance(order, key if method == "keys" else instance("tuple", *parts))
    if is_dict and method == "values":
        return instance("unordered_dict_view" if name == "unordered_dict" else "sequence", *parts[1:])
    if method in ("get", "pop", "setdefault") and (is_dict or name == "rsm.Table"):
        return item(one)
    if name == "rsm.SortedMap" and method in ("ceiling", "floor", "higher", "lower", "first", "last"):
        return key
    if name == "rsm.Array" and method in ("read", "write"):
        return instance("numpy.ndarray")
    if name == "str" and method in STR_METHODS:
        return instance("str")
    if name == "str" and method in ("split", "rsplit", "splitlines"):
        return instance("list", instance("str"))
    if method == "encode":
        return instance("bytes")
    if name == "bytes" and method != "decode":
        return instance("bytes")
    return instance("str") if method == "decode" else UNKNOWN


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


def is_silent(owner: Class) -> bool:
    """Whether the text of an object is what `object` says: its class and its address."""
    if owner.method("__str__") or owner.method("__repr__") or owner.method("__format__"):
        return False
    for one in owner.mro():
        for decorator in one.node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if one.module.static(called).name.rpartition(".")[2] in ("dataclass", "define", "frozen", "attrs", "s"):
                return False
    plain = ("builtins.object", "typing.Protocol", "typing.Generic", "abc.ABC")
    return all(base in plain for base in owner.foreign_bases())
