"""A trained model of outcomes, saved beside the density it was made for.

```
outcomes.json         format, labels, fingerprint of the density, report; checksums of all files and of itself
weights.safetensors   the network
density/              the density, as `save_density` writes it
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sequela.arguments import PATH, TEXT, checks, public
from sequela.density.base import Density, Floats
from sequela.density.checkpoint import check_weights, load_density, save_density
from sequela.density.outcomes.base import OutcomeHead
from sequela.density.outcomes.network import OutcomeNetwork, train_network
from sequela.errors import CheckpointError
from sequela.events.outcome_rows import OutcomeRows
from sequela.files import sound_folder, whole_folder, write_record
from sequela.version import __version__

MARKER = "outcomes.json"
FORMAT = 1
_MOST_LABELS = 10_000


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one label is told on cases that nothing was trained on; losses are nats a case, lower is better.

    Attributes:
        label: Its name.
        n_cases: Cases of the log with it.
        n_test: Cases that were scored.
        loss: Mean negative log-likelihood of the model.
        frequency_loss: The same of the share of cases with the label.
        logistic_loss: The same of a logistic regression on the bag of events; None where scikit-learn is missing.
        calibration_error: Mean distance of forecast and frequency over ten equally large groups of cases.
    """

    label: str
    n_cases: int
    n_test: int
    loss: float
    frequency_loss: float
    logistic_loss: float | None = None
    calibration_error: float = 0.0

    @property
    def is_useful(self) -> bool:
        """Whether the model tells more than the frequency, and not much less than the logistic regression."""
        return self.loss < self.frequency_loss and (self.logistic_loss is None or self.loss < self.logistic_loss + 0.01)


class Description(msgspec.Struct, kw_only=True):
    """What ``outcomes.json`` holds."""

    format: int
    sequela: str
    labels: list[str]
    width: int
    max_steps: int
    density: str | None
    report: list[LabelReport]
    files: dict[str, Any] = {}
    checksum: str = ""


class OutcomeModel(OutcomeHead):
    """What `fit_outcomes` trained.

    Attributes:
        density: The frozen density.
        labels: Names of the labels.
        report: How it did on cases of its own, one entry a label.
    """

    knows_hidden = True

    def __init__(
        self, density: Density, network: OutcomeNetwork, labels: tuple[str, ...], report: tuple[LabelReport, ...],
        max_steps: int,
    ) -> None:  # fmt: skip
        self.density, self.labels, self.report = density, labels, report
        self._network, self._max_steps = network, max_steps

    def probabilities(self, counts: Floats) -> Floats:
        """Return the probability of each label; see `OutcomeHead.probabilities`."""
        from scipy.special import expit

        found: Floats = expit(self._network.logits(counts))
        return found

    def refit(self, rows: OutcomeRows, *, seed: int) -> OutcomeModel:
        """Return a model of the same kind that was trained on these cases only, without calibration."""
        width = self._network.joint.in_features
        network = train_network(rows, max_steps=self._max_steps, seed=seed, width=width)
        return OutcomeModel(self.density, network, self.labels, (), self._max_steps)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder that `load_outcomes` opens, the density included.

        Raises:
            ConfigError: The folder may not be written, or the density cannot be saved.
        """
        with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
            save_density(self.density, folder / "density")
            state = {name: value.contiguous() for name, value in self._network.state_dict().items()}
            save_file(state, folder / "weights.safetensors")
            check_weights(folder, "these outcomes cannot be saved")
            meta = Description(
                format=FORMAT, sequela=__version__, labels=list(self.labels), width=self._network.joint.in_features,
                max_steps=self._max_steps, density=self.density.fingerprint, report=list(self.report),
            )  # fmt: skip
            write_record(folder, MARKER, msgspec.to_builtins(meta))
        return Path(path)

    def __repr__(self) -> str:
        useful = sum(each.is_useful for each in self.report)
        return f"OutcomeModel({len(self.labels):,} labels, {useful:,} of {len(self.report):,} told better than chance)"


@public(checks(path=PATH, device=TEXT))
def load_outcomes(path: str | Path, *, device: str | None = None) -> OutcomeModel:
    """Load what `OutcomeModel.save` (``sequela outcomes``) wrote.

    Args:
        path: The folder, or that of ``sequela outcomes``, which holds it as ``model``.
        device: Where the density runs; chosen automatically when not given.

    Raises:
        CheckpointError: It is missing, damaged, or of another version.
    """
    folder = Path(path)
    folder = folder / "model" if (folder / "model" / MARKER).is_file() else folder
    if not (folder / MARKER).is_file():
        raise CheckpointError(f"'{path}' holds no model of outcomes ({MARKER}): make one with  sequela outcomes")
    try:
        with sound_folder(folder, MARKER) as values:
            described = msgspec.convert(values, Description)
            if described.format != FORMAT:
                raise CheckpointError(f"'{folder}' has format {described.format}; this version reads {FORMAT}")
            density, network = _loaded(folder, described, device)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, RecursionError, SafetensorError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise CheckpointError(f"'{folder}' is damaged: {first[:200]}; copy the whole folder again") from None
    return OutcomeModel(density, network.eval(), tuple(described.labels), tuple(described.report), described.max_steps)


def _loaded(folder: Path, described: Description, device: str | None) -> tuple[Density, OutcomeNetwork]:
    """Return the density and the network of a sound folder."""
    check_weights(folder, f"'{folder}' is damaged")
    density = load_density(folder / "density", device=device)
    if density.fingerprint != described.density:
        raise CheckpointError(f"'{folder}': its density is not the one that its outcomes were trained with")
    state = load_file(folder / "weights.safetensors")
    size = tuple(state["hidden.weight"].shape)
    wanted = (described.width, 2 * (density.vocabulary.n_types + 1))
    if size != wanted or not 0 < len(described.labels) <= _MOST_LABELS:
        raise ValueError(f"the weights are of size {size}, not {wanted}")
    network = OutcomeNetwork(density.vocabulary.n_types + 1, len(described.labels), described.width)
    network.load_state_dict(state)
    return density, network
