"""One flow through three processes: traded, killed, recovered, compared, traded on, opened once more.

Everything is known by messages: what a process said before it died counts, what it did not say does not. The comparison
after the kill comes before anything else is sent, so that sending again cannot mend what was lost.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from demos.orderbook.audit import Audit, Replay, Story
from demos.orderbook.desk import Answer
from demos.orderbook.flowgen import INSTRUMENTS, TRADERS, Flow
from demos.orderbook.lives import Life, ServiceFailed
from demos.orderbook.market_board import ExchangeBoard
from demos.orderbook.messages import Acknowledged, Closing, Found, Looked, Message, Opened, Said, Traded
from demos.orderbook.records import Traded as Trade
from demos.orderbook.terminal import Stage

M = TypeVar("M", bound=Message)

# Acknowledged commands that the second process sends again, besides those in doubt.
REPEATED: Final = 1_000

STAGES: Final = (
    "write a day of orders",
    "trade it, durably",
    "kill -9 in the middle",
    "recover in a new process",
    "trade on from there",
    "open the snapshot anew",
)


class Trial:
    """One run, from the first order to the last check. `machine` is the machine's directory, `flow` a file to write."""

    def __init__(self, seed: int, commands: int, machine: Path, flow: Path, board: ExchangeBoard) -> None:
        self.seed = seed
        self.commands = commands
        self.machine = machine
        self.flow = flow
        self.board = board
        self.audit = Audit()
        self.facts: dict[str, Any] = {"seed": seed, "commands": commands, "durability": "fsync"}
        self._answers: list[Answer] = []

    def run(self, after_kill: Callable[[Path], None] | None = None) -> None:
        """All stages. `after_kill` is given the directory that the killed process left: a test plants a loss there."""
        with self.board.stage(0, self.commands) as stage:
            self._write(stage)
        self._first_life()
        if after_kill is not None:
            after_kill(self.machine)
        self._second_life()
        self._third_life()

    def _write(self, stage: Stage) -> None:
        flow = Flow(self.seed)
        story = Story(flow)
        for step in flow.steps(self.commands):
            story.add(step)
            stage.done += 1
        story.write(self.flow)
        self.audit = Audit(story)
        stage.detail = f"{self.commands:,} commands, {len(TRADERS) - 1} traders, {len(INSTRUMENTS)} markets"

    # --- three processes ----------------------------------------------------------------------------------------------

    def _first_life(self) -> None:
        """Trade until half of the flow is acknowledged; then kill, and hear out what was said before."""
        board = self.board
        with Life("service", self.machine, self.flow, 0) as life:
            with board.stage(1, self.commands) as stage:
                began = 0.0
                for said in life:
                    began = began or time.perf_counter()
                    self._listen(said, stage)
                    if isinstance(said, Acknowledged):
                        self._answers += said.answers
                    if len(self._answers) >= self.commands // 2:
                        break
                else:
                    life.finish()
                    raise ServiceFailed("the exchange's process was over before it could be killed")
                rate = int(len(self._answers) / (time.perf_counter() - began))
                stage.detail = f"{rate:,} commands/s, answered once synced"
            with board.stage(2) as stage:
                life.kill()
                board.is_alive = False
                for said in life:
                    self._listen(said, stage)
                    if isinstance(said, Acknowledged):
                        self._answers += said.answers
                code = life.wait()
                acknowledged, sent = len(self._answers), board.sent
                self.audit.check(
                    "killed in the middle",
                    code == -signal.SIGKILL and acknowledged < self.commands,
                    f"{acknowledged:,} of {self.commands:,} acknowledged, {sent - acknowledged:,} more on their way",
                    f"the process ended with {code}, {acknowledged:,} of {self.commands:,} commands acknowledged",
                )
                stage.detail = f"{acknowledged:,} acknowledged, {sent - acknowledged:,} on their way"
        self.facts |= {"acknowledged_at_kill": acknowledged, "sent_at_kill": sent, "commands_per_second_before": rate}

    def _second_life(self) -> None:
        """Recover, compare, and only then go on to the end."""
        board, audit = self.board, self.audit
        acknowledged = len(self._answers)
        first = max(0, acknowledged - REPEATED)
        with Life("service", self.machine, self.flow, first) as life:
            messages = iter(life)
            with board.stage(3) as stage:
                replay = Replay(audit.story)
                replay.survey_after(acknowledged)  # while the other process reads its log
                opened = self._next(life, messages, Opened)
                found = self._next(life, messages, Found)
                recovered = audit.recovered(found.reports, found.repeated, found.survey, replay, acknowledged)
                torn = "; ".join(opened.warnings) or "no torn tail"
                stage.detail = f"{recovered:,} commands in {opened.seconds:.1f} s, {torn}"
                self.facts |= {
                    "recovered": recovered,
                    "recovery_seconds": round(opened.seconds, 3),
                    "recovery_warnings": opened.warnings,
                }
            with board.stage(4, self.commands) as stage:
                again: list[Answer] = []
                for said in messages:
                    if isinstance(said, Acknowledged):
                        again += said.answers
                    self._listen(said, stage)
                    if isinstance(said, Traded):
                        rate = int(said.commands / said.seconds)
                        break
                else:
                    life.finish()
                    raise ServiceFailed("the exchange's process ended before the flow did")
                audit.sent_again(
                    [first], [again[: recovered - first]], f"{recovered - acknowledged:,} of them in doubt"
                )
                audit.answered([[*self._answers[:first], *again]])
                ended = self._next(life, messages, Found)
                digest = audit.ended(ended.reports, ended.repeated, ended.survey)
                self._next(life, messages, Closing)
                board.markets.trades.extend([report for report in ended.reports if isinstance(report, Trade)][-9:])
                board.is_alive = False
                life.finish()
                stage.detail = f"{rate:,} commands/s, {recovered - first:,} sent twice"
        self.facts |= {
            "sent_again": recovered - first,
            "in_doubt": recovered - acknowledged,
            "commands_per_second_after": rate,
            "reports": len(audit.story.reports),
            "trades": ended.survey.trades,
            "digest": digest,
        }

    def _third_life(self) -> None:
        """Open what the second process left, and look."""
        with self.board.stage(5) as stage, Life("service", self.machine, self.flow, self.commands) as life:
            messages = iter(life)
            opened = self._next(life, messages, Opened)
            found = self._next(life, messages, Found)
            self.audit.reopened(found.reports, found.survey, opened.seconds)
            closing = self._next(life, messages, Closing)
            life.finish()
            self.board.is_alive = False
            stage.detail = f"in {opened.seconds:.1f} s, with the same books"
        self.facts |= {
            "snapshot_open_seconds": round(opened.seconds, 3),
            "log_index": closing.index,
            "root": closing.root,
        }

    # --- listening ----------------------------------------------------------------------------------------------------

    def _listen(self, said: Said, stage: Stage) -> None:
        """Let the board know."""
        board = self.board
        if isinstance(said, Opened):
            board.is_alive = True
            board.index, board.log_bytes = said.index, said.log_bytes
        elif isinstance(said, Acknowledged):
            stage.done = said.first + len(said.answers)
            board.pace(stage.done, said.sent)
        elif isinstance(said, Looked | Closing):
            board.index, board.root, board.log_bytes = said.index, said.root, said.log_bytes
            if isinstance(said, Looked):
                board.markets.look(said.markets)

    def _next(self, life: Life, messages: Iterator[Said], kind: type[M]) -> M:
        """The next message of a kind; the board is told of it, and of what comes before."""
        for said in messages:
            self._listen(said, Stage(""))
            if isinstance(said, kind):
                return said
        life.finish()
        raise ServiceFailed(f"the exchange's process ended without a word of {kind.__name__}")
