"""Large JSON documents, one element at a time: what stands in the arrays of the outermost object.

A document is split by its brackets, in blocks, without a parser that would keep it: memory holds one element. What lies
between elements is checked by the standard parser, an element by the caller's (`msgspec`): nothing is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from sequela.errors import LogFormatError
from sequela.events.readers.source import Source

_LARGEST = 1 << 28
"""Bytes of an element, and of all that is no element."""
_DEEPEST = 500
_START = 4096
_ELEMENT = 3
"""Brackets that are open within an element of an array of the outermost object."""
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*\[\s*$')
_COMMA = re.compile(rb"\s*,\s*")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


def elements(source: Source) -> Iterator[tuple[str, bytes]]:
    """Yield the objects and arrays in the arrays of the outermost object, with the name of their array.

    Several documents may follow one another, as in JSON lines.

    Raises:
        LogFormatError: A document is not well-formed, not whole, or holds an element too large or too deep.
    """
    scan = _Scan(source.name)
    for block in source.blocks():
        yield from scan.take(block)
    scan.end()


def first_name(source: Source) -> str:
    """Return the first name in a document; empty where there is none."""
    with source.open() as file:
        found = re.match(rb'(?:\xef\xbb\xbf)?\s*\{\s*"([^"\\]*)"\s*:', file.read(_START))
    return found[1].decode("utf-8", "replace") if found else ""


class _Scan:
    """Where the splitting stands after some blocks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rest = b""  # a backslash whose partner is in the next block
        self.in_text = False
        self.depth = 0
        self.element = bytearray()
        self.outside = bytearray()  # the document, with [] for elements, one for those that follow one another
        self.after = 0  # where the last element stands in it
        self.key: str | None = None  # the array that the last element stood in, while nothing but a comma came after
        self.n_bytes = 0

    def take(self, block: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the elements that end in a block."""
        data = self.rest + block
        if self.n_bytes == 0:
            data = data.removeprefix(b"\xef\xbb\xbf")
        self.n_bytes += len(block)
        cut = len(data) - (len(data) - len(data.rstrip(b"\\"))) % 2
        data, self.rest = data[:cut], data[cut:]
        values = np.frombuffer(_ESCAPE.sub(b"  ", data), dtype=np.uint8)
        quotes = np.flatnonzero(values == ord('"'))
        opens = (values == ord("[")) | (values == ord("{"))
        closes = (values == ord("]")) | (values == ord("}"))
        brackets = np.flatnonzero(opens | closes)
        within = (np.searchsorted(quotes, brackets) + self.in_text) % 2 == 1
        brackets = brackets[~within]
        steps = np.where(opens[brackets], 1, -1)
        depths = self.depth + np.cumsum(steps)
        if len(depths) and (int(depths.min()) < 0 or int(depths.max()) > _DEEPEST):
            deep = int(depths.max()) > _DEEPEST
            self.refuse(f"more than {_DEEPEST} brackets are open" if deep else "a bracket closes that was not opened")
        marks = (depths == _ELEMENT - (steps < 0)) & (depths >= _ELEMENT - 1) | (depths == 0)
        begun = 0
        for place, depth in zip(brackets[marks].tolist(), depths[marks].tolist(), strict=True):
            if depth == _ELEMENT:
                self.between(data[begun:place])
                begun = place
            elif depth == _ELEMENT - 1:
                self.element += data[begun : place + 1]
                begun = place + 1
                yield self.key or "", bytes(self.element)
                self.element.clear()
            else:
                self.between(data[begun : place + 1], last=True)
                begun = place + 1
        self.in_text = bool((len(quotes) + self.in_text) % 2)
        self.depth = int(depths[-1]) if len(depths) else self.depth
        if self.depth >= _ELEMENT:
            self.element += data[begun:]
        else:
            self.outside += data[begun:]
        if max(len(self.element), len(self.outside)) > _LARGEST:
            self.refuse(f"an element of more than {_LARGEST >> 20} MiB")

    def between(self, text: bytes, *, last: bool = False) -> None:
        """Take what stands before an element, or at the end of a document."""
        self.outside += text
        if last:
            self.check()
        elif self.key is not None and _COMMA.fullmatch(self.outside[self.after :]):
            del self.outside[self.after :]
        else:
            found = _KEY.search(self.outside)
            self.key = found[1].decode("utf-8", "replace") if found else None
            self.outside += b"[]"  # unlike a number, it cannot become one with what stands beside it
            self.after = len(self.outside)

    def check(self) -> None:
        """Refuse a document whose frame is not well-formed; begin the next."""
        try:
            found = json.loads(bytes(self.outside))
        except (ValueError, RecursionError) as error:
            self.refuse(f"it is no JSON: {type(error).__name__}")
        if not isinstance(found, dict):
            self.refuse("its outermost value is no object")
        self.outside.clear()
        self.key = None

    def end(self) -> None:
        """Refuse a file that ends within a document, or holds none."""
        if self.depth or self.in_text or self.rest or self.element:
            self.refuse("it ends within a value: the file is cut")
        if self.outside.strip():
            self.refuse("something that is no JSON object stands beside its objects")

    def refuse(self, why: str) -> NoReturn:
        """Refuse the file."""
        raise LogFormatError(f"{self.name} cannot be read as json (near byte {self.n_bytes:,}): {why}")
