"""Saved densities: a folder of safetensors and JSON. Loading runs no code from the folder.

```
density.json        format, backbone, settings, fingerprints, how it was trained, its report
vocabulary.json     event types and counts
weights.safetensors (window)   or   model/ (Hugging Face: config.json, model.safetensors)
```
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from sequela.density.base import Density
from sequela.errors import CheckpointError, ConfigError, VocabularyError
from sequela.events.vocabulary import Vocabulary
from sequela.files import check_writable_folder, read_json, whole_folder, write_json
from sequela.version import __version__

MARKER = "density.json"
FORMAT = 1
_WEIGHTS = "weights.safetensors"


def save_density(density: Density, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a density to a folder, whole or not at all.

    Args:
        density: One that `fit` or `wrap_huggingface` made.
        path: Folder.
        overwrite: Replace an earlier density there.

    Raises:
        ConfigError: The folder holds something else, or the density cannot be saved.
    """
    from safetensors.torch import save_file

    from sequela.density.decoder.huggingface import HuggingFaceDensity, quiet_transformers
    from sequela.density.window.network import WindowDensity

    check_writable_folder(path, marker=MARKER, overwrite=overwrite)
    with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
        if isinstance(density, WindowDensity):
            settings: dict[str, Any] = density.config_dict()
            save_file(
                {name: tensor.contiguous().cpu() for name, tensor in density.state().items()},
                folder / _WEIGHTS,
            )
        elif isinstance(density, HuggingFaceDensity):
            settings = {
                "tokens": density.tokens.tolist(),
                "begin_token": density.begin_token,
                "hidden_token": density.hidden_token,
                "context": density.context,
            }
            with quiet_transformers():
                density.model.save_pretrained(folder / "model")
        else:
            raise ConfigError(f"a {type(density).__name__} cannot be saved; only trained densities can")
        density.vocabulary.save(folder / "vocabulary.json")
        meta = {
            "format": FORMAT,
            "sequela": __version__,
            "backbone": density.backbone,
            "knows_hidden": density.knows_hidden,
            "settings": settings,
            "vocabulary": density.vocabulary.fingerprint,
            "weights": _fingerprint(folder),
            "info": dict(density.info),
        }
        write_json(folder / MARKER, meta)


def load_density(path: str | Path, *, device: str | None = None, precision: str = "float32") -> Density:
    """Load a saved density, frozen and ready to score.

    Args:
        path: Folder that `fit` or `save_density` wrote.
        device: ``"cpu"``, ``"cuda"``, …; chosen automatically when not given.
        precision: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"auto"``; see `Density.use_precision`.

    Raises:
        CheckpointError: The folder is missing, damaged, of another format, or its parts do not belong together.
    """
    folder = Path(path)
    meta = _read_meta(folder)
    try:
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
    except VocabularyError as error:
        raise CheckpointError(f"'{folder}' is damaged: {error}") from error
    if vocabulary.fingerprint != meta["vocabulary"]:
        raise CheckpointError(
            f"'{folder}': vocabulary.json is not the one the model was trained with "
            f"({vocabulary.n_types} types, fingerprint {vocabulary.fingerprint}, expected {meta['vocabulary']}); "
            "copy the whole folder again"
        )
    try:
        found = _fingerprint(folder)
    except OSError as error:
        raise CheckpointError(f"'{folder}' is damaged: its weights are missing ({error})") from error
    if found != meta["weights"]:
        raise CheckpointError(f"'{folder}' is damaged: its weights have changed since they were written; fit again")
    try:
        density = _build(folder, meta, vocabulary, device)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, ConfigError) as error:
        raise CheckpointError(f"'{folder}' is damaged: {str(error).splitlines()[0]}") from error
    density.info = meta["info"]
    density.use_precision(precision)
    return density


def _read_meta(folder: Path) -> dict[str, Any]:
    if not (folder / MARKER).is_file():
        what = "there is no folder" if not folder.exists() else "no saved density (no density.json) in"
        raise CheckpointError(f"{what} '{folder}'; make one with  sequela fit LOG --out {folder}")
    try:
        meta = read_json(folder / MARKER)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{folder}' is damaged: {error}") from error
    if not isinstance(meta, dict) or "format" not in meta:
        raise CheckpointError(f"'{folder}' is damaged: {MARKER} does not describe a density")
    if meta["format"] != FORMAT:
        raise CheckpointError(
            f"'{folder}' has format {meta['format']} (written by sequela {meta.get('sequela', '?')}); this version "
            f"({__version__}) reads format {FORMAT}: fit again, or use that version"
        )
    missing = {"backbone", "settings", "vocabulary", "weights", "info", "knows_hidden"} - meta.keys()
    if missing:
        raise CheckpointError(f"'{folder}' is damaged: {MARKER} lacks {', '.join(sorted(missing))}")
    return meta


def _build(folder: Path, meta: dict[str, Any], vocabulary: Vocabulary, device: str | None) -> Density:
    from sequela.density.runtime.devices import choose_device

    chosen = device or choose_device()
    settings = meta["settings"]
    if meta["backbone"] == "window":
        from safetensors.torch import load_file

        from sequela.density.window.network import WindowConfig, WindowDensity, WindowNetwork

        config = WindowConfig(**settings)
        if config.n_types != vocabulary.n_types:
            raise ValueError(f"the model predicts {config.n_types} types, the vocabulary has {vocabulary.n_types}")
        network = WindowNetwork(config)
        network.load_state_dict(load_file(folder / _WEIGHTS))
        return WindowDensity(network, vocabulary, knows_hidden=bool(meta["knows_hidden"]), device=chosen)
    if meta["backbone"] == "huggingface":
        from sequela.density.decoder.huggingface import HuggingFaceDensity, load_causal_lm

        return HuggingFaceDensity(
            load_causal_lm(folder / "model"),
            vocabulary,
            tokens=np.array(settings["tokens"], dtype=np.int64),
            begin_token=int(settings["begin_token"]),
            hidden_token=settings["hidden_token"],
            context=int(settings["context"]),
            device=chosen,
        )
    raise ValueError(f"unknown backbone '{meta['backbone']}'")


def _fingerprint(folder: Path) -> str:
    """Return a hash of all weight files: a damaged one is refused before anything is built from it."""
    digest = hashlib.blake2b(digest_size=16)
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no .safetensors file in '{folder}'")
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with file.open("rb") as opened:
            while part := opened.read(2**22):
                digest.update(part)
    return digest.hexdigest()
