"""What every density over a Hugging Face causal model has: the model, the token of each event type, and the head."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.base import Floats, Ids
from sequela.density.decoder.probe import probe
from sequela.density.decoder.timing import Timing, gaps_before
from sequela.density.output_head import Head
from sequela.density.runtime.devices import fingerprint_of
from sequela.density.runtime.network_density import NetworkDensity, Runtime
from sequela.density.window.time_features import Gaps
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

_NOT_COMPUTED_BY = {
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "return_dict",
    "output_attentions", "output_hidden_states",
}  # fmt: skip
"""Settings that change when a model is saved and loaded, and not what it computes."""


def size_of(config: Any, name: str) -> int:
    """Return a size in a configuration, the largest one where layers differ; 0 where it names none.

    Example:
        >>> from transformers import LlamaConfig
        >>> size_of(LlamaConfig(num_attention_heads=4), "num_attention_heads"), size_of(LlamaConfig(), "state_size")
        (4, 0)
    """
    try:
        return int(getattr(config, name, None) or 0)
    except RuntimeError:  # the library names no one size where layers differ (Gemma 4)
        layers = (config.per_layer_config[i] for i in range(config.num_hidden_layers))
        return max(int(getattr(layer, name, None) or 0) for layer in layers)


def _computed_by(config: Any) -> str:
    """Return what a configuration says of how scores are computed, in one order."""

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in _NOT_COMPUTED_BY}

    return json.dumps(json.loads(json.dumps(config.to_dict(), default=str), object_hook=kept), sort_keys=True)


class DecoderDensity(NetworkDensity):
    """A Hugging Face causal model as a density, probed against its own plain forward when it is made.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        tokens: Token id of each event type (int64, ``[n_types]``). Probabilities are renormalised over these.
        begin_token: Token put before the first event.
        hidden_token: Token of an event that is not shown, for a model trained with them.
        context: Most past events one event is predicted from.
        device: Where it runs.

    Attributes:
        timing: What the gaps before events add to the embeddings, for a density that uses times.
        tried: Why branches are not scored in a faster way: each that was tried, and what failed.

    Raises:
        ConfigError: Tokens do not fit the model, or the model does not predict the next event (see `probe`).
    """

    backbone = "huggingface"
    tried: tuple[str, ...] = ()
    timing: Timing | None = None

    def __init__(
        self,
        model: Any,
        vocabulary: Vocabulary,
        *,
        tokens: NDArray[np.int64],
        begin_token: int,
        hidden_token: int | None = None,
        context: int,
        device: str = "cpu",
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.vocabulary = vocabulary
        self.begin_token = begin_token
        self.hidden_token = hidden_token
        self.knows_hidden = hidden_token is not None
        self.context = context
        self.runtime = Runtime(device=device)
        n_rows = int(model.get_input_embeddings().weight.shape[0])
        used = np.concatenate([tokens, [begin_token] + ([] if hidden_token is None else [hidden_token])])
        if len(tokens) != vocabulary.n_types or len(np.unique(tokens)) != len(tokens):
            raise ConfigError("tokens must give each event type a token id of its own")
        if used.min() < 0 or used.max() >= n_rows:
            raise ConfigError(f"token ids must lie in 0 … {n_rows - 1}; got {used.min()} … {used.max()}")
        if context < 2:
            raise ConfigError(f"context must be at least 2 events; got {context}")
        self.tokens = tokens
        hidden = begin_token if hidden_token is None else hidden_token
        self._token_of_id = np.concatenate([tokens, [begin_token, begin_token, hidden]]).astype(np.int64)
        with torch.inference_mode():
            self._head = Head.of(self.model, tokens, device)
            self._make()
        probe(self)

    @abstractmethod
    def _make(self) -> None:
        """Make what the subclass needs, before the probe."""

    def _inputs(self, model: Any, tokens: NDArray[np.int64], gaps: Gaps | None) -> dict[str, Tensor]:
        """Return what a model is called with: tokens, or with times their embeddings (``[B, n]`` each)."""
        given = torch.from_numpy(tokens).to(self.runtime.device)
        if self.timing is None:
            return {"input_ids": given}
        assert gaps is not None
        ago = torch.from_numpy(gaps).to(self.runtime.device)
        return {"inputs_embeds": self.timing.embedded(model, given, ago)}

    @property
    def fingerprint(self) -> str:
        """See `Density.fingerprint`."""
        settings = f"{self.tokens.tolist()} {self.begin_token} {self.hidden_token} {self.context} {self._head.dtype}"
        settings += f" {type(self.model).__name__} {_computed_by(self.model.config)}"
        weights = dict(self.model.state_dict())
        if self.timing is not None:
            weights |= {f"timing.{name}": weight for name, weight in self.timing.state_dict().items()}
        return fingerprint_of(weights, self.vocabulary.fingerprint, settings)

    @property
    def token_flops(self) -> float:
        """Operations of one token: two for each weight that is multiplied with, attention left out."""
        body = sum(w.numel() for w in self.model.parameters())
        tables = {id(e.weight): e.weight.numel() for e in self.model.modules() if isinstance(e, torch.nn.Embedding)}
        head = self.model.get_output_embeddings()
        if head is not None and id(head.weight) not in tables:
            body -= head.weight.numel()
        width = int(self.model.config.get_text_config().hidden_size)
        return 2.0 * float(body - sum(tables.values()) + width * self.vocabulary.n_types)

    @torch.inference_mode()
    def plain_log_probs(self, past: Ids, times: Floats | None = None) -> Floats:
        """Return what the model says by itself: one forward, no cache, no mask of ours.

        Args:
            past: Events of one block (int32, ``[n]``).
            times: Seconds of these events and the next one (float64, ``[n + 1]`` or more), for one that uses times.

        Returns:
            ``log P(. | past[:i])`` for ``i = 0 … n`` (float64, ``[n + 1, n_types]``).
        """
        tokens = np.concatenate([[self.begin_token], self._token_of_id[past]])
        gaps = None if times is None else gaps_before(times)[None, : len(tokens)]
        logits = self.model(**self._inputs(self.model, tokens[None], gaps), use_cache=False).logits[0]
        if logits.shape[-1] <= self.tokens.max():
            raise ConfigError(
                f"{type(self.model).__name__} gives {logits.shape[-1]} log-probabilities: too few for the token "
                f"{self.tokens.max()}"
            )
        logits = logits[:, torch.from_numpy(self.tokens).to(logits.device)].float().cpu()  # float64 only off the device
        found: Floats = logits.numpy().astype(np.float64)
        found -= found.max(axis=1, keepdims=True)
        found -= np.log(np.exp(found).sum(axis=1, keepdims=True))
        return found
