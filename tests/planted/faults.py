"""The planted faults: how each is planted and provoked, and what each tool must say about it.

An expectation is the text of a cell in the table of docs/determinism.md; `no` where a tool cannot see it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from tests.planted.live import Command, Nodes, damage, flip, look, nothing, restart, rewrite
from tests.planted.remote import Setting
from tests.planted.seen import NO

OTHER_ZONE = "XYZ-13:45"
# Nodes 1 and 2 have the seed of this process.
OTHER_SEED = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
LETTERS = "x\U00011f04\U0002ebf0\u1c89"  # the last three came with Unicode 15.0, 15.1 and 16.0
# In place of a setting: another interpreter, if there is one; and one on the other side of Python 3.12.
PYTHON = "python"
ACROSS = "python across 3.12"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    `module` is the machine's; `name` the class that all nodes run. Node 3 has `setting`, `change` (one line of its
    source) or `library`, or `plant` harms it. Nodes that `began_with` an older class get the present one when `before`
    has run. `after` is repeated until there is a verdict. `replay` is how it is replayed: `hostile` (which settings are
    tried: `causes`; all without), `against`, `bundle` (node 3's evidence), `newest` (node 3, from its snapshot) or
    `log`. `hash_points_max`: how many may pass until it is found live.
    """

    title: str
    module: str
    name: str = "Faulty"
    began_with: str = ""
    before: tuple[Command, ...] = ()
    provoke: tuple[Command, ...] = ()
    after: Command
    queries: tuple[Command, ...] = ()
    plant: Callable[[Nodes], None] = nothing
    setting: Setting | str | None = None
    change: tuple[str, str] | None = None
    library: str = "old"
    replay_by: str = "hostile"
    causes: tuple[str, ...] = ()
    hash_points_max: int = 1
    lint: str
    strict: str
    live: str
    compare: str
    replay: str

    @property
    def key(self) -> str:
        """For the names of tests."""
        return self.title.replace(" ", "-")

    @property
    def needs_python(self) -> bool:
        """Whether it takes another interpreter."""
        return self.setting in (PYTHON, ACROSS)

    @property
    def commands(self) -> list[Command]:
        """A short run of it."""
        return [*self.before[:100], *self.provoke, self.after]


RESTARTED = "restored from snapshots"
FAULTS: tuple[Fault, ...] = (
    Fault(
        title="order of a set",
        module="set_order",
        provoke=(("seat", tuple("abcdefgh")),),
        after=("seat", ("a",)),
        setting=Setting({"PYTHONHASHSEED": OTHER_SEED}),
        lint="`RSM201`",
        strict=NO,
        live="roots, index 64, node 3, command 7, `places`",
        compare="apply, index 64, node 3",
        replay="`PYTHONHASHSEED=1` and `PYTHONHASHSEED=4242`, index 7, `places/'a'`, `places/'c'` and 4 more",
    ),
    Fault(
        title="hash seed",
        module="hash_seed",
        provoke=(("assign", "ann"),),
        after=("assign", ""),
        setting=Setting({"PYTHONHASHSEED": OTHER_SEED}),
        causes=("PYTHONHASHSEED=1",),
        lint="`RSM205`",
        strict="`RSM205`, index 3",
        live="roots, index 64, node 3, command 7, `shards`",
        compare="apply, index 64, node 3",
        replay="`PYTHONHASHSEED=1`, index 7, `shards/'ann'`",
    ),
    Fault(
        title="wall clock",
        module="wall_clock",
        provoke=(("visit", "ann"),),
        after=("visit", "bob"),
        causes=("another run",),
        lint="`RSM101`",
        strict="`RSM101` `RSM501`, index 3, `visits/'ann'`",
        live="roots, index 64, no majority",
        compare="apply, index 64, no majority",
        replay="`another run`, index 7, `visits/'ann'`",
    ),
    Fault(
        title="hidden attribute",
        module="hidden_attribute",
        before=(("take", "a"), ("take", "b")),
        provoke=(("take", "c"),),
        after=("take", "d"),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM305`",
        strict="`RSM305` `RSM501`, index 3, `self.counter.number`, `tickets/'b'`",
        live="roots, index 64, node 3",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 10, `tickets/'c'`",
    ),
    Fault(
        title="insertion order after a restore",
        module="insertion_order",
        before=tuple(("order", f"n{99 - number}", 1) for number in range(90)),
        provoke=(("serve",),),
        after=("serve",),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM305`",
        strict="`RSM305` `RSM501`, index 3, `orders/'n10'`, `orders/'n99'` and 2 more",
        live="roots, index 64, node 3",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 10, `orders/'n10'`, `orders/'n99'` and 1 more",
    ),
    Fault(
        title="stale cache",
        module="stale_cache",
        before=(("set_rate", "eur", 2), ("pay", "ann", "eur", 1), ("set_rate", "eur", 3)),
        provoke=(("pay", "bob", "eur", 10),),
        after=("pay", "cat", "eur", 1),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM303`",
        strict="`RSM501`, index 6, `paid/'bob'`",
        live="roots, index 64, node 3",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 11, `paid/'bob'`",
    ),
    Fault(
        title="another release of a library",
        module="other_library",
        provoke=(("charge", "ann", 250),),
        after=("charge", "bob", 100),
        library="new",
        replay_by="against",
        lint=NO,
        strict=NO,
        live="roots, index 64, node 3, command 7, `fees`",
        compare="apply, index 64, node 3",
        replay="against, index 7, `fees/'ann'`",
    ),
    Fault(
        title="other code under the same version",
        module="other_code",
        name="Healthy",
        before=(("rest", "ann", 100),),
        provoke=(("fill", "ann", 100),),
        after=("rest", "bob", 1),
        change=("quantity < left", "quantity <= left"),
        replay_by="against",
        lint=NO,
        strict=NO,
        live="roots, index 64, node 3, command 8, `resting`, `result`",
        compare="apply, index 64, node 3",
        replay="against, index 8, `resting/'ann'`, `result`",
    ),
    Fault(
        title="off by one in one checkout of a version",
        module="off_by_one",
        name="Healthy",
        before=(("deposit", "ann", 10_000),),
        provoke=(("accrue", "ann", 3),),
        after=("deposit", "bob", 1),
        change=("range(months)", "range(1, months)"),
        replay_by="against",
        lint=NO,
        strict=NO,
        live="roots, index 64, node 3, command 8, `balances`",
        compare="apply, index 64, node 3",
        replay="against, index 8, `balances/'ann'`",
    ),
    Fault(
        title="off by one in an old machine version",
        module="old_version",
        name="Healthy",
        began_with="Old",
        before=(("deposit", "ann", 10_000),),
        provoke=(("accrue", "ann", 3),),
        after=("deposit", "bob", 1),
        change=("for _ in range(months)", "for _ in range(1, months)"),
        replay_by="against",
        lint=NO,
        strict=NO,
        live="roots, index 64, node 3, command 11, `balances`",
        compare="apply, index 64, node 3",
        replay="against, index 11, `balances/'ann'`",
    ),
    Fault(
        title="damaged snapshot",
        module="ledger",
        name="Healthy",
        before=(("add", "ann", 5),),
        after=("add", "bob", 1),
        plant=restart(damage),
        replay_by="newest",
        lint=NO,
        strict=NO,
        live="refused when it was read, node 3",
        compare="damage, node 3",
        replay="damage, node 3",
    ),
    Fault(
        title="snapshot of another state",
        module="ledger",
        name="Healthy",
        before=(("add", "ann", 5),),
        after=("add", "bob", 1),
        plant=restart(rewrite("amounts", "ann", 4)),
        replay_by="newest",
        lint=NO,
        strict=NO,
        live="roots, index 8, node 3, `amounts`",
        compare="snapshot, index 8, node 3, `amounts/'ann'`",
        replay="log, index 8",
    ),
    Fault(
        title="flipped bit in memory",
        module="ledger",
        name="Healthy",
        before=tuple(("add", f"n{number}", number) for number in range(600)),
        after=("add", "z", 1),
        plant=flip("amounts", "n77", 4),
        hash_points_max=4,
        replay_by="bundle",
        lint=NO,
        strict=NO,
        live="scrub, index 192, node 3, `amounts`",
        compare=NO,
        replay="bundle, index 192, node 3, `amounts/'n77'`",
    ),
    Fault(
        title="another Python",
        module="other_python",
        provoke=(("count", "ann", LETTERS),),
        after=("count", "bob", "y"),
        setting=PYTHON,
        replay_by="against",
        lint="`RSM404`",
        strict=NO,
        live="roots, index 64, node 3, command 7, `letters`",
        compare="apply, index 64, node 3",
        replay="against, index 7, `letters/'ann'`",
    ),
    Fault(
        title="mutation in a query",
        module="query_mutation",
        before=(("set_price", "tea", 3),),
        provoke=(("rank", "tea"),),
        after=("set_price", "tea", 3),
        queries=(("price", "tea"),),
        plant=look("price", "tea"),
        replay_by="bundle",
        lint="`RSM305`",
        strict="`RSM305` `RSM501`, index 3, `popular/'tea'`, `self.looks['tea']`",
        live="roots, index 64, node 3, `popular`",
        compare="apply, index 64, node 3",
        replay="bundle, index 64, node 3, `popular/'tea'`",
    ),
    Fault(
        title="module global",
        module="module_global",
        before=(("issue", "a"), ("issue", "b")),
        provoke=(("issue", "c"),),
        after=("issue", "d"),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM301`",
        strict="`RSM301` `RSM501`, index 3, `numbers/'a'`, `planted_machine.issued`",
        live="roots, index 64, node 3, command 10, `numbers`",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 10, `numbers/'c'`",
    ),
    Fault(
        title="results that differ while the state agrees",
        module="results",
        provoke=(("add", "ann", 5),),
        after=("add", "bob", 1),
        causes=("another run",),
        lint="`RSM101`",
        strict="`RSM101` `RSM501`, index 3",
        live="roots, index 64, no majority",
        compare="apply, index 64, no majority",
        replay="`another run`, index 7, `result`",
    ),
    Fault(
        title="sum of floats",
        module="float_sum",
        provoke=(("load", "ann", (1,) * 10),),
        after=("load", "bob", (1,)),
        setting=ACROSS,
        replay_by="against",
        lint="`RSM402`",
        strict=NO,
        live="roots, index 64, node 3, command 7, `full`",
        compare="apply, index 64, node 3",
        replay="against, index 7, `full/'ann'`",
    ),
    Fault(
        title="text of an exception",
        module="exception_text",
        provoke=(("judge", "ann", ()),),
        after=("judge", "bob", (1,)),
        setting=ACROSS,
        replay_by="against",
        lint="`RSM207`",
        strict=NO,
        live="roots, index 64, node 3, command 7, `best`",
        compare="apply, index 64, node 3",
        replay="against, index 7, `best/'ann'`",
    ),
    Fault(
        title="random numbers",
        module="draw",
        provoke=(("draw", "ann"),),
        after=("draw", "bob"),
        causes=("another run",),
        lint="`RSM102`",
        strict="`RSM102` `RSM501`, index 3, `winners/'ann'`",
        live="roots, index 64, no majority",
        compare="apply, index 64, no majority",
        replay="`another run`, index 7, `winners/'ann'`",
    ),
    Fault(
        title="identity of an object",
        module="identity",
        provoke=(("offer", "ann"),),
        after=("offer", "bob"),
        causes=("another run",),
        lint="`RSM205`",
        strict="`RSM205`, index 3",
        live="roots, index 64, no majority",
        compare="apply, index 64, no majority",
        replay="`another run`, index 7, `keys/'ann'`",
    ),
    Fault(
        title="write behind a container",
        module="behind",
        before=(("set_level", "ann", 1),),
        provoke=(("adjust", "ann", 2),),
        after=("set_level", "bob", 1),
        replay_by="log",
        lint="`RSM305`",
        strict="`RSM306`, index 4",
        live="scrub, index 64, no majority",
        compare=NO,
        replay="log, index 64",
    ),
    Fault(
        title="timers by a clock",
        module="timers",
        provoke=(("arm", "ann"),),
        after=("arm", "bob"),
        causes=("another run",),
        lint="`RSM101`",
        strict="`RSM101` `RSM501`, index 3, `rsm.timer_due/1`, `rsm.timers/(…, 1)`",
        live="roots, index 64, no majority",
        compare="apply, index 64, no majority",
        replay="`another run`, index 7, `rsm.timer_due/1`, `rsm.timers/(…, 1)/name` and 2 more",
    ),
    Fault(
        title="time zone",
        module="time_zone",
        provoke=(("book", "ann", 0),),
        after=("book", "bob", 0),
        setting=Setting({"TZ": OTHER_ZONE}),
        causes=(f"TZ={OTHER_ZONE}",),
        lint="`RSM406`",
        strict="`RSM406`, index 3",
        live="roots, index 64, node 3, command 7, `days`",
        compare="apply, index 64, node 3",
        replay="`TZ=XYZ-13:45`, index 7, `days/'ann'`",
    ),
    Fault(
        title="assertions under python -O",
        module="optimized",
        provoke=(("withdraw", "ann", -5),),
        after=("withdraw", "bob", 5),
        setting=Setting(flags=("-O",)),
        causes=("python -O",),
        lint="`RSM109`",
        strict=NO,
        live="roots, index 64, node 3, command 7, `amounts`, `result`",
        compare="apply, index 64, node 3",
        replay="`python -O`, index 7, `amounts/'ann'`, `result`",
    ),
    Fault(
        title="mutable default",
        module="default_value",
        before=(("write", "ann", "x"),),
        provoke=(("write", "bob", "y"),),
        after=("write", "cat", "z"),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM304`",
        strict="`RSM304` `RSM501`, index 3, `notes/'ann'`, `planted_machine.append(default 1)[0]`",
        live="roots, index 64, node 3, command 9, `notes`",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 9, `notes/'bob'`",
    ),
    Fault(
        title="kept iterator",
        module="kept_iterator",
        before=(("take", "a"), ("take", "b")),
        provoke=(("take", "c"),),
        after=("take", "d"),
        plant=restart(),
        causes=(RESTARTED,),
        lint="`RSM305`",
        strict="`RSM305` `RSM501`, index 3, `self.numbers`, `tickets/'b'`",
        live="roots, index 64, node 3",
        compare="apply, index 64, node 3",
        replay="`restored from snapshots`, index 10, `result`, `tickets/'c'`",
    ),
    Fault(
        title="digits of a number",
        module="digits",
        provoke=(("measure", "ann", 1_000),),
        after=("measure", "bob", 1),
        setting=Setting({"PYTHONINTMAXSTRDIGITS": "640"}),
        lint=NO,
        strict=NO,
        live="roots, index 64, node 3, command 7, `digits`, `result`",
        compare="apply, index 64, node 3",
        replay=NO,
    ),
)
