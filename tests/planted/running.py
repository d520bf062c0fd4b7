"""One fault, through all five tools."""

from __future__ import annotations

import venv
from pathlib import Path
from typing import Any

import rsm
from rsm.errors import BadBytes
from tests.planted import tools
from tests.planted.faults import ACROSS, Fault
from tests.planted.live import Nodes, Story, roll, watch
from tests.planted.loading import checkout, forget, load
from tests.planted.other_python import other_python
from tests.planted.remote import RemoteNodes, Setting
from tests.planted.seen import Seen


class Run:
    """One fault in a directory of its own."""

    def __init__(self, fault: Fault, directory: Path) -> None:
        self.fault = fault
        self.directory = directory
        self.sound = checkout(directory / "sound", fault.module)
        self.other = self.sound
        if fault.change is not None or fault.library != "old":
            self.other = checkout(directory / "other", fault.module, fault.change, fault.library)
        self.story: Story | None = None

    @property
    def python(self) -> str:
        """The other interpreter; `NoOtherPython`."""
        return other_python(across=self.fault.setting == ACROSS)

    def first_release(self, _: int) -> Any:
        """The class that the nodes begin with, where it is not the present one."""
        return load(self.sound, self.fault.began_with)

    def machine(self, number: int = 1) -> Any:
        """The class as a node has it, in a module of its own."""
        return load(self.other if number == 3 else self.sound, self.fault.name)

    def run(self) -> dict[str, Seen]:
        """All five, and nothing left behind in this process."""
        try:
            self.story = self._live()
            return {
                "lint": tools.ask_lint(self.other, self.fault.name),
                "strict": tools.ask_strict(self.machine(3), self.fault.commands, self.fault.queries),
                "live": tools.told_live(self.story, self.machine()),
                "compare": tools.ask_compare(self.story),
                "replay": self._replay(self.story),
            }
        finally:
            forget()

    def _live(self) -> Story:
        fault = self.fault
        nodes: Nodes
        plant = fault.plant
        if fault.began_with:
            nodes, plant = Nodes(self.first_release), roll(self.machine)
        elif fault.setting is None:
            nodes = Nodes(self.machine)
        else:
            setting = Setting(python=self.python) if fault.needs_python else fault.setting
            assert isinstance(setting, Setting)
            nodes = RemoteNodes(self.machine, fault.name, self.sound, setting)
        try:
            return watch(
                nodes,
                self.directory,
                before=fault.before,
                plant=plant,
                provoke=fault.provoke,
                after=fault.after,
                hash_points=fault.hash_points_max + 1,
            )
        finally:
            for number in list(nodes.members):
                nodes.kill(number)

    def _replay(self, story: Story) -> Seen:
        fault, log = self.fault, story.directories[1]
        if fault.replay_by == "hostile":
            return tools.ask_hostile(log, self.sound, fault.name, fault.causes)
        if fault.replay_by == "against":
            return tools.ask_against(log, self.sound, fault.name, self._against())
        if fault.replay_by == "bundle":
            (bundle,) = story.evidence
            return tools.ask_replay(bundle, self.machine())
        if fault.replay_by == "newest":
            try:
                return tools.ask_replay(story.found[3], self.machine(), start="newest")
            except BadBytes as error:
                return Seen("damage", who=tools.node_in(str(error)))
        return tools.ask_replay(log, self.machine())

    def _against(self) -> str:
        if self.fault.needs_python:
            return self.python
        if self.fault.library == "old":
            return str(self.other)
        # An environment that has the other release installed, and otherwise what this one has.
        path = self.directory / "venv"
        venv.create(path, symlinks=True)
        (packages,) = path.glob("lib/python*/site-packages")
        here = Path(rsm.__file__).parent.parent
        (packages / "planted.pth").write_text(f"{self.other}\n{here}\n{tools.packages()}\n")
        return str(path)
