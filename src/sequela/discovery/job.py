"""What makes a long run one job: its fingerprint, and a density that can be sent to workers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sequela.density.base import Density
from sequela.density.checkpoint import load_density, save_density
from sequela.density.runtime.compiled import with_compilation
from sequela.density.runtime.network_density import NetworkDensity, runtime_of
from sequela.density.runtime.precision import screening_density
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet


@dataclass(frozen=True)
class DensityHandle:
    """A density as `sequela.execution.map_cases` takes it.

    Attributes:
        here: The density in this process.
    """

    here: Density

    def ship(self, folder: Path) -> Callable[[Path], Density]:
        """Save the density; return what loads it from a copy.

        Raises:
            ConfigError: The density is a world, which cannot be saved.
        """
        save_density(self.here, folder / "density")
        runtime = runtime_of(self.here)
        screening = runtime_of(screening_density(self.here)).precision
        return DensityLoader(runtime.precision, runtime.compiled, screening)


@dataclass(frozen=True)
class DensityLoader:
    """Loads a density for a worker as the driver runs it."""

    precision: str
    compiled: bool
    screening: str

    def __call__(self, folder: Path) -> Density:
        """Load the density from a folder that `DensityHandle.ship` wrote."""
        loaded = load_density(folder / "density", precision=self.precision)
        if isinstance(loaded, NetworkDensity):  # whatever the worker's processor would choose
            loaded = loaded.with_runtime(replace(loaded.runtime, screening=self.screening))
        density = with_compilation(loaded) if self.compiled else loaded
        if runtime_of(density).compiled != self.compiled:
            raise ConfigError("this worker could not compile the model, unlike the driver: set compile to False")
        return density


def job_fingerprint(
    density: Density, sequences: SequenceSet, arguments: dict[str, Any], *, times: bool = False
) -> str | None:
    """Return a hash of everything that decides the result; None when the density cannot tell which one it is.

    Times count where the density or the arguments use them, or with ``times``.
    """
    if density.fingerprint is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    digest.update((density.fingerprint + json.dumps(arguments, sort_keys=True, default=str)).encode())
    digest.update(sequences.ids.tobytes() + sequences.offsets.tobytes() + bytes([sequences.unordered_ties]))
    used = times or sequences.unordered_ties or density.uses_times or arguments.get("horizon_seconds") is not None
    if sequences.times is not None and used:
        digest.update(sequences.times.tobytes())
    digest.update("\0".join(sequences.case_names).encode())
    return digest.hexdigest()
