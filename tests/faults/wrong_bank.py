"""The bank of `tests.observed_bank`, whose deposits for Bob go wrong in the process that loads it from here."""

from __future__ import annotations

import threading

from tests.observed_bank import PLANTED, Bank, one_more

__all__ = ["Bank"]


def _wrong_for_bob(bank: Bank, to: str, amount: int) -> None:
    if to == "bob":
        one_more(bank, to, amount)


PLANTED[threading.get_ident()] = _wrong_for_bob
