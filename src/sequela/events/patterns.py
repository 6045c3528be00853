"""Patterns over event types: ``*`` and ``?`` in a whole name, or in one component of it.

``door|*`` is every type whose name begins so; ``component = door`` every type whose component of that event column is
``door``; ``2 = A1*`` asks the second component. Types of a neighbour's events (`sequela.events.neighbours`) match only
a pattern that ends with the words that mark them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sequela.events.log import event_components
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.text import quoted

_RARE = "<rare>"
_OF_COLUMN = re.compile(r"\s*([^=]+?)\s*=\s*(.*?)\s*", re.DOTALL)


class TypeNames:
    """The event types that patterns are matched with.

    Args:
        names: Event types. ``<rare>`` matches nothing but its own name: what it stands for is not known.
        columns: Names of the event columns, one a component; empty where they are not known.

    Example:
        >>> names = TypeNames(["door|A1", "door|B2", "radio|A1"], ["component", "alarm"])
        >>> [names.matching(text).tolist() for text in ("door|*", "alarm = A1", "1 = radio", "fan")]
        [[0, 1], [0, 2], [2], []]
    """

    def __init__(self, names: Sequence[str], columns: Sequence[str] = ()) -> None:
        self.names, self.columns = tuple(names), tuple(columns)
        self.is_near = np.array([name.endswith(AT_NEIGHBOUR) for name in self.names], dtype=bool)
        own = [name.removesuffix(AT_NEIGHBOUR) for name in self.names]
        components = [event_components(name) for name in own]
        n_most = max((len(each) for each in components), default=0)
        whole = [name if name != _RARE else "" for name in own]
        self._texts = [whole, *([each[i] if i < len(each) else "" for each in components] for i in range(n_most))]
        self._exact: dict[int, dict[str, list[int]]] = {}
        self._found: dict[str, NDArray[np.int64]] = {}

    def matching(self, pattern: str) -> NDArray[np.int64]:
        """Return the numbers of the types that match a pattern (int64, sorted)."""
        if pattern not in self._found:
            self._found[pattern] = self._match(pattern)
        return self._found[pattern]

    def _match(self, pattern: str) -> NDArray[np.int64]:
        near = pattern.endswith(AT_NEIGHBOUR)
        which, text = self._where(pattern.removesuffix(AT_NEIGHBOUR))
        texts = self._texts[which]
        if "*" in text or "?" in text:
            fits = re.compile(fnmatch.translate(text.replace("[", "[[]")), re.DOTALL).match
            found = [number for number, own in enumerate(texts) if own and fits(own)]
        else:
            if which not in self._exact:
                self._exact[which] = {}
                for number, own in enumerate(texts):
                    self._exact[which].setdefault(own, []).append(number)
            found = self._exact[which].get(text, []) if text else []
            if text == _RARE and which == 0:
                found = [number for number, name in enumerate(self.names) if name == _RARE]
        numbers = np.array(found, dtype=np.int64)
        chosen: NDArray[np.int64] = numbers[self.is_near[numbers] == near]
        return chosen

    def _where(self, pattern: str) -> tuple[int, str]:
        """Return what a pattern asks (0 the whole name, else a component from 1 on), and the text of it."""
        asked = _OF_COLUMN.fullmatch(pattern)
        if asked is not None:
            if asked[1] in self.columns[: len(self._texts) - 1]:
                return self.columns.index(asked[1]) + 1, asked[2]
            if asked[1].isdecimal() and 1 <= int(asked[1]) < len(self._texts):
                return int(asked[1]), asked[2]
        return 0, pattern.strip()

    def hint(self) -> str:
        """Return what a pattern may be, for messages."""
        columns = f", or one of its components as '{quoted(self.columns[0])} = …'" if self.columns else ""
        return f"a pattern is the name of an event type with * and ?{columns}"
