"""Which cases a density has seen: stored with it when it is trained, never derived again from names or shares."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequela.errors import ConfigError
from sequela.events.sequences import case_hash

_SEED = 0


@dataclass(frozen=True, eq=False)
class Split:
    """The cases that a density was trained on, or that chose its weights, by 64-bit hashes of their names.

    Where two names have the same hash (for a new case and 100,000 seen ones the chance is 5e-15) an unseen case counts
    as seen, never the other way round.

    Attributes:
        seen: Sorted hashes of the names of the cases of which any event was used (uint64, ``[n]``).

    Example:
        >>> split = Split.of(["a", "b"])
        >>> split.has_seen(["b", "c"]).tolist()
        [True, False]
        >>> Split.from_plain(split.to_plain()).has_seen(["b", "c"]).tolist()
        [True, False]
    """

    seen: NDArray[np.uint64]

    @classmethod
    def of(cls, names: Iterable[str]) -> Split:
        """Return the split of a density that has seen the cases of these names."""
        return cls(np.unique(_hashes(list(names))))

    def has_seen(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return whether each case was seen (bool, ``[n]``)."""
        found: NDArray[np.bool_] = np.isin(_hashes(names), self.seen)
        return found

    def __or__(self, other: Split) -> Split:
        """Return the split of a density that has seen the cases of both."""
        return Split(np.union1d(self.seen, other.seen))

    def to_plain(self) -> str:
        """Return plain text for JSON: the hashes in base64, eleven characters a case."""
        return base64.b64encode(self.seen.astype("<u8").tobytes()).decode("ascii")

    @classmethod
    def from_plain(cls, text: Any) -> Split:
        """Read what `to_plain` wrote.

        Raises:
            ConfigError: It is something else.
        """
        try:
            raw = base64.b64decode(text, validate=True)
            seen = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ConfigError(f"the stored split of a density is damaged: {error}") from error
        if (seen[1:] <= seen[:-1]).any():
            raise ConfigError("the stored split of a density is damaged: its hashes do not rise")
        return cls(seen)


def _hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([case_hash(f"case {name}", _SEED) for name in names], dtype=np.uint64)
