"""Options of the command line made from the declared arguments of the verbs: default, help, group and kind."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from sequela.arguments import FLAG, PATH, REQUIRED, TEXT, Argument, Choice, Either, Kind, Number, Parsed, Table, is_list

_PANELS = (
    "Log and files", "The model", "Training", "Evidence", "The question", "What counts as an edge", "How it runs",
    "Output",
)  # fmt: skip
"""Groups of options in the order of ``--help``."""


def generated(table: Table, names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put an option for each of these arguments in the place of a command's ``**settings``.

    The command gets them by their names, as the verb wants them.
    """
    chosen = {name: table[name] for name in names if table[name].flags is not None}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [option(name, argument) for name, argument in chosen.items()]
        before = [each for each in own if each.default is inspect.Parameter.empty and _panel(each) == "Output"]
        after = [each for each in own if each not in before]
        options = sorted([*after, *made], key=lambda each: _PANELS.index(_panel(each)))
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*before, *options]]

        def run(**given: Any) -> None:
            command(**{name: _as_argument(chosen.get(name), value) for name, value in given.items()})

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _panel(parameter: inspect.Parameter) -> str:
    return str(parameter.annotation.__metadata__[0].rich_help_panel or "Output")


def option(name: str, argument: Argument) -> inspect.Parameter:
    """Return a parameter of a command for an argument of a verb."""
    kind: Any = _kind(argument)
    default = argument.default
    if default is REQUIRED:
        default = inspect.Parameter.empty
    elif _is_switch(argument):
        default = None if default == "auto" else default
    if default is None:
        kind = kind | None
    flags = [argument.flags] if argument.flags else [f"--{name.replace('_', '-')}"]
    said = argument.help if kind != list[str] | None else f"{argument.help.removesuffix('.')}; repeat it."
    made = typer.Option(*flags, help=said, rich_help_panel=argument.panel, show_default=default is not None)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, made])


def _is_switch(argument: Argument) -> bool:
    """Whether the command line asks for yes or no, and leaves the choice to the verb otherwise."""
    options = argument.check.options if isinstance(argument.check, Either) else (argument.check,)
    return FLAG in options and TEXT not in options


def _kind(argument: Argument) -> Any:
    check = argument.check
    if _is_switch(argument):
        return bool
    if isinstance(check, Either) and PATH in check.options:
        return Path
    if isinstance(check, Either) and any(is_list(each) for each in check.options):  # one, or several
        return list[str]
    if isinstance(check, Number):
        return int if check.whole else float
    if check is PATH or isinstance(check, Kind):
        return Path
    assert check is TEXT or isinstance(check, Choice | Parsed | Either), check
    return str


def _as_argument(argument: Argument | None, value: Any) -> Any:
    """Return what the verb is given for what was typed."""
    if argument is None:
        return value
    if value is None and argument.default == "auto":
        return "auto"
    options = argument.check.options if isinstance(argument.check, Either) else ()
    if isinstance(value, str) and any(isinstance(each, Number) for each in options):  # or a name, as of --horizon
        with contextlib.suppress(ValueError):
            return int(value) if value.isdecimal() else float(value)
    return value
