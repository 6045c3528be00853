"""A Hugging Face model that somebody brings, loaded or in a local folder, as a density."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sequela.density.decoder.event_tokens import EventTokensDensity, check_strings
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.model import DecoderDensity
from sequela.density.decoder.probe import NotSharedError
from sequela.density.decoder.rerun import HuggingFaceRerunDensity
from sequela.density.decoder.state import HuggingFaceStateDensity, HuggingFaceStepDensity
from sequela.density.runtime.devices import choose_device
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary
from sequela.files import read_json
from sequela.text import quoted

_DEFAULT_POSITIONS = 1025
"""Positions of a model that names no limit."""


def wrap_huggingface(
    model: Any | str | os.PathLike[str],
    tokens: Mapping[str, int] | None = None,
    *,
    event_tokens: Mapping[str, Sequence[int]] | None = None,
    begin_token: int | None = None,
    hidden_token: int | None = None,
    context: int | None = None,
    device: str | None = None,
) -> DecoderDensity | EventTokensDensity:
    """Use a Hugging Face causal model, or a local checkpoint of one, as a density.

    Branches share the observed prefix where the model honours a 4-D attention mask, position ids and a cache; otherwise
    they go on from copies of its cache or recurrent state, where it has one that can be copied. Any other causal model
    runs whole sequences again, which is exact and slow; `plan` says so (`docs/howto/hugging-face.md` has a table). Each
    way is compared with the model's own plain forward here.

    Args:
        model: A loaded model, or a local folder with its configuration and safetensors weights.
        tokens: Token id of each event type, in the order the vocabulary shall have.
        event_tokens: Instead of ``tokens``: the token ids of each event type, for event types that are several tokens
            (text). The log-probability of an event is the sum over its tokens, each renormalised over the tokens that
            can stand there. No event type may be the beginning of another. Runs whole sequences again.
        begin_token: Token before the first event; the model's ``bos_token_id`` when not given.
        hidden_token: Token of a hidden event, if the model was trained with one.
        context: Most past events to look at; the model's own limit when not given.
        device: ``"cpu"``, ``"cuda"``, …; chosen automatically when not given.

    Raises:
        ConfigError: The folder is not a checkpoint, a token does not fit, or the model is not causal.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        ...     num_attention_heads=1, max_position_embeddings=32, bos_token_id=3)
        >>> density = wrap_huggingface(LlamaForCausalLM(config), {"a": 0, "b": 1, "c": 2})
        >>> density.score(np.array([0, 1, 2], np.int32)).shape
        (3,)
    """
    if isinstance(model, str | os.PathLike):
        model = load_causal_lm(Path(model))
    if not hasattr(getattr(model, "config", None), "get_text_config"):
        raise ConfigError(
            f"model must be a causal model of Hugging Face, or a folder with one; got {quoted(type(model).__name__)} "
            "(wrap_model takes any other network)"
        )
    config = model.config.get_text_config()
    if begin_token is None:
        begin_token = config.bos_token_id
        if begin_token is None:
            raise ConfigError("begin_token must be given: the model's configuration names no bos_token_id")
    named = tokens if event_tokens is None else event_tokens
    if named is None or (tokens is not None and event_tokens is not None):
        raise ConfigError("give either tokens (one id for each event type) or event_tokens (a list of ids for each)")
    vocabulary = Vocabulary(tuple(named), (0,) * len(named))
    most = int(getattr(config, "max_position_embeddings", None) or 0)
    limit = (most if most > 0 else _DEFAULT_POSITIONS) - 1
    settings = {
        "begin_token": int(begin_token), "hidden_token": hidden_token, "device": choose_device(device),
    }  # fmt: skip
    if event_tokens is not None:
        strings = _strings(event_tokens)
        check_strings(strings, vocabulary)
        context = int(context or limit // max(map(len, strings)))
        return event_tokens_density(model, vocabulary, event_tokens=strings, context=context, **settings)
    ids = np.array([-1 if isinstance(token, bool) else token for token in named.values()], dtype=object)
    if ids.ndim != 1 or not all(hasattr(token, "__index__") for token in ids):
        raise ConfigError("tokens must give each event type one whole number; lists of several go into event_tokens")
    return decoder_density(model, vocabulary, tokens=ids.astype(np.int64), context=int(context or limit), **settings)


def _strings(event_tokens: Mapping[str, Sequence[int]]) -> list[list[int]]:
    try:
        return [[operator.index(token) for token in own] for own in event_tokens.values()]
    except TypeError as error:
        raise ConfigError("event_tokens must give each event type a list of token ids (whole numbers)") from error


def event_tokens_density(model: Any, vocabulary: Vocabulary, **settings: Any) -> EventTokensDensity:
    """Return the density of a model whose events are several tokens.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        settings: See `EventTokensDensity`.

    Raises:
        ConfigError: See `EventTokensDensity`.
    """
    with _in_one_sentence(model, settings["context"]):
        return EventTokensDensity(model, vocabulary, **settings)


def decoder_density(model: Any, vocabulary: Vocabulary, **settings: Any) -> DecoderDensity:
    """Return the fastest density that gives the scores of a model's own plain forward.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        settings: See `DecoderDensity`.

    Raises:
        ConfigError: See `DecoderDensity`.
    """
    with _in_one_sentence(model, settings["context"]):
        tried: list[str] = []
        for kind in (HuggingFaceDensity, HuggingFaceStateDensity, HuggingFaceStepDensity):
            try:
                found: DecoderDensity = kind(model, vocabulary, **settings)
                break
            except NotSharedError as error:
                tried.append(f"{kind.__name__}: {error}")
            except ConfigError:
                raise
            except Exception as error:  # models fail in many ways on a mask or cache that they do not know
                tried.append(f"{kind.__name__}: {type(error).__name__}: {_first_line(error)}")
        else:
            found = HuggingFaceRerunDensity(model, vocabulary, **settings)
        found.tried = tuple(tried)
        return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _in_one_sentence(model: Any, context: int) -> Iterator[None]:
    """Make a `ConfigError` of whatever a model raises in a plain forward."""
    try:
        with quiet_transformers():
            yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{type(model).__name__} cannot be run on {context} events after a begin token: {_first_line(error)}"
        ) from error


_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "head_dim", "d_model", "n_embd", "num_attention_heads")
"""What configurations call the number of layers, and what is at most the number of all weights."""


def load_causal_lm(folder: Path) -> Any:
    """Load a local causal language model from safetensors; no code and no pickle from the folder is run.

    Raises:
        ConfigError: It is none, or lacks weights: the library would make them up at random.
    """
    from transformers import AutoModelForCausalLM

    try:
        _check_sizes(folder)
        with quiet_transformers():
            model, found = AutoModelForCausalLM.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True,
            )  # fmt: skip
        if found["missing_keys"]:
            missing = sorted(found["missing_keys"])
            raise ValueError(f"it lacks the weights {missing[0]} ({len(missing):,} in all)")
    except Exception as error:  # the loader raises many kinds; each means that the folder is no good
        raise ConfigError(f"'{folder}' is not a local Hugging Face causal model: {_first_line(error)}") from error
    return model


def _check_sizes(folder: Path) -> None:
    """Raise `ValueError` where a model claims to be larger than its weights are, before any layer is made."""
    from safetensors import safe_open

    shapes = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            shapes += [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118 - no dictionary
    most = {name: len(shapes) for name in _LAYERS} | dict.fromkeys(_SIZES, sum(map(math.prod, shapes)))
    config = read_json(folder / "config.json") if shapes else {}
    for part in [config, *(each for each in config.values() if isinstance(each, dict))]:
        for name in part.keys() & most.keys():
            if isinstance(part[name], int) and part[name] > most[name]:
                raise ValueError(f"config.json says {name} {part[name]:,}, which its weights are not enough for")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the library's own bars and notices out of ours."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
