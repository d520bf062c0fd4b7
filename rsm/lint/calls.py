"""Calls: what they give, what they do to their arguments, and whether the order of a set comes through."""

from __future__ import annotations

import ast
import re
from typing import Final

from rsm.lint.arguments import (
    LOCALE_NAMES,
    NATIVE,
    PATTERNS,
    Arguments,
    has_no_ties,
    is_negative,
    is_stable,
    is_true,
    texts_in,
)
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
from rsm.lint.writes import KEPT

__all__ = ["Calls"]

# Functions whose result does not depend on the order of what they are given.
ORDERLESS: Final = frozenset({"sorted", "set", "frozenset", "sum", "len", "any", "all", "min", "max", "bool"})
# Functions that hand on the order of what they are given.
ORDERED: Final = words(
    """builtins.list builtins.tuple builtins.enumerate builtins.zip builtins.map builtins.filter builtins.iter
    builtins.reversed builtins.bytes builtins.bytearray builtins.dict collections.deque collections.Counter
    collections.OrderedDict array.array functools.reduce json.dumps numpy.array numpy.asarray numpy.fromiter
    msgspec.json.encode msgspec.msgpack.encode msgspec.to_builtins"""
)
# Functions that put in order or choose, with a key that may not tell all apart.
CHOICES: Final = words("builtins.sorted builtins.min builtins.max heapq.nlargest heapq.nsmallest")
MIXED: Final = (*UNORDERED, "unordered_dict", "unordered_dict_view")
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
DECIMAL: Final = ("decimal.Decimal",)
DECIMAL_METHODS: Final = words("quantize sqrt exp ln log10 fma normalize remainder_near scaleb to_integral_value")
FLOAT_METHODS: Final = ("mean", "std", "var")
# What opens a column of an rsm.Array for writing.
ARRAY_WRITES: Final = ("write", "set", "assign", "resize")


class Calls(Arguments):
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
        takes_any |= name in CHOICES
        taken = int(name.startswith("heapq."))
        arguments = [self.expression(one, sink=takes_any and place == taken) for place, one in enumerate(node.args)]
        for keyword in node.keywords:
            self.expression(keyword.value)
        if callee.kind == "external":
            return self._call_outside(node, name, arguments, sink)
        if callee.kind == "class":
            return self._make(callee.of)
        if callee.kind == "function":
            return self._call_own(callee)
        if callee.kind == "object" and (method := callee.of.method("__call__")) is not None:
            self.lead(method, callee.of, self._sharing(callee))
            return self.types.returned(method, callee.of)
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
        if name in CHOICES:
            among = first if name.startswith("builtins.") else (*arguments, UNKNOWN, UNKNOWN)[1]
            if has(among, MIXED) and not all(has_no_ties(one) for one in node.keywords if one.arg == "key"):
                what = name.rpartition(".")[2]
                self.report("RSM203", node, f"{what}() of a set with a key: equal keys come in the order of hashes")
            if name.startswith("heapq."):
                return instance("list", element(among))
            return instance("list", element(first)) if name == "builtins.sorted" else element(first)
        if name == "builtins.next":
            if has(first, UNORDERED):
                self.report("RSM202", node, "which element of a set comes first depends on hashes")
            elif first.origin is not None and first.origin[0] in KEPT:
                self.change(node, first, UNKNOWN)
            elif first.origin is not None and first.origin[0] == "self":
                self.report("RSM305", node, f"self.{first.origin[1]} is an iterator: where it is, no snapshot has")
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
        elif name == "builtins.getattr" and len(node.args) > 1:
            return self._get_attribute(node, first)
        elif name in ("builtins.setattr", "builtins.delattr") or name.endswith(("object.__setattr__", "force_setattr")):
            self._set_attribute(node, name, first)
        elif name == "builtins.vars" and first.kind == "object":
            return self._dictionary(node, first)
        elif name in TEXTS:
            self.text_of(first, node)
            if name == "builtins.format" and len(node.args) > 1:
                self.check_format(node.args[1], node)
        elif name == "builtins.pow" and len(node.args) == 2 and is_negative(node.args[1]):
            self.report("RSM402", node, "a negative power makes a float: use integers")
        elif name in ("struct.pack", "struct.pack_into", "struct.unpack", "struct.unpack_from", "struct.Struct"):
            self._check_layout(node, NATIVE)
        elif name == "array.array":
            self._check_layout(node, r"[lL]")
        elif name in ("datetime.datetime.strptime", "time.strptime"):
            if any(re.search(LOCALE_NAMES, text) for one in node.args[1:2] for text in texts_in(one)):
                self.report("RSM405", node, "strptime() reads names in the language of the node")
        elif name == "operator.methodcaller" and UNICODE_METHODS.intersection(*map(texts_in, node.args[:1])):
            self.report("RSM404", node, "it follows the Unicode tables of this Python")
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
        if name in ("copy.copy", "copy.deepcopy"):
            return first._replace(origin=None)
        if name.startswith(("builtins.set.", "builtins.frozenset.")) and name.rpartition(".")[2] in SET_METHODS:
            return instance("set", element(first))
        if (
            name == "json.dumps"
            and not has(first, UNORDERED)
            and any(is_true(one, "sort_keys") for one in node.keywords)
        ):
            return instance("str")
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
                kind = kind if kind in MUTABLE or kind.startswith("numpy.") else "sequence"
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

    def _get_attribute(self, node: ast.Call, first: Value) -> Value:
        """`getattr(x, "name")` is `x.name`; `getattr(self, f"on_{kind}")` may be any method whose name begins so."""
        wanted = node.args[1]
        if isinstance(wanted, ast.Constant) and isinstance(wanted.value, str):
            named = ast.copy_location(ast.Attribute(node.args[0], wanted.value, ast.Load()), node)
            default = [self.seen.get(one, UNKNOWN) for one in node.args[2:]]
            return joined([self.attribute(named, first), *default])
        beginning = next(iter(texts_in(wanted)), "")
        for one in members(first):
            if beginning and one.kind == "object":
                for name in {name for owner in one.of.mro() for name in owner.methods if name.startswith(beginning)}:
                    self.lead(one.of.method(name), one.of, self._sharing(one))
        return UNKNOWN

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

    # --- methods of values --------------------------------------------------------------------------------------------

    def _call_method(self, node: ast.Call, function: ast.Attribute, base: Value, arguments: list[Value]) -> Value:
        method = function.attr
        first = arguments[0] if arguments else UNKNOWN
        last = arguments[-1] if arguments else UNKNOWN
        if method in MUTATORS and not all(one.kind == "object" for one in members(base)):
            taken = last if method not in ("update", "extend", "extendleft", "pop", "remove", "discard") else UNKNOWN
            self.change(node, base, taken)
        elif method in ("send", "__next__") and base.kind != "object" and base.origin and base.origin[0] == "self":
            self.report("RSM305", node, f"self.{base.origin[1]} is an iterator: where it is, no snapshot has")
        elif method in ARRAY_WRITES and has(base, ("rsm.Array",)):
            self.change(node, base, UNKNOWN)
        if method in ("extend", "extendleft") or (method == "join" and arguments):
            self.go_through(first, node, f"put in by {method}()")
        if method in UNICODE_METHODS and not node.args and self._may_be_text(function.value, base):
            self.report("RSM404", node, f"{method}() follows the Unicode tables of this Python")
        elif method == "total_seconds" and base.kind != "object":
            self.report("RSM402", node, "total_seconds() is a float: divide by a timedelta with //")
        elif method in ("now", "utcnow", "today") and any(one.name.startswith("datetime.") for one in members(base)):
            self.report("RSM101", node, f"{method}() reads a clock: every replica reads another time; use ctx.now")
        elif method in DECIMAL_METHODS and has(base, DECIMAL):
            self.report("RSM402", node, "Decimal rounds as the context of the thread says: use integers")
        elif method in FLOAT_METHODS and any(one.name.startswith("numpy.") for one in members(base)):
            self.report("RSM402", node, f"{method}() makes floats: use integers")
        elif method == "astype" and node.args:
            self._check_type(node.args[0], node)
        elif method == "most_common" and has(base, MIXED):
            self.report(
                "RSM204", node, "most_common() of what was filled in the order of a set: equal counts come in it"
            )
        elif method == "__hash__" and base.kind != "object":
            self.report("RSM205", node, "the hash of a value differs in every process")
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
        elif method == "update" and has(first, MIXED):
            self._mix(function.value, base)
        return joined(method_result(one, method, node) for one in members(base))

    def _mix(self, target: ast.expr, base: Value) -> None:
        """A dict of this function is filled in the order of a set: whoever goes through it is told."""
        if isinstance(target, ast.Name) and target.id in self.local and has(base, ("dict", "unordered_dict")):
            self.names[target.id] = base._replace(name="unordered_dict") if base.kind == "instance" else base

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
            self.lead(method, owner, self._sharing(one))
            if method.is_decorated(*PROPERTIES):
                return self.types.returned(method, owner)
            return Value("function", name, (one,), method)
        value = self.types.attribute(owner, name)
        if value.kind == "instance" and value.origin is not None and value.origin[0] == "parameter":
            value = value._replace(of="given")
        if value.origin is not None and value.origin[0] == "class" and (has(value, MUTABLE) or value.kind == "object"):
            return value
        is_mine = owner is self.self_class or (one.origin is not None and one.origin[0] == "self")
        if is_mine:
            return value._replace(origin=("self", name))
        return value._replace(origin=one.origin if one.origin and one.origin[0] == "element" else None)

    def _sharing(self, one: Value) -> str:
        """The rule against changing an object whose method is called, if the process keeps it."""
        if one.origin is not None and one.origin[0] != "self":
            return KEPT.get(one.origin[0], "")
        return self.shared if one.origin is not None or one.of is self.self_class else ""

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
