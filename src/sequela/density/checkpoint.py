"""Saved densities: a folder of safetensors and JSON. Loading runs no code from the folder.

```
density.json        format, backbone, its settings, how it was trained, its report; checksums of all files and of itself
vocabulary.json     event types and counts
weights.safetensors (window)   or   model/ (Hugging Face: config.json, model.safetensors)
                    and timing.safetensors where that uses times
```
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from sequela.arguments import PATH, TEXT, checks, public
from sequela.density.base import Density
from sequela.density.registry import Saved, backbone_of, load_backbone
from sequela.errors import CheckpointError, ConfigError, VocabularyError
from sequela.events.vocabulary import Vocabulary
from sequela.files import (
    check_same,
    check_writable_folder,
    damaged_files,
    read_json,
    read_record,
    whole_folder,
    write_record,
)
from sequela.version import __version__

MARKER = "density.json"
FORMAT = 2
"""1 was written by 0.1.0, which was never published, and is not read."""
_VOCABULARY = "vocabulary.json"


class FileSum(msgspec.Struct, forbid_unknown_fields=True):
    """Size and checksum of a file, see `sequela.files.write_record`."""

    bytes: int
    blake2b: str


class Description(msgspec.Struct, kw_only=True):
    """What ``density.json`` holds; a file that lacks a key, or has a value of another kind, is refused.

    Attributes:
        format: `FORMAT`.
        sequela: Version that wrote it.
        backbone: Name in `sequela.density.registry`.
        knows_hidden: See `Density`.
        settings: What the backbone needs to build the density; it checks them itself.
        vocabulary: Fingerprint of the vocabulary.
        info: See `Density`.
        files: Every other file, by its path in the folder.
        checksum: Of all the above.
    """

    format: int
    sequela: str
    backbone: str
    knows_hidden: bool
    settings: dict[str, Any]
    vocabulary: str
    info: dict[str, Any]
    files: dict[str, FileSum]
    checksum: str


def save_density(density: Density, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a density to a folder, whole or not at all.

    Args:
        density: One of a registered backbone: what `fit` or `wrap_huggingface` made.
        path: Folder.
        overwrite: Replace an earlier density there.

    Raises:
        ConfigError: The folder holds something else, or the density cannot be saved.
        CheckpointError: Its weights, or what it says of itself, are not finite numbers.

    Example:
        >>> import tempfile
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = sq.read_log(world.to_log(world.sample(20, 8, seed=1)))
        >>> density = sq.fit(log, max_steps=2, device="cpu", progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_density(density, f"{folder}/model")
        ...     load_density(f"{folder}/model", device="cpu").fingerprint == density.fingerprint
        True
    """
    backbone = backbone_of(density)
    check_writable_folder(path, marker=MARKER, overwrite=overwrite)
    with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
        settings = backbone.save(density, folder)
        density.vocabulary.save(folder / _VOCABULARY)
        check_weights(folder, "this density cannot be saved")
        meta = {
            "format": FORMAT,
            "sequela": __version__,
            "backbone": density.backbone,
            "knows_hidden": density.knows_hidden,
            "settings": settings,
            "vocabulary": density.vocabulary.fingerprint,
            "info": dict(density.info),
        }
        try:
            json.dumps(meta, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"this density cannot be saved: its settings and info must be plain JSON with finite numbers ({error})"
            ) from error
        write_record(folder, MARKER, meta)


@public(checks(path=PATH, device=TEXT, precision=TEXT))
def load_density(path: str | Path, *, device: str | None = None, precision: str = "float32") -> Density:
    """Load a saved density, frozen and ready to score.

    Args:
        path: Folder that `fit` or `save_density` wrote.
        device: ``"cpu"``, ``"cuda"``, …; chosen automatically when not given.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``; see
            `sequela.density.runtime.precision.with_precision`.

    Raises:
        CheckpointError: The folder is missing, damaged, of another format, or its parts do not belong together.
        ConfigError: There is no such device or precision.

    Example:
        >>> load_density("nowhere")
        Traceback (most recent call last):
        ...
        sequela.errors.CheckpointError: there is no folder 'nowhere'; make one with  sequela fit LOG --out nowhere
    """
    from sequela.density.runtime.devices import choose_device
    from sequela.density.runtime.precision import with_precision

    folder = Path(path)
    described = _read_description(folder)
    chosen = choose_device(device)
    _check_files(folder, described)
    check_weights(folder, f"'{folder}' is damaged")
    try:
        vocabulary = Vocabulary.load(folder / _VOCABULARY)
    except (VocabularyError, RecursionError) as error:
        raise CheckpointError(f"'{folder}' is damaged: {_first_line(error)}") from error
    if vocabulary.fingerprint != described.vocabulary:
        raise CheckpointError(
            f"'{folder}': vocabulary.json is not the one the model was trained with "
            f"({vocabulary.n_types} types, fingerprint {vocabulary.fingerprint}); copy the whole folder again"
        )
    try:
        backbone = load_backbone(described.backbone)
    except ConfigError as error:
        raise CheckpointError(
            f"'{folder}' needs a backbone that is not here: {_first_line(error)}; register it first "
            "(sequela.density.registry.register)"
        ) from error
    try:
        density = backbone.load(folder, Saved(described.settings, vocabulary, described.knows_hidden, chosen))
    except Exception as error:  # libraries refuse what does not fit in many ways; each means a bad folder
        raise CheckpointError(f"'{folder}' is damaged: {_first_line(error)}") from error
    try:
        check_same(folder, MARKER, described.checksum)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    density = density.with_info(described.info)
    return density if precision == "float32" else with_precision(density, precision)


def _read_description(folder: Path) -> Description:
    """Return what ``density.json`` says, checked by itself."""
    if not (folder / MARKER).is_file():
        what = "there is no folder" if not folder.exists() else "no saved density (no density.json) in"
        raise CheckpointError(f"{what} '{folder}'; make one with  sequela fit LOG --out {folder}")
    try:
        value = read_json(folder / MARKER)
    except (OSError, ValueError) as error:
        reason = _first_line(error.__cause__ or error)
        raise CheckpointError(f"'{folder}' is damaged: {MARKER} is not valid JSON ({reason})") from error
    if not isinstance(value, dict) or "format" not in value:
        raise CheckpointError(f"'{folder}' is damaged: {MARKER} does not describe a density")
    _check_format(folder, value["format"])
    try:
        described = msgspec.convert(value, Description)
        read_record(folder, MARKER)
        json.dumps(value, allow_nan=False)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise CheckpointError(f"'{folder}' is damaged: {MARKER}: {_first_line(error)}; copy it again") from error
    return described


def _check_format(folder: Path, found: object) -> None:
    if found == FORMAT and isinstance(found, int):
        return
    if found == 1:
        raise CheckpointError(
            f"'{folder}' was written by sequela 0.1.0 (format 1), which {__version__} does not read: train it again "
            f"with  sequela fit LOG --out {folder} --overwrite"
        )
    if isinstance(found, int) and found > FORMAT:
        raise CheckpointError(
            f"'{folder}' has format {found}, of a newer sequela; {__version__} reads format {FORMAT}: update it with  "
            "pip install --upgrade sequela"
        )
    raise CheckpointError(
        f"'{folder}' is damaged: {MARKER} has format {_quoted(found)}; {__version__} reads format {FORMAT}"
    )


def _check_files(folder: Path, described: Description) -> None:
    """Compare every file with its checksum, before any is read: a damaged one is refused."""
    known = {_VOCABULARY, *described.files}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MARKER}
    wrong = dict.fromkeys(sorted(known - there), "is missing")
    # Libraries read folders by name, so a file that was added to one may be read too.
    wrong |= dict.fromkeys(sorted(name for name in there - known if "/" in name), "was added since it was written")
    wrong = wrong or damaged_files(folder, {"files": msgspec.to_builtins(described.files)})
    if wrong:
        name, how = next(iter(wrong.items()))
        raise CheckpointError(f"'{folder}' is damaged: {_quoted(name)} {_escaped(how)}; copy the whole folder again")


def check_weights(folder: Path, what: str) -> None:
    """Raise `CheckpointError` unless all weights can be read and are finite."""
    import torch
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.rglob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                    weight = opened.get_tensor(name)
                    if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                        raise CheckpointError(
                            f"{what}: the weights {_quoted(name)} hold numbers that are not finite (NaN or infinity); "
                            "train again, with a lower learning rate"
                        )
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{what}: '{file.name}' cannot be read ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return _escaped(lines[0] if lines else type(error).__name__)


def _quoted(value: object) -> str:
    return f"'{_escaped(str(value)[:80])}'"


def _escaped(text: str) -> str:
    """Return at most 200 signs of a text from a file, so that it cannot steer a terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text[:200])
