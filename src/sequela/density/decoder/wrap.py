"""A Hugging Face model that somebody brings, loaded or in a local folder, as a density."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.model import DecoderDensity
from sequela.density.decoder.probe import NotSharedError
from sequela.density.decoder.rerun import HuggingFaceRerunDensity
from sequela.density.runtime.devices import choose_device
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary


def wrap_huggingface(
    model: Any | str | os.PathLike[str],
    tokens: Mapping[str, int],
    *,
    begin_token: int | None = None,
    hidden_token: int | None = None,
    context: int | None = None,
    device: str | None = None,
) -> DecoderDensity:
    """Use a Hugging Face causal model, or a local checkpoint of one, as a density.

    Branches share the observed prefix where the model honours a 4-D attention mask, position ids and a cache. Any other
    causal model (`docs/howto/hugging-face.md` has a table) runs whole sequences again, which is exact and slow; `plan`
    says so. Both are compared with the model's own plain forward here.

    Args:
        model: A loaded model, or a local folder with its configuration and safetensors weights.
        tokens: Token id of each event type, in the order the vocabulary shall have.
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
    config = model.config.get_text_config()
    if begin_token is None:
        begin_token = config.bos_token_id
        if begin_token is None:
            raise ConfigError("begin_token must be given: the model's configuration names no bos_token_id")
    limit = getattr(config, "max_position_embeddings", None)
    if context is None:
        context = (limit or 1025) - 1
    vocabulary = Vocabulary(tuple(tokens), (0,) * len(tokens))
    return decoder_density(
        model,
        vocabulary,
        tokens=np.array(list(tokens.values()), dtype=np.int64),
        begin_token=int(begin_token),
        hidden_token=hidden_token,
        context=int(context),
        device=choose_device(device),
    )


def decoder_density(model: Any, vocabulary: Vocabulary, **settings: Any) -> DecoderDensity:
    """Return the fastest density that gives the scores of a model's own plain forward.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        settings: See `DecoderDensity`.

    Raises:
        ConfigError: See `DecoderDensity`.
    """
    try:
        with quiet_transformers():
            try:
                return HuggingFaceDensity(model, vocabulary, **settings)
            except NotSharedError:
                pass
            except ConfigError:
                raise
            except Exception:
                pass
            return HuggingFaceRerunDensity(model, vocabulary, **settings)
    except ConfigError:
        raise
    except Exception as error:  # as above, on a plain forward
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"{type(model).__name__} cannot be run on {settings['context']} events after a begin token: {reason[0]}"
        ) from error


def load_causal_lm(folder: Path) -> Any:
    """Load a local causal language model from safetensors; no code and no pickle from the folder is run."""
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            return AutoModelForCausalLM.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
    except Exception as error:  # the loader raises many kinds; each means that the folder is no good
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"'{folder}' is not a local Hugging Face causal model: {reason[0]}") from error


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
