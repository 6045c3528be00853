"""Several densities of one log, so that cases can be scored by a density that never saw them.

Two schemes. ``"leave-one-out"``: one density a fold, trained on all other folds; every case is scored, and it costs as
many trainings as there are folds. ``"forward"``: the folds come one after the other; the first density is trained on
the first fold, and each next one goes on from its weights with one more fold. A density is used for cases of later
folds only, none of which it, or any density before it, has seen. Together that costs about one training; the cases of
the first fold are not scored, but those that judged the densities are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.density.runtime.devices import choose_device, is_first_process
from sequela.density.training.fit import fit, recounted, train_recipe
from sequela.density.training.recipe import Recipe, data_fingerprint, split_for_training
from sequela.errors import CheckpointError, ConfigError, check_choice, check_range
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet, case_hash
from sequela.events.split import Split
from sequela.events.vocabulary import Vocabulary
from sequela.files import check_writable_folder, disk, read_json, sound_folder, whole_folder, write_json, write_record
from sequela.locks import locks_out
from sequela.progress import Reporter, reporter
from sequela.text import quoted

SCHEMES = ("leave-one-out", "forward")
MARKER = "crossfit.json"
FORMAT = 1
_LEAST_STEPS = 100


@dataclass(frozen=True)
class CrossFit:
    """Densities that were each trained without some of the cases.

    Attributes:
        densities: In the order in which they were trained.
        scheme: ``"leave-one-out"`` or ``"forward"``.
        seed: Of the folds.
    """

    densities: tuple[Density, ...]
    scheme: str = "leave-one-out"
    seed: int = 0

    def held_out(self, log: EventLog) -> Iterator[tuple[Density, EventLog]]:
        """Yield densities with cases that they have never seen; each case at most once.

        Who has seen what is read from the densities (`Split`), so that it holds for any log: a part of that of
        training, one with new cases, or another one. Of several densities that have not seen a case the last one takes
        it (``"forward"``: it was trained on most), or one chosen by the hash of its name. Densities without cases are
        left out.
        """
        names = log.case_names
        owner = self.owners(names)
        for number, density in enumerate(self.densities):
            chosen = [name for name, own in zip(names, owner, strict=True) if own == number]
            if chosen:
                yield density, log.cases(chosen)

    def owners(self, names: list[str]) -> NDArray[np.int64]:
        """Return which density scores each case of these names, -1 for none (int64, ``[n_cases]``)."""
        free = ~np.stack([_seen(density, names) for density in self.densities])  # [n_densities, n_cases]
        n_free = free.sum(axis=0)
        if self.scheme == "forward":
            chosen = n_free
        else:
            hashes = np.array([case_hash(f"fold of {name}", self.seed) for name in names], dtype=np.uint64)
            chosen = (hashes % np.maximum(n_free, 1).astype(np.uint64)).astype(np.int64) + 1
        owner = (free & (np.cumsum(free, axis=0) == chosen)).argmax(axis=0)
        return np.where(n_free > 0, owner, -1)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder with one folder a density, whole or not at all.

        Raises:
            ConfigError: The folder may not be written.
        """
        job = {"scheme": self.scheme, "seed": self.seed, "n_densities": len(self.densities)}
        with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
            for number, density in enumerate(self.densities):
                checkpoint.save_density(density, _folder(folder, number))
            write_record(folder, MARKER, {"format": FORMAT, "complete": True} | job)


def load_cross_fit(path: str | Path, *, device: str | None = None) -> CrossFit:
    """Load what `CrossFit.save` or ``cross_fit(out=...)`` wrote.

    Raises:
        CheckpointError: It is missing, unfinished or damaged.
    """
    try:
        found = _read_marker(Path(path))
        if found["format"] != FORMAT or found["scheme"] not in SCHEMES:
            what = f"format {quoted(found['format'])} and scheme '{quoted(found['scheme'])}'"
            raise ValueError(f"{what} are not known to this version")
        n, seed, scheme = int(found["n_densities"]), int(found["seed"]), str(found["scheme"])
        complete = found["complete"] is True
        if n < 1 or not -(2**63) <= seed < 2**63:
            raise ValueError(f"it says that there are {n} densities, of seed {seed}")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CheckpointError(f"'{path}' is not a folder of cross-fitted densities: {error}") from error
    if not complete:
        raise CheckpointError(f"cross-fitting to '{path}' was interrupted: give the same command again to finish it")
    try:
        with sound_folder(Path(path), MARKER):
            densities = tuple(checkpoint.load_density(_folder(path, number), device=device) for number in range(n))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is not a folder of cross-fitted densities: {error}") from error
    return CrossFit(densities, scheme, seed)


@locks_out(is_first_process)
def cross_fit(
    log: EventLog,
    *,
    folds: int = 5,
    scheme: str = "leave-one-out",
    like: Density | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    device: str | None = None,
    progress: bool | Reporter = True,
    **settings: Any,
) -> CrossFit:
    """Train densities so that cases can be scored by one that never saw them.

    All have the same event types (those of the log) and the same settings: those of `like`, or those that `fit`
    resolves on the first density's cases, the width included. With ``"forward"`` each takes a share of the training
    steps instead (one part in as many as there are folds, at least 100), because it goes on from the one before.

    Args:
        log: Event log.
        folds: How many.
        scheme: ``"leave-one-out"``: each density is trained on all folds but one; takes ``folds`` times as long as
            `fit`. ``"forward"``: density k is trained on the first k folds, going on from density k - 1, and scores
            later folds; takes about as long as one `fit`, and the first fold is not scored.
        like: A density of `fit` whose settings are used; nothing else of it is.
        out: Folder to save to. With it, a run that was interrupted is taken up by the same call.
        overwrite: Replace an earlier result in `out`.
        seed: Of folds and training.
        device: As for `fit`.
        progress: As for `fit`.
        settings: As for `fit`; not with `like`.

    Raises:
        ConfigError: Fewer than two cases a fold, or a setting is not allowed.
    """
    check_range("folds", folds, low=2, whole=True)
    check_choice("scheme", scheme, SCHEMES)
    if like is not None and settings:
        raise ConfigError(f"cross-fitting like another density takes no settings of its own; got {', '.join(settings)}")
    names = log.case_names
    if len(names) < 2 * folds:
        raise ConfigError(
            f"cross-fitting with {folds} folds needs at least {2 * folds} cases; the log has {len(names)}"
        )
    if like is not None:
        recipe = _reseeded(Recipe.of_info(like.info), seed)
        vocabulary, asked = like.vocabulary, recipe.to_text()
    else:
        recipe = None
        vocabulary = Vocabulary.build(log, min_count=settings.pop("min_count", 2))
        asked = json.dumps(settings, sort_keys=True, default=str)
    n_densities = folds if scheme == "leave-one-out" else folds - 1
    job = {"scheme": scheme, "seed": seed, "n_densities": n_densities, "folds": folds, "settings": asked}
    tell = reporter(progress)
    if out is not None:
        _begin(Path(out), job, overwrite, tell)
    fold = _folds(names, folds, seed)
    device = choose_device(device)
    densities: list[Density] = []
    for number in range(n_densities):
        wanted = fold != number if scheme == "leave-one-out" else fold <= number
        some = log.cases([name for name, own in zip(names, wanted, strict=True) if own])
        folder = None if out is None else _folder(out, number)
        tell.say(f"density {number + 1} of {n_densities}: {some.n_cases:,} of {log.n_cases:,} cases")
        if recipe is None:
            density = _finished(folder, some, vocabulary, None, None, device) or fit(
                some,
                vocabulary=vocabulary,
                out=folder,
                overwrite=True,
                seed=seed,
                device=device,
                progress=tell,
                **settings,
            )
            recipe = Recipe.of_info(density.info)
        else:
            start = densities[-1] if scheme == "forward" and densities else None
            own = _shortened(recipe, folds) if scheme == "forward" and like is not None else recipe
            density = _finished(folder, some, vocabulary, own, start, device) or _train(
                own, some, vocabulary, start, folder, device, tell
            )
        densities.append(density)
    if out is not None and is_first_process():
        write_record(Path(out), MARKER, {"format": FORMAT, "complete": True} | job)
    return CrossFit(tuple(densities), scheme, seed)


def _reseeded(recipe: Recipe, seed: int) -> Recipe:
    return replace(recipe, seed=seed, config=replace(recipe.config, seed=seed))


def _shortened(recipe: Recipe, folds: int) -> Recipe:
    """Return a recipe with one part of the training steps in as many as there are folds."""
    config = recipe.config
    steps = min(config.max_steps, max(_LEAST_STEPS, config.max_steps // folds))
    return replace(recipe, config=replace(config, max_steps=steps, check_every=min(config.check_every, steps)))


def _train(
    recipe: Recipe,
    log: EventLog,
    vocabulary: Vocabulary,
    start: Density | None,
    folder: Path | None,
    device: str,
    tell: Reporter,
) -> Density:
    sequences = SequenceSet.from_log(log, vocabulary)
    parts = split_for_training(sequences, recipe.seed)
    return train_recipe(
        recipe, log, recounted(vocabulary, sequences), sequences, parts, device=device, out=folder, overwrite=True,
        tell=tell, start=start,
    )  # fmt: skip


def _finished(
    folder: Path | None,
    log: EventLog,
    vocabulary: Vocabulary,
    recipe: Recipe | None,
    start: Density | None,
    device: str,
) -> Density | None:
    """Return the density that an interrupted call has already trained for these cases and settings, or None."""
    if folder is None or not (folder / checkpoint.MARKER).is_file():
        return None
    try:
        density = checkpoint.load_density(folder, device=device)
        recipe = recipe or Recipe.of_info(density.info)
    except (CheckpointError, ConfigError):
        return None
    expected = data_fingerprint(recipe, vocabulary, SequenceSet.from_log(log, vocabulary), start)
    return density if density.info.get("fingerprint") == expected else None


def _begin(out: Path, job: dict[str, Any], overwrite: bool, tell: Reporter) -> None:
    """Prepare the folder of a call: keep what an interrupted call for the same settings has left there."""
    found: dict[str, Any] = {}
    if (out / MARKER).is_file():
        with contextlib.suppress(OSError, ValueError):  # what cannot be read is only replaced with `overwrite`
            found = _read_marker(out)
    unfinished = found.get("complete") is False
    check_writable_folder(out, marker=MARKER, overwrite=overwrite or unfinished)
    if not is_first_process():
        return
    if not unfinished or any(found.get(name) != value for name, value in job.items()):
        if unfinished:
            tell.say(f"'{out}' holds an interrupted cross-fitting with other settings: starting anew")
        for folder in out.glob("density-*"):
            disk.remove(folder)
    disk.make_folder(out, exist_ok=True)
    write_json(out / MARKER, {"format": FORMAT, "complete": False} | job)


def _read_marker(folder: Path) -> dict[str, Any]:
    found = read_json(folder / MARKER)
    if not isinstance(found, dict):
        raise ValueError(f"'{folder / MARKER}' does not hold an object")
    return found


def _seen(density: Density, names: list[str]) -> NDArray[np.bool_]:
    """Return which cases a density has seen (bool, ``[n]``)."""
    split = density.info.get("split")
    if not isinstance(split, Mapping) or "seen" not in split:
        raise ConfigError(
            f"it is not known which cases this density ({density.backbone or type(density).__name__}) was trained on: "
            "pass cases='all' if it has seen none of these, or cross-fit (folds)"
        )
    return Split.from_plain(split["seen"]).has_seen(names)


def held_out_cases(density: Density, log: EventLog) -> EventLog:
    """Return the cases of a log that a density has not seen in training, as was stored with it.

    A case of which any event trained the density or chose its weights counts as seen. A world has seen none.

    Raises:
        ConfigError: There are none, or it is not known.
    """
    names = log.case_names
    chosen = [name for name, seen in zip(names, _seen(density, names), strict=True) if not seen]
    if not chosen:
        raise ConfigError(
            f"no case of this log is held out: the density was trained on all {len(names):,} of them (of many cases a "
            "tenth is kept apart, of few cases none): pass new cases, or cross-fit (folds)"
        )
    return log.cases(chosen)


def _folds(names: list[str], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Balanced folds: cases in order of a hash of their own, dealt round (int64, ``[n_cases]``)."""
    order = np.argsort(np.array([case_hash(f"fold of {name}", seed) for name in names], dtype=np.uint64))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % n_folds
    return fold


def _folder(path: str | Path, number: int) -> Path:
    return Path(path) / f"density-{number + 1}"
