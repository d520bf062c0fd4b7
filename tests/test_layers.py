"""The map of the house is kept: imports point one way, the pure layers stay pure, demos use public names only.

`findings` reads a source tree without running it and returns one line per breach. The first test holds the real tree
to it; the others plant each breach in a small tree and see it found, so that no rule can go blind unnoticed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# A module may import from itself and from layers of a smaller number. Equal numbers do not see each other.
LAYERS = {
    "errors": 0,
    "limits": 0,
    "codec": 1,
    "state": 2,
    "machine": 3,
    "replica": 4,
    "raft": 5,
    "node": 6,
    "client": 7,
    "desync": 7,
    "lint": 7,
    "schemas": 7,
    "testing": 8,
    "gateway": 8,
    "cli": 9,
    "__main__": 10,
}
# Rooms inside a layer, by the same rule. What lies beside the rooms puts them together, and may see them all.
ROOMS = {
    "node": {"network": 0, "storage": 0, "agreement": 1, "feed": 1, "opening": 1, "snapshotting": 1, "serving": 2},
    "client": {"remote": 0, "observing": 1},
}
PURE = ("codec", "state", "machine", "replica")
# The design's list, and other doors to the same rooms: clocks, entropy, threads, processes, files.
IMPURE = frozenset(
    {"asyncio", "logging", "os", "pickle", "pysyncobj", "random", "socket", "structlog", "threading", "time"}
    | {"_thread", "concurrent", "datetime", "multiprocessing", "pathlib", "secrets"}
    | {"select", "selectors", "ssl", "subprocess", "tempfile", "uuid"}
)
# Built-in functions that read, write, or import what the rule on imports cannot see.
IMPURE_CALLS = frozenset({"__import__", "input", "open", "print"})
# What a user may import besides the public face.
PUBLIC_MODULES = frozenset({"gateway", "testing"})
# Domain modules know nothing of rsm, and import no module of a demo that does: the thin adapter beside them does.
DOMAIN = frozenset(
    {
        "demos/orderbook/auction.py",
        "demos/orderbook/book.py",
        "demos/orderbook/checks.py",
        "demos/orderbook/containers.py",
        "demos/orderbook/keys.py",
        "demos/orderbook/levels.py",
        "demos/orderbook/markets.py",
        "demos/orderbook/matching.py",
        "demos/orderbook/plain.py",
        "demos/orderbook/records.py",
        "demos/orderbook/reference_book.py",
        "demos/orderbook/stops.py",
        "demos/rts_lockstep/simulation/columns.py",
        "demos/rts_lockstep/simulation/combat.py",
        "demos/rts_lockstep/simulation/commanding.py",
        "demos/rts_lockstep/simulation/economy.py",
        "demos/rts_lockstep/simulation/integers.py",
        "demos/rts_lockstep/simulation/movement.py",
        "demos/rts_lockstep/orders.py",
        "demos/rts_lockstep/simulation/paths.py",
        "demos/rts_lockstep/plain.py",
        "demos/rts_lockstep/simulation/sight.py",
        "demos/rts_lockstep/simulation/terrain.py",
        "demos/rts_lockstep/units.py",
        "demos/rts_lockstep/simulation/wildlife.py",
        "demos/rts_lockstep/world.py",
    }
)


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str, str | None]]:
    """Every import as (line, module, name taken from it or None), relative ones resolved against `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, alias.name


def public_names(root: Path) -> frozenset[str]:
    """What `rsm/__init__.py` lists in `__all__`."""
    face = root / "rsm" / "__init__.py"
    if face.exists():
        for node in ast.parse(face.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                return frozenset(ast.literal_eval(node.value))
    return frozenset()


def library_findings(name: str, tree: ast.Module, parts: tuple[str, ...]) -> Iterator[str]:
    """Breaches in one module of the library. `parts` is its path inside `rsm`, without the suffix."""
    layer = parts[0]
    if layer not in LAYERS:
        yield f"{name}: {layer} is not on the map of the house"
        return
    room = parts[1] if len(parts) > 2 else ""
    if room and room not in ROOMS.get(layer, {}):
        yield f"{name}: {room} is not a room of {layer}"
    package = ("rsm", *parts[:-1])
    for line, module, taken in imports(tree, package):
        top, *below = module.split(".")
        if top == "rsm":
            target = below[0] if below else taken
            if target == layer:
                yield from room_findings(f"{name}:{line}", layer, room, (*below[1:], *([taken] if taken else [])))
                continue
            if target is None or target not in LAYERS:
                yield f"{name}:{line}: imports the public face of rsm instead of the layer it needs"
            elif LAYERS[target] >= LAYERS[layer]:
                yield f"{name}:{line}: {layer} imports {target}, which is not below it"
        elif top == "demos":
            yield f"{name}:{line}: the library imports a demo"
        elif top == "pysyncobj" and layer != "raft":
            yield f"{name}:{line}: only raft may import pysyncobj"
        elif layer in PURE and top in IMPURE:
            yield f"{name}:{line}: {layer} imports {top}"
        elif layer in PURE and top == "importlib":
            yield f"{name}:{line}: {layer} imports by name, which hides what it imports"
    if layer in PURE:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                yield f"{name}:{node.lineno}: {layer} calls {node.func.id}()"


def room_findings(where: str, layer: str, room: str, target: tuple[str, ...]) -> Iterator[str]:
    """A breach by one import inside a layer; `target` is what it imports, below the layer."""
    rooms = ROOMS.get(layer, {})
    if room in rooms and target and target[0] in rooms and target[0] != room and rooms[target[0]] >= rooms[room]:
        yield f"{where}: {room} imports {target[0]}, which is not below it"


def module_file(module: str) -> str:
    """The file of a module, from the root of the tree."""
    return module.replace(".", "/") + ".py"


def demo_findings(name: str, tree: ast.Module, package: tuple[str, ...], public: frozenset[str]) -> Iterator[str]:
    """Breaches in one module of a demo: it sees what `import rsm` gives, `rsm.testing`, and `rsm.gateway` itself."""
    for line, module, taken in imports(tree, package):
        top, *below = module.split(".")
        if top == "pysyncobj":
            yield f"{name}:{line}: only raft may import pysyncobj"
        if top == "demos" and name in DOMAIN and not {module_file(module), module_file(f"{module}.{taken}")} & DOMAIN:
            yield f"{name}:{line}: a domain object imports {module}, which is not of the domain"
        if top != "rsm":
            continue
        if name in DOMAIN:
            yield f"{name}:{line}: a domain object knows nothing of rsm"
        if below:
            if below[0] != "testing" and below != ["gateway"]:
                yield f"{name}:{line}: imports {module}, which is not public"
        elif taken is not None and taken not in public | PUBLIC_MODULES:
            yield f"{name}:{line}: rsm.{taken} is not public"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "rsm"
            and node.attr not in public | PUBLIC_MODULES
        ):
            yield f"{name}:{node.lineno}: rsm.{node.attr} is not public"


def findings(root: Path) -> list[str]:
    """Every breach of the map below `root`, one line each, in path order."""
    found: list[str] = []
    public = public_names(root)
    for path in sorted([*(root / "rsm").rglob("*.py"), *(root / "demos").rglob("*.py")]):
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=name)
        parts = path.relative_to(root).with_suffix("").parts
        if not ast.get_docstring(tree) and tree.body:
            found.append(f"{name}: has no docstring that says what the module is for")
        found += [
            f"{name}:{node.lineno}: assert is removed by python -O; write if ...: raise"
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert)
        ]
        if parts[0] == "demos":
            found += demo_findings(name, tree, parts[:-1], public)
        elif parts != ("rsm", "__init__"):
            found += library_findings(name, tree, parts[1:])
    return found


def test_the_tree_keeps_the_map(root: Path) -> None:
    """The real tree has no breach."""
    assert len(list((root / "rsm").rglob("*.py"))) > 2
    assert [name for name in DOMAIN if (root / name).parent.is_dir() and not (root / name).is_file()] == []
    assert findings(root) == []


FACE = '"""Face."""\nfrom rsm.machine import StateMachine\n\n__all__ = ["StateMachine"]\n'
SOUND = {
    "rsm/__init__.py": FACE,
    "rsm/errors.py": '"""Errors."""\n',
    "rsm/codec/__init__.py": "",
    "rsm/codec/record.py": '"""Records."""\nimport struct\nfrom rsm import errors, limits\nfrom . import chain\n',
    "rsm/machine/base.py": '"""Base."""\nfrom rsm.state.map import Map\nfrom ..codec.record import Entry\n',
    "rsm/raft/host.py": '"""Host."""\nimport pysyncobj\nfrom rsm.replica import core\n',
    "rsm/node/run.py": '"""Run."""\nfrom rsm.node.serving import server\nfrom rsm.node.feed.frames import Head\n',
    "rsm/node/feed/frames.py": '"""Frames."""\nfrom rsm.node.network import wire\nfrom rsm.node import log\n',
    "rsm/node/disk.py": '"""Disk."""\nimport os, threading\nfrom rsm.raft import seam\nopen("x")\n',
    "rsm/testing/drive.py": '"""Drive."""\nfrom rsm.client import retry\n',
    "rsm/cli/main.py": '"""Line."""\nimport rsm.client, rsm.desync\n',
    "demos/orderbook/machine.py": '"""Adapter."""\nimport rsm\nimport rsm.testing\nfrom rsm import StateMachine\n'
    "from rsm import gateway\nfrom rsm.gateway import app\nrsm.gateway.app\n"
    "from demos.orderbook import book\nBase = rsm.StateMachine\nrsm.testing.run\n",
    "demos/orderbook/book.py": '"""Book."""\nimport time\nimport demos.orderbook.keys\n'
    "from demos.orderbook import keys\nfrom demos.orderbook.keys import ASK\nfrom .keys import BID\n",
}


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write a small sound tree, with `files` put in or over it."""
    for name, text in (SOUND | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_sound_tree_has_no_findings(tmp_path: Path) -> None:
    """What the map allows is not reported: lower layers, relative imports, pysyncobj in raft, I/O in node."""
    assert findings(plant(tmp_path, {})) == []


@pytest.mark.parametrize(
    ("name", "code", "finding"),
    [
        ("rsm/codec/x.py", "from rsm.state import map", "codec imports state, which is not below it"),
        ("rsm/state/x.py", "import rsm.machine.base", "state imports machine, which is not below it"),
        ("rsm/replica/x.py", "from rsm import raft", "replica imports raft, which is not below it"),
        ("rsm/raft/x.py", "from ..node import disk", "raft imports node, which is not below it"),
        ("rsm/client/x.py", "from rsm.desync import diff", "client imports desync, which is not below it"),
        ("rsm/node/x.py", "def f():\n    import rsm.cli.main", "node imports cli, which is not below it"),
        ("rsm/client/x.py", "from rsm.testing import disk", "client imports testing, which is not below it"),
        ("rsm/testing/x.py", "from rsm.cli import main", "testing imports cli, which is not below it"),
        ("rsm/client/x.py", "import rsm.gateway", "client imports gateway, which is not below it"),
        ("rsm/gateway/x.py", "from rsm.cli import main", "gateway imports cli, which is not below it"),
        ("rsm/limits.py", "from rsm.errors import RsmError", "limits imports errors, which is not below it"),
        ("rsm/node/x.py", "import rsm", "imports the public face of rsm instead of the layer it needs"),
        ("rsm/node/x.py", "from rsm import StateMachine", "imports the public face of rsm instead of the layer"),
        ("rsm/node/x.py", "from demos.orderbook import book", "the library imports a demo"),
        ("rsm/node/storage/x.py", "from rsm.node.feed import frames", "storage imports feed, which is not below it"),
        ("rsm/node/feed/x.py", "from rsm.node import serving", "feed imports serving, which is not below it"),
        ("rsm/client/remote/x.py", "import rsm.client.observing.inbox", "remote imports observing, which is not below"),
        ("rsm/node/attic/x.py", "", "attic is not a room of node"),
        ("rsm/helpers/x.py", "", "helpers is not on the map of the house"),
        ("rsm/node/x.py", "import pysyncobj.journal", "only raft may import pysyncobj"),
        ("demos/orderbook/x.py", "import pysyncobj", "only raft may import pysyncobj"),
        ("rsm/replica/x.py", "import importlib", "replica imports by name"),
        ("rsm/codec/x.py", "data = open('x').read()", "codec calls open()"),
        ("rsm/machine/x.py", "__import__('ti' + 'me')", "machine calls __import__()"),
        ("rsm/node/x.py", "assert True", "assert is removed by python -O"),
        ("demos/orderbook/x.py", "assert True", "assert is removed by python -O"),
        ("demos/orderbook/x.py", "from rsm.state import Map", "imports rsm.state, which is not public"),
        ("demos/orderbook/x.py", "import rsm.node.disk", "imports rsm.node.disk, which is not public"),
        ("demos/orderbook/x.py", "from rsm.gateway.feed import Feed", "imports rsm.gateway.feed, which is not public"),
        ("demos/orderbook/x.py", "from rsm import errors", "rsm.errors is not public"),
        ("demos/orderbook/x.py", "import rsm\nrsm.node", "rsm.node is not public"),
        ("demos/orderbook/book.py", "import rsm", "a domain object knows nothing of rsm"),
        ("demos/orderbook/keys.py", "def f():\n    from rsm import StateMachine", "a domain object knows nothing"),
        ("demos/orderbook/stops.py", "from demos.orderbook import machine", "which is not of the domain"),
        ("demos/orderbook/stops.py", "from .machine import OrderBook", "demos.orderbook.machine, which is not of the"),
    ],
)
def test_each_rule_bites(tmp_path: Path, name: str, code: str, finding: str) -> None:
    """A planted breach of each rule is found, in the file where it stands, and nothing else is."""
    found = findings(plant(tmp_path, {name: f'"""Planted."""\n{code}\n'}))
    assert len(found) == 1, found
    assert found[0].startswith(name)
    assert finding in found[0]


@pytest.mark.parametrize("layer", PURE)
@pytest.mark.parametrize("module", sorted(IMPURE - {"pysyncobj"}))
def test_no_pure_layer_reaches_the_world(tmp_path: Path, layer: str, module: str) -> None:
    """Each forbidden module is found in each pure layer, even when imported inside a function."""
    code = f'"""Planted."""\ndef f():\n    from {module} import something\n'
    found = findings(plant(tmp_path, {f"rsm/{layer}/x.py": code}))
    assert found == [f"rsm/{layer}/x.py:3: {layer} imports {module}"]


def test_a_module_without_a_docstring_is_found(tmp_path: Path) -> None:
    """Every module with code says what it is for."""
    found = findings(plant(tmp_path, {"rsm/node/x.py": "value = 1\n"}))
    assert found == ["rsm/node/x.py: has no docstring that says what the module is for"]
