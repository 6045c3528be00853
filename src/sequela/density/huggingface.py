"""Any Hugging Face causal decoder as a density, with branches that share the observed prefix.

The observed events run once, with a key/value cache. Branches then run as one row of tail tokens whose 4-D attention
mask lets each token see its own prefix and its own tail only, at its own positions.

Sequences longer than the context are cut into blocks of half a context: an event in block ``b`` is predicted from the
events since the start of block ``b - 1``. That is a proper density of its own (each event has one fixed past), and
branches that cross a block border are run in both blocks, so ``score`` and ``score_branches`` always agree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequela.density.base import Branches, Density, Floats, Ids, check_branches, check_sequence, n_targets
from sequela.density.logits import target_log_prob
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

_TOKENS_A_CHUNK = 384
_LOGIT_BYTES = 64 * 2**20
_SELF_CHECK_TOLERANCE = 1e-3


class _Block(NamedTuple):
    """Events ``low … high - 1`` are predicted from the events since ``begin``."""

    begin: int
    low: int
    high: int


def blocks(length: int, context: int) -> Iterator[_Block]:
    """Cut a sequence so that every event has one fixed past of at most ``context`` events.

    Example:
        >>> [tuple(block) for block in blocks(10, 4)]
        [(0, 0, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    """
    half = context // 2
    yield _Block(0, 0, min(length, 2 * half))
    for low in range(2 * half, length, half):
        yield _Block(low - half, low, min(length, low + half))


class HuggingFaceDensity(Density):
    """A Hugging Face causal decoder as a density.

    Args:
        model: A causal language model that honours a 4-D attention mask, position ids and a cache; this is checked.
        vocabulary: Event types.
        tokens: Token id of each event type (int64, ``[n_types]``). Probabilities are renormalised over these.
        begin_token: Token put before the first event.
        hidden_token: Token of an event that is not shown, for a model trained with them.
        context: Most past events one event is predicted from.
        device: Where it runs.

    Raises:
        ConfigError: Tokens do not fit the model, or the model does not honour the mask.
    """

    backbone = "huggingface"

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
        self.device = device
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
        self._token_of_id = np.concatenate([tokens, [begin_token, begin_token, hidden]])  # pad, begin, hidden
        self._columns = torch.from_numpy(tokens).to(device)
        self._in_order = bool((tokens == np.arange(len(tokens))).all())
        n_logits = int(model.config.get_text_config().vocab_size)
        self._chunk = max(16, min(_TOKENS_A_CHUNK, _LOGIT_BYTES // (4 * n_logits)))
        self._self_check()

    @property
    def max_tail(self) -> int:
        """Half a context: a branch then spans at most two blocks."""
        return self.context // 2

    def score_many(self, sequences: Sequence[Ids]) -> list[Floats]:
        """See `Density.score_many`. One sequence at a time: equal bits whatever comes with it."""
        return [self._score(ids) for ids in sequences]

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`. One sequence at a time: equal bits whatever comes with it."""
        return [self._score_branches(one) for one in branches]

    @torch.inference_mode()
    def conditional(self, ids: Ids, positions: NDArray[np.int64]) -> Floats:
        """See `Density.conditional`."""
        positions = np.asarray(positions)
        result = np.empty((len(positions), self.vocabulary.n_types))
        for block in blocks(len(ids) + 1, self.context):
            wanted = np.flatnonzero((positions >= block.low) & (positions < block.high))
            if not len(wanted):
                continue
            last = int(positions[wanted].max())
            for low, logits in self._run_prefix(self._begin_and(ids[block.begin : last]), self._new_cache()):
                rows = wanted[(positions[wanted] - block.begin >= low)]
                rows = rows[positions[rows] - block.begin < low + len(logits)]
                chosen = logits[torch.from_numpy(positions[rows] - block.begin - low).to(self.device)]
                result[rows] = chosen.double().log_softmax(-1).cpu().numpy()
        return result

    @torch.inference_mode()
    def _score(self, ids: Ids) -> Floats:
        check_sequence(ids, self.vocabulary)
        result = np.empty(len(ids))
        for block in blocks(len(ids), self.context):
            seen = ids[block.begin : block.high]
            targets = torch.from_numpy(seen.astype(np.int64)).to(self.device)
            values = [
                target_log_prob(logits, targets[low : low + len(logits)])
                for low, logits in self._run_prefix(self._begin_and(seen[:-1]), self._new_cache())
                if len(seen)
            ]
            if values:
                result[block.low : block.high] = torch.cat(values)[block.low - block.begin :].double().cpu().numpy()
        return result

    @torch.inference_mode()
    def _score_branches(self, branches: Branches) -> Floats:
        check_branches(branches, self.vocabulary, self.max_tail)
        result = np.full(branches.tails.shape, np.nan)
        counts = n_targets(branches)
        for block in blocks(len(branches.ids), self.context):
            # Steps of each branch up to the last target inside this block; none when it has no target here.
            steps = np.minimum(counts, block.high - 1 - branches.starts)
            steps = np.where(branches.starts + steps >= block.low, np.maximum(steps, 0), 0)
            used = np.flatnonzero(steps)
            if len(used):
                self._score_block(branches, block, used, steps, result)
        return result

    def _score_block(
        self,
        branches: Branches,
        block: _Block,
        used: NDArray[np.int64],
        steps: NDArray[np.int64],
        result: Floats,
    ) -> None:
        cache = self._new_cache()
        prefix = self._begin_and(branches.ids[block.begin : int(branches.starts[used].max())])
        for _ in self._run_prefix(prefix, cache, need_logits=False):
            pass
        for chosen in _chunks(used, steps, self._chunk):
            branch = np.repeat(chosen, steps[chosen])
            step = np.concatenate([np.arange(n) for n in steps[chosen]])
            n_visible = 1 + branches.starts[branch] - block.begin
            sees_prefix = np.arange(len(prefix)) < n_visible[:, None]
            sees_tail = (branch[:, None] == branch) & (step <= step[:, None])
            logits = self._forward(
                self._token_of_id[branches.tails[branch, step]],
                n_visible + step,
                cache,
                np.concatenate([sees_prefix, sees_tail], axis=1),
            )
            cache.crop(-len(branch))
            target = branches.starts[branch] + step + 1
            targets = torch.from_numpy(branches.ids[target].astype(np.int64)).to(self.device)
            values = target_log_prob(logits, targets).double().cpu().numpy()
            here = (target >= block.low) & (target < block.high)
            result[branch[here], step[here]] = values[here]

    def _begin_and(self, ids: Ids) -> NDArray[np.int64]:
        return np.concatenate([[self.begin_token], self._token_of_id[ids]]).astype(np.int64)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()

    def _run_prefix(
        self, tokens: NDArray[np.int64], cache: Any, *, need_logits: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """Feed a prefix in chunks of bounded memory; yield where each chunk starts and its logits, ``[n, n_types]``."""
        for low in range(0, len(tokens), self._chunk):
            part = tokens[low : low + self._chunk]
            sees = np.arange(low + len(part)) <= (low + np.arange(len(part)))[:, None]
            yield low, self._forward(part, low + np.arange(len(part)), cache, sees, need_logits=need_logits)

    def _forward(
        self,
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        cache: Any,
        sees: NDArray[np.bool_],
        *,
        need_logits: bool = True,
    ) -> Tensor:
        """Run ``n`` tokens after the cached ones; ``sees`` is bool ``[n, cached + n]``; logits are ``[n, n_types]``."""
        mask = torch.zeros(sees.shape, dtype=self.model.dtype)
        mask.masked_fill_(~torch.from_numpy(sees), torch.finfo(self.model.dtype).min)
        output = self.model(
            input_ids=torch.from_numpy(tokens)[None].to(self.device),
            position_ids=torch.from_numpy(positions.astype(np.int64))[None].to(self.device),
            attention_mask=mask[None, None].to(self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=0 if need_logits else 1,
        )
        logits: Tensor = output.logits[0]
        # A copy, in float32: the caller may write into it.
        return logits[:, : len(self.tokens)].float().clone() if self._in_order else logits[:, self._columns].float()

    def _self_check(self) -> None:
        """Compare one shared-prefix run with plain forwards: a model that ignores the mask must not pass silently."""
        ids = (np.arange(6) % self.vocabulary.n_types).astype(np.int32)
        tails = ((ids[:3] + 1) % self.vocabulary.n_types)[None].repeat(2, 0).astype(np.int32)
        starts = np.array([1, 2])
        with torch.inference_mode():
            found = self._score_branches(Branches(ids, starts, tails)) if self.max_tail >= 3 else None
            if found is None:
                return
            for row, start in enumerate(starts):
                for step in range(3):
                    whole = np.concatenate([ids[:start], tails[row, : step + 1]])
                    if len(whole) > self.context or start + step + 1 >= len(ids):
                        continue
                    tokens = torch.from_numpy(self._begin_and(whole))[None].to(self.device)
                    logits = self.model(input_ids=tokens, use_cache=False).logits[0, -1, self._columns].float()
                    expected = float(logits.log_softmax(-1)[int(ids[start + step + 1])])
                    if not abs(found[row, step] - expected) < _SELF_CHECK_TOLERANCE * max(1.0, abs(expected)):
                        raise ConfigError(
                            f"{type(self.model).__name__} does not honour a 4-D attention mask with position ids and "
                            f"a cache (log-probability {found[row, step]:.4f} instead of {expected:.4f}); "
                            "load it with attn_implementation='sdpa' or 'eager', or use another architecture"
                        )


def _chunks(used: NDArray[np.int64], steps: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut branches into groups of about ``size`` tail tokens; a pure function of one sequence's branches."""
    ends = np.cumsum(steps[used])
    group = (ends - 1) // size
    yield from np.split(used, np.flatnonzero(np.diff(group)) + 1)


def wrap_huggingface(
    model: Any | str | os.PathLike[str],
    tokens: Mapping[str, int],
    *,
    begin_token: int | None = None,
    hidden_token: int | None = None,
    context: int | None = None,
    device: str | None = None,
) -> HuggingFaceDensity:
    """Use a Hugging Face causal decoder, or a local checkpoint of one, as a density.

    Args:
        model: A loaded model, or a local folder with its configuration and safetensors weights.
        tokens: Token id of each event type, in the order the vocabulary shall have.
        begin_token: Token before the first event; the model's ``bos_token_id`` when not given.
        hidden_token: Token of a hidden event, if the model was trained with one.
        context: Most past events to look at; the model's own limit when not given.
        device: ``"cpu"``, ``"cuda"``, …; chosen automatically when not given.

    Raises:
        ConfigError: The folder is not a checkpoint, a token does not fit, or the model does not honour 4-D masks.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        ...     num_attention_heads=1, max_position_embeddings=32, bos_token_id=3)
        >>> density = wrap_huggingface(LlamaForCausalLM(config), {"a": 0, "b": 1, "c": 2})
        >>> density.score(np.array([0, 1, 2], np.int32)).shape
        (3,)
    """
    from sequela.density.devices import choose_device

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
    return HuggingFaceDensity(
        model,
        vocabulary,
        tokens=np.array(list(tokens.values()), dtype=np.int64),
        begin_token=int(begin_token),
        hidden_token=hidden_token,
        context=int(context),
        device=device or choose_device(),
    )


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
