"""What every command shares: the --debug option wherever it is given, and the arguments that several commands take."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rsm.cli.errors import message

__all__ = [
    "Command",
    "Group",
    "LazyGroup",
    "Session",
    "error_document",
    "first_and_last",
    "json_option",
    "path_argument",
]

F = TypeVar("F", bound=Callable[..., Any])
# Makes the document that standard output gets in place of another one.
Failed = Callable[[BaseException], dict[str, Any]]


class Session:
    """One run of the program. `failed`, while a document is due that an error would be the content of."""

    def __init__(self) -> None:
        self.debug = False
        self.failed: Failed | None = None


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and isinstance(context.find_root().obj, Session):
        context.find_root().obj.debug = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the traceback of an error.",
    )


class Command(click.Command):
    """A command that takes --debug."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(_debug_option())


class Group(click.Group):
    """A group whose commands, groups and self take --debug."""

    command_class = Command
    group_class = type

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(_debug_option())


class LazyGroup(Group):
    """A group whose commands lie in `modules`, each under its own name; a module is imported when it is asked for."""

    def __init__(self, *arguments: Any, modules: dict[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._modules = modules

    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(self._modules)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in self._modules:
            return None
        found: click.Command = getattr(importlib.import_module(self._modules[name]), name)
        return found


def error_document(error: BaseException) -> dict[str, Any]:
    """What --json prints of an error, where a command has nothing better to say."""
    return {"error": message(error)}


def json_option(
    help_text: str = "Print one JSON document.", *, failed: Failed | None = error_document
) -> Callable[[F], F]:
    """--json, as `as_json`. `failed`: what standard output gets if there is an error; None where it gets JSON Lines."""

    def note(context: click.Context, _: click.Parameter, value: bool) -> bool:
        session = context.find_root().obj
        if value and isinstance(session, Session):
            session.failed = failed
        return value

    # Eager, so that it is known when another argument is wrong.
    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=note, help=help_text)


def path_argument(name: str = "path", metavar: str = "DIR_OR_FILE") -> Callable[[F], F]:
    """A path, taken as it is: what it turns out to be is the command's to say."""
    return click.argument(name, metavar=metavar, type=click.Path())


def first_and_last(function: F) -> F:
    """--from and --to, as `first` and `last`."""
    function = click.option("--to", "last", metavar="J", type=click.IntRange(min=1), help="End after index J.")(
        function
    )
    return click.option("--from", "first", metavar="I", type=click.IntRange(min=1), help="Begin at index I.")(function)
