"""Arguments of public functions: each declared once (meaning, constraint, default), all checked in one place.

A table of `Argument` stands where its function stands. `public` checks every call against it, completes the docstring,
and leaves the signature that an editor reads as it is; the command line takes defaults and help from the same tables.
Source of the idea: scikit-learn, ``sklearn/utils/_param_validation.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from sequela.errors import ConfigError, nearest

P = ParamSpec("P")
R = TypeVar("R")

RETIRED = {
    "adaptive": ("screening",),
    "kept_parts": ("kept_components",),
    "level": ("confidence_level", "hierarchy_level"),
    "parts": ("components",),
    "spare_effect": ("exclude_effect_type",),
}
"""Arguments of 0.1.0, and what they are called now."""


class Required:
    """The default of an argument that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = Required()


class Constraint:
    """What an argument may be."""

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return what is allowed, to follow "must be"."""
        raise NotImplementedError

    def choices(self) -> tuple[str, ...]:
        """Return the names that are allowed, where names are."""
        return ()


@dataclass(frozen=True)
class Number(Constraint):
    """A finite number between limits; a truth value is none.

    Attributes:
        low: Least value.
        high: Largest value.
        above: Whether ``low`` itself is not allowed.
        whole: Whether it must be a whole number.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    whole: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str | bytes):
            return False
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return False
        if not math.isfinite(number) or (self.whole and number != int(number)):
            return False
        if self.low is not None and (number <= self.low if self.above else number < self.low):
            return False
        return self.high is None or number <= self.high

    def __str__(self) -> str:
        bounds = [f"{'above' if self.above else 'at least'} {self.low:g}"] if self.low is not None else []
        bounds += [f"at most {self.high:g}"] if self.high is not None else []
        return f"a {'whole ' if self.whole else ''}number" + (f", {' and '.join(bounds)}" if bounds else "")


@dataclass(frozen=True)
class Choice(Constraint):
    """One of some names.

    Attributes:
        names: The names; or ``"module:NAME"``, where they stand (imported when asked for).
    """

    names: tuple[str, ...] | str

    def choices(self) -> tuple[str, ...]:
        """Return the names."""
        if not isinstance(self.names, str):
            return self.names
        module, _, name = self.names.partition(":")
        return tuple(getattr(importlib.import_module(module), name))

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, str) and value in self.choices()

    def __str__(self) -> str:
        names = [repr(name) for name in self.choices()]
        return f"one of {', '.join(names)}" if len(names) > 1 else names[0]


@dataclass(frozen=True)
class Kind(Constraint):
    """An object of a type, or one that has certain attributes.

    Attributes:
        name: What it is called, with its article.
        of: ``"module:Class"``, several separated by spaces; imported when asked for.
        has: Attributes that are enough, where others may bring classes of their own.
    """

    name: str
    of: str = ""
    has: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if self.has and not isinstance(value, type) and all(hasattr(value, name) for name in self.has):
            return True
        return any(isinstance(value, _imported(place)) for place in self.of.split())

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Parsed(Constraint):
    """What a function of ours can read, as ``"10m"`` or ``"2GB"``.

    Attributes:
        name: What it is called.
        function: ``"module:function"``; it raises `ConfigError` for what it cannot read.
        wants_name: Whether the function takes the name of the argument first.
    """

    name: str
    function: str
    wants_name: bool = False

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        try:
            _imported(self.function)(*(("it", value) if self.wants_name else (value,)))
        except ConfigError:
            return False
        return True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Either(Constraint):
    """Any of several constraints."""

    options: tuple[Constraint, ...]

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return any(option.allows(value) for option in self.options)

    def choices(self) -> tuple[str, ...]:
        """Return the names that are allowed."""
        return tuple(name for option in self.options for name in option.choices())

    def __str__(self) -> str:
        return ", or ".join(filter(None, map(str, self.options)))  # one without a name goes unsaid


class _Exactly(Constraint):
    """A value of a built-in kind."""

    def __init__(self, name: str, *kinds: type) -> None:
        self._name, self._kinds = name, kinds

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, self._kinds)

    def __str__(self) -> str:
        return self._name


FLAG = _Exactly("True or False", bool)
TEXT = _Exactly("text", str)
PATH = _Exactly("a path", str, os.PathLike)
_LISTS = "builtins:list builtins:tuple"
NOTHING = _Exactly("None", type(None))


@dataclass(frozen=True)
class Argument:
    """One argument of a public function.

    Attributes:
        help: What it is for, in a sentence or two: for ``--help`` and the docstring.
        check: What it may be; None where the function itself says.
        default: Its default.
        more: What only the docstring has room for.
        panel: Group of options on the command line.
        flags: Names on the command line where they are not ``--name`` (``--yes/--no``); no option where it is None.
    """

    help: str
    check: Constraint | None = None
    default: Any = REQUIRED
    more: str = ""
    panel: str = "Options"
    flags: str | None = ""

    def refuse(self, name: str, value: Any, *, before: str = "") -> None:
        """Raise `ConfigError` where a value is not allowed; the default always is."""
        if self.check is None or value is self.default or self.check.allows(value):
            return
        hint = nearest(value, self.check.choices()) if isinstance(value, str) else ""
        raise ConfigError(f"{before}{name} must be {self.check}; got {described(value)}{hint}")

    def text(self, name: str) -> str:
        """Return the entry of a docstring."""
        said = " ".join(part for part in (self.help, self.more) if part)
        return textwrap.fill(f"{name}: {said}", 112, subsequent_indent="    ", break_long_words=False)


Table = Mapping[str, Argument]


def plain_number(argument: Argument, value: Any) -> Any:
    """Return a number of NumPy, or a whole one written as 2.0, as one of Python; other values as they are."""
    options = argument.check.options if isinstance(argument.check, Either) else (argument.check,)
    number = next((option for option in options if isinstance(option, Number)), None)
    if isinstance(value, str | bool | None) or number is None:
        return value
    return int(value) if number.whole else float(value)


def setting(default: Any, check: Constraint | None, help: str, **more: Any) -> Any:
    """Declare a field of a settings record: a dataclass field that carries its `Argument`."""
    return field(default=default, metadata={"argument": Argument(help, check, default, **more)})


def table_of(record: type) -> dict[str, Argument]:
    """Return the arguments that a settings record declares, in their order."""
    return {each.name: each.metadata["argument"] for each in dataclasses.fields(record)}


def checks(**constraints: Constraint) -> dict[str, Argument]:
    """Return a table of constraints alone, for a function whose docstring says the rest."""
    return {name: Argument("", check) for name, check in constraints.items()}


def list_of(name: str) -> Constraint:
    """Return the constraint of a list or tuple, of which ``name`` says what it holds."""
    return Kind(name, _LISTS)


def is_list(check: Constraint) -> bool:
    """Return whether a constraint is one that `list_of` made."""
    return isinstance(check, Kind) and check.of == _LISTS


def public(table: Table) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arguments of a function against a table, and complete its docstring from it.

    A name that the function does not have, or no longer has, is refused with the nearest one it has; a value that is
    not allowed is refused before the function starts. The signature stays as written.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        own = {name: table[name] for name in signature.parameters}
        title = function.__name__

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in own:
                    raise ConfigError(unknown_name(f"{title} has no argument", name, own))
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise ConfigError(f"{title}: {error}; it takes {', '.join(own)}") from None
            for name, value in given.items():
                default = signature.parameters[name].default
                if value is not default:
                    own[name].refuse(name, value, before=f"{title}: " if default is inspect.Parameter.empty else "")
            return function(*args, **kwargs)

        checked.__doc__ = _complete(function.__doc__ or "", own)
        checked.__arguments__ = own  # type: ignore[attr-defined]
        return checked

    return decorate


def unknown_name(what: str, name: str, allowed: Mapping[str, Any]) -> str:
    """Return the message for a name that is not known: its successor, or the nearest name."""
    now = [f"'{new}'" for new in RETIRED.get(name, ()) if new in allowed]
    if now:
        return f"{what} '{name}': it is now {' or '.join(now)}"
    return f"{what} '{name}'{nearest(name, allowed)}; it has {', '.join(allowed)}"


def described(value: Any) -> str:
    """Return a value for a message: short ones as written, others by their type.

    Example:
        >>> described("abc"), described([1, 2])
        ("'abc'", 'a list of 2')
    """
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__name__', value)!s} (not an object made by it)"
    if isinstance(value, list | tuple | set | dict):
        return f"a {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _complete(text: str, own: Table) -> str:
    """Add to the section ``Args:`` what it leaves out."""
    lines = inspect.cleandoc(text).split("\n")
    if "Args:" not in lines:
        return text
    start = lines.index("Args:") + 1
    end = next((i for i in range(start, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    while end > start and not lines[end - 1]:
        end -= 1
    written = {line.strip().partition(":")[0] for line in lines[start:end] if line[:5].strip()}
    added = [textwrap.indent(own[name].text(name), "    ") for name in own if name not in written and own[name].help]
    return "\n".join([*lines[:end], *added, *lines[end:]])
