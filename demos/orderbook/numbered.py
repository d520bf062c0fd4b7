"""Numbered commands: a sender counts its commands, and each number takes effect once, in order.

An exchange must go on after a break exactly where its sender and it agree that they stopped: FIX has MsgSeqNum for
this, OUCH UserRefNum, MoldUDP64 the sequence of the feed. Here the last number of every sender is state, and the
command that bears the next number moves it: both happen or neither does, in one log entry. So a sender that died, or
lost its connection with commands on the way, asks `last_number` and goes on behind it. A number that was used before is
rejected, and so is one that leaves a gap: when a command is rejected, those sent behind it do not overtake it.

(An idempotency key does the same for one command that may be repeated. A feed has an order, so one number is enough.)
"""

from __future__ import annotations

from typing import NoReturn

import rsm


class Numbered(rsm.StateMachine):
    """What machines with numbered commands have in common. A sender is a principal."""

    numbers: rsm.Map[str, int]

    def take_number(self, ctx: rsm.Context, number: int) -> None:
        """Move the sender to `number`, the one after its last; 0 is no number and always allowed."""
        if not number:
            return
        sender = ctx.principal
        if not sender:
            refuse(ctx, "a numbered command needs a sender: open the session with a principal")
        last = self.numbers.get(sender, 0)
        if number != last + 1:
            what = "was used before" if number <= last else "leaves a gap"
            refuse(ctx, f"number {number} {what}: the last one was {last}")
        self.numbers[sender] = number

    @rsm.query
    def last_number(self, principal: str) -> int:
        """The number of the sender's last command that took effect, 0 if there was none."""
        return self.numbers.get(principal, 0)

    @rsm.query
    def senders(self) -> list[str]:
        """Who has sent numbered commands, sorted."""
        return list(self.numbers)


def refuse(ctx: rsm.Context, reason: str) -> NoReturn:
    """Reject the command with a reason that says where in the log it lies."""
    ctx.reject(f"{reason} (log index {ctx.index}, position {ctx.position})")
