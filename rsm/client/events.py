"""Events as a machine declares them."""

from __future__ import annotations

import msgspec

from rsm.errors import CallerError
from rsm.machine.definition import Definition
from rsm.machine.outcome import Event
from rsm.replica.events import RawEvent

__all__ = ["decoded_event"]


def decoded_event(definition: Definition, event: RawEvent) -> Event:
    """An event with its value; `CallerError` if that is not of the machine's event type."""
    try:
        value = definition.decode_event(event.packed)
    except msgspec.ValidationError as error:
        where = f"event {event.number} of index {event.index}, position {event.position}"
        raise CallerError(f"{where} is not what the machine's event type says: {error}") from None
    return Event(event.index, event.position, event.step, event.number, value)
