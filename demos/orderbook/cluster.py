"""A cluster as its user has it: the program `rsm`, a directory, and process numbers to do harm to.

`rsm cluster up` brings the nodes up and looks after them, `rsm status --watch --json` says how they stand. Where they
listen is in the directory's `cluster.toml`, which process runs a node is in the lock of the node's own directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from demos.exits import FOUND, UNCHECKED, WRONG
from demos.orderbook.lives import ROOT, ServiceFailed, environment

# The exchange, with a way to break it in one process, and as it should be.
MACHINE: Final = "demos.orderbook.planted:OrderBook"
SOUND_MACHINE: Final = "demos.orderbook.machine:OrderBook"
# Log after which a node writes a snapshot: so little that who comes back empty needs one.
SNAPSHOT_BYTES: Final = 250_000
# How often the nodes are asked.
STATUS_SECONDS: Final = 0.2
STOP_SECONDS_MAX: Final = 30.0
# How long the detector may take over the evidence.
LOOK_SECONDS_MAX: Final = 120.0
# What a supervisor that failed said last.
LINES_SHOWN: Final = 5
# SIGTERM to the child when the thread that started it is gone: a killed exchange leaves no nodes behind.
WITH_PARENT: Final = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


class NodeLine(msgspec.Struct, frozen=True):
    """What `rsm status --json` says of one node; where nobody answers there is an `error` and nothing else."""

    address: str
    error: str = ""
    node_id: int = 0
    role: str = "down"
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    first_index: int = 0
    snapshot_index: int = 0
    root_index: int = 0
    root: str = ""
    log_bytes: int = 0
    version: int = 0
    releases: tuple[int, int] = (0, 0)
    desync: str = ""
    standing: str = "well"
    evidence: str = ""
    verdicts: tuple[dict[str, Any], ...] = ()
    failure: str = ""


class Document(msgspec.Struct, frozen=True):
    """One line of `rsm status --watch --json`."""

    nodes: list[NodeLine]
    desync: list[str] = []


Told = Document | str


class Cluster:
    """Supervised nodes, three of them or one, below `directory`, and the processes that look after and ask them.

    A cluster that is there already goes on as it was made: `snapshot_bytes` is for a new one, and so is `nodes`, which
    may be left out (three).

    `tell` is called, from other threads, with each line of the supervisor and each document of the status.
    """

    def __init__(
        self,
        directory: Path,
        state: Path,
        tell: Callable[[Told], None],
        machine: str = MACHINE,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        nodes: int | None = None,
    ) -> None:
        self.directory = directory
        self._tell = tell
        # The user's own local cluster, if there is one, stays the one that `rsm status` finds.
        self._environment = environment() | {"XDG_STATE_HOME": str(state)}
        self._lines: list[str] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._addresses: dict[int, str] = {}
        arguments = ["--machine", machine, "--dir", str(directory)]
        if not (directory / "cluster.toml").exists():
            arguments += ["--snapshot-log-bytes", str(snapshot_bytes)]
        if nodes is not None:
            arguments += ["--nodes", str(nodes)]
        self._supervisor = self._run(["cluster", "up", *arguments], self._hear_supervisor)

    @property
    def addresses(self) -> list[str]:
        """Where clients reach the nodes, in the order of their numbers; none before they are known."""
        if not self._addresses:
            with contextlib.suppress(FileNotFoundError):
                document = tomllib.loads((self.directory / "cluster.toml").read_text(encoding="utf-8"))
                self._addresses = {node["id"]: node["client"] for node in document["cluster"]["nodes"]}
        return list(self._addresses.values())

    @property
    def serves(self) -> bool:
        """Whether the supervisor has seen a node answer. Before that, a cluster of these addresses may be another's."""
        return any(" is up: " in line for line in self._lines)

    def watch(self) -> None:
        """Begin to ask the nodes."""
        arguments = ["status", "--watch", "--every", str(STATUS_SECONDS), "--json", *self.addresses]
        self._run(arguments, self._hear_status)

    def check(self) -> None:
        """`ServiceFailed` if the supervisor has ended."""
        code = self._supervisor.poll()
        if code is not None:
            last = " / ".join(self._lines[-LINES_SHOWN:])
            said = f"rsm cluster up ended with exit code {code}: {last}"
            raise ServiceFailed(said, code if code in (WRONG, UNCHECKED) else FOUND)

    # --- harm ---------------------------------------------------------------------------------------------------------

    def pid(self, node: int) -> int:
        """The process that runs a node, or ran it last."""
        return int((self._home(node) / "lock").read_text(encoding="ascii"))

    def kill(self, node: int) -> int:
        """SIGKILL to a node; returns which process that was."""
        pid = self.pid(node)
        os.kill(pid, signal.SIGKILL)
        return pid

    def plant(self, node: int) -> int:
        """Put a bug into the process of a node; returns which process that is."""
        pid = self.pid(node)
        os.kill(pid, signal.SIGUSR1)
        return pid

    def look_into(self, evidence: Path, machine: str = SOUND_MACHINE) -> dict[str, Any]:
        """What `rsm desync replay` says of a node's evidence, by the exchange as it should be."""
        return self.ask("desync", "replay", str(evidence), "--machine", machine)[1]

    def ask(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run the program `rsm` with `--json`: its exit code, and the document; `{"error": ...}` where it has none."""
        done = self._ask(arguments)
        try:
            document: dict[str, Any] = msgspec.json.decode(done.stdout)
        except msgspec.DecodeError:
            said = done.stderr.decode("utf-8", "replace").strip()
            if done.returncode < 0 or not said:
                what = " ".join(arguments[:2])
                raise ServiceFailed(f"rsm {what} ended with exit code {done.returncode}: {said}") from None
            return done.returncode, {"error": said.splitlines()[-1]}
        return done.returncode, document

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """The same of a command that prints a document a line."""
        return [msgspec.json.decode(line) for line in self._ask(arguments).stdout.splitlines()]

    def _ask(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "rsm", *arguments, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.directory,
            env=self._environment | {"PYTHONPATH": str(ROOT)},
            timeout=LOOK_SECONDS_MAX,
            check=False,
        )

    def install(self, node: int, machine: str) -> None:
        """Have a node run another machine from its next start on: so it stands in the node's file."""
        path = self.directory / f"node-{node}.toml"
        text = path.read_text(encoding="utf-8")
        lines = [f'machine = "{machine}"' if line.startswith("machine = ") else line for line in text.splitlines()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def evidence(self, node: int, path: str) -> Path:
        """Where a node's evidence lies, as seen from here."""
        return self._home(node) / "evidence" / Path(path).name

    def empty(self, node: int) -> int:
        """SIGKILL to a node, and its directory is gone: log, snapshots, term, everything."""
        pid = self.kill(node)
        # Aside in one step, so that the next process finds either all of it or nothing.
        aside = self._home(node).with_suffix(".gone")
        self._home(node).rename(aside)
        shutil.rmtree(aside)
        return pid

    def _home(self, node: int) -> Path:
        return self.directory / f"node-{node}"

    # --- processes ----------------------------------------------------------------------------------------------------

    def _run(self, arguments: list[str], hear: Callable[[bytes], None]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*WITH_PARENT, sys.executable, "-m", "rsm", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=self._environment,
            process_group=0,  # a Ctrl-C is ours to pass on
        )
        self._children.append(process)
        threading.Thread(target=_listen, args=(process, hear), daemon=True).start()
        return process

    def _hear_supervisor(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        self._lines.append(text)
        self._tell(text)

    def _hear_status(self, line: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # a complaint, or a last line that was cut short
            self._tell(msgspec.json.decode(line, type=Document))

    def close(self) -> None:
        """Stop everything in good order."""
        for process in reversed(self._children):
            if process.poll() is None:
                process.terminate()
        for process in self._children:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listen(process: subprocess.Popen[bytes], hear: Callable[[bytes], None]) -> None:
    output: Any = process.stdout
    with output:
        for line in output:
            hear(line)
