"""Any model that gives next-event log-probabilities for a batch of sequences, as a density: exact, and slow.

A PyTorch module, an ONNX Runtime session, a remote scorer: whatever is called with a batch of rows and answers with
log-probabilities. Whole sequences are run again for every branch, in batches; a model that declares a memory is given
windows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequela.arguments import FLAG, NOTHING, Either, Kind, Number, checks, list_of, public
from sequela.density.base import Density, Floats, Ids
from sequela.density.rerun import Places, RerunDensity
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

_HELD_NUMBERS = 2**24
"""Most log-probabilities of one call: 128 MiB of float64."""
_NORMALISED = 1e-3
_SAME = 1e-4

Model = Callable[[Any], Any]


class ModelCalls:
    """Calls of somebody's model, each checked.

    Args:
        model: See `wrap_model`.
        vocabulary: Event types.
    """

    def __init__(self, model: Model, vocabulary: Vocabulary) -> None:
        self.model = model
        self.vocabulary = vocabulary
        self.is_module = isinstance(model, torch.nn.Module)
        if isinstance(model, torch.nn.Module):
            model.eval()

    def __call__(self, inputs: Ids) -> Floats:
        """Return what the model says.

        Args:
            inputs: ``begin_id`` and the events after it (int32, ``[B, L]``).

        Returns:
            Log-probabilities after the last event of each row (float64, ``[B, n_types]``), or after every one
            (``[B, L, n_types]``).

        Raises:
            ConfigError: It says something else.
        """
        rows: Any = inputs.astype(np.int64)
        if self.is_module:
            assert isinstance(self.model, torch.nn.Module)
            weight = next(self.model.parameters(), None)
            rows = torch.from_numpy(rows).to("cpu" if weight is None else weight.device)
            with torch.inference_mode():
                found = self.model(rows)
        else:
            found = self.model(rows)
        if isinstance(found, torch.Tensor):
            found = found.detach().float().cpu().numpy()
        return self._checked(found, inputs.shape)

    def _checked(self, found: Any, shape: tuple[int, ...]) -> Floats:
        n_types = self.vocabulary.n_types
        allowed = ((shape[0], n_types), (*shape, n_types))
        given = getattr(found, "shape", None)
        if given not in allowed:
            what = type(found).__name__ if given is None else str(tuple(given))
            raise ConfigError(
                f"model must give log-probabilities of shape {allowed[0]} (after the last event of each row) or "
                f"{allowed[1]} (after every event) for rows of shape {tuple(shape)}; got {what}"
            )
        values: Floats = np.asarray(found, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ConfigError(
                "model must give finite log-probabilities; got NaN or infinity: give events that it holds impossible a "
                "small probability"
            )
        top = values.max(axis=-1, keepdims=True)
        total = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
        if np.abs(total).max(initial=0) > _NORMALISED:
            worst = float(np.exp(total.ravel()[np.abs(total).argmax()]))
            raise ConfigError(
                f"model must give log-probabilities, whose exponentials sum to 1; they sum to {worst:.4g}: "
                "return log_softmax of the logits"
            )
        return values


class WrappedModel(RerunDensity):
    """A model that looks at all past events; see `wrap_model`."""

    def __init__(self, calls: ModelCalls, *, context: int, batch_size: int, knows_hidden: bool) -> None:
        self.vocabulary = calls.vocabulary
        self.context = context
        self.knows_hidden = knows_hidden
        self._calls = calls
        self._batch_size = batch_size
        self.every_position = calls(np.full((1, 2), self.vocabulary.begin_id, np.int32)).ndim == 3

    def _rows_a_call(self, n_inputs: int) -> int:
        numbers = self.vocabulary.n_types * (n_inputs if self.every_position else 1)
        return max(1, min(self._batch_size, _HELD_NUMBERS // numbers))

    def _log_probs(self, inputs: Ids, places: Places) -> Floats:
        found = self._calls(inputs)
        if (found.ndim == 3) != self.every_position:
            raise ConfigError("model must give answers of the same number of dimensions in every call")
        rows, columns = places
        return found[rows, columns] if self.every_position else found[rows]

    def _target_log_probs(self, inputs: Ids, places: Places, targets: Ids) -> Floats:
        values = self._log_probs(inputs, places)
        return values[np.arange(len(targets)), targets]


class WrappedWindowModel(FiniteMemoryDensity):
    """A model of the last `memory` events; see `wrap_model`."""

    def __init__(self, calls: ModelCalls, *, memory: int, batch_size: int, knows_hidden: bool) -> None:
        self.vocabulary = calls.vocabulary
        self.memory = memory
        self.knows_hidden = knows_hidden
        self._calls = calls
        self._batch_size = batch_size

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        size = max(1, min(self._batch_size, _HELD_NUMBERS // (self.memory * self.vocabulary.n_types)))
        parts = [self._last(windows[low : low + size]) for low in range(0, len(windows), size)]
        return np.concatenate(parts) if parts else np.zeros((0, self.vocabulary.n_types))

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`."""
        return self.window_conditional(windows)[np.arange(len(targets)), targets]

    def _last(self, windows: Ids) -> Floats:
        found = self._calls(windows)
        return found if found.ndim == 2 else found[:, -1]


@public(
    checks(
        model=Kind("something that can be called with a batch of sequences", has=("__call__",)),
        vocabulary=Either((Kind("a Vocabulary", "sequela.events.vocabulary:Vocabulary"), list_of("a list of names"))),
        memory=Either((Number(1, whole=True), NOTHING)),
        context=Number(2, whole=True),
        batch_size=Number(1, whole=True),
        knows_hidden=FLAG,
    )
)
def wrap_model(
    model: Model,
    vocabulary: Vocabulary | Sequence[str],
    memory: int | None = None,
    *,
    context: int = 1024,
    batch_size: int = 256,
    knows_hidden: bool = False,
) -> Density:
    """Use any model that gives next-event log-probabilities for a batch of sequences as a density.

    The model is called with rows of equal length (int64, ``[B, L]``; a tensor on its own device for a PyTorch module,
    an array for anything else). The first column holds ``vocabulary.begin_id``, the others event types
    ``0 … n_types - 1``. It answers with natural logarithms of probabilities: after the last event of each row
    (``[B, n_types]``), or after every event (``[B, L, n_types]``, which saves calls). A tensor or an array will do.

    Every branch is scored by running its whole past again: exact, and slow; `plan_discovery` says so. The model is
    probed here: shape, sums, the same answer twice and in company, and no look at later events.

    Args:
        model: Any callable: a PyTorch module (it is set to evaluation), a function around an ONNX Runtime session or a
            remote scorer.
        vocabulary: Event types in the order of the model's columns, or their names.
        memory: How many past events the model looks at, if it has such a limit: each row then is the window of that
            many last events, with ``begin_id`` in place of those before the first.
        context: Most past events without a ``memory``; longer sequences are cut into blocks of half as many, each
            predicted from itself and the block before.
        batch_size: Rows of one call.
        knows_hidden: Whether the model was trained with ``vocabulary.hidden_id`` in the past, for an event that is
            there but not shown.

    Raises:
        ConfigError: The model does not do that.

    Example:
        >>> def often_the_same(rows):
        ...     chance = np.full((len(rows), 3), 0.2)
        ...     chance[np.arange(len(rows)), rows[:, -1] % 3] = 0.6
        ...     return np.log(chance)
        >>> density = wrap_model(often_the_same, ["a", "b", "c"], memory=1)
        >>> np.exp(density.score(np.array([0, 0, 1], np.int32))).round(1).tolist()
        [0.2, 0.6, 0.2]
    """
    if not isinstance(vocabulary, Vocabulary):
        vocabulary = Vocabulary(tuple(vocabulary), (0,) * len(vocabulary))
    calls = ModelCalls(model, vocabulary)
    try:
        _probe(calls, int(memory) if memory is not None else 1 + int(context), windows=memory is not None)
        if memory is not None:
            return WrappedWindowModel(calls, memory=int(memory), batch_size=int(batch_size), knows_hidden=knows_hidden)
        return WrappedModel(calls, context=int(context), batch_size=int(batch_size), knows_hidden=knows_hidden)
    except ConfigError:
        raise
    except Exception as error:  # somebody's code; each error means that it does not do what is asked
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"model cannot be run on a batch of sequences: {reason[0]}") from error


def _probe(calls: ModelCalls, n_inputs: int, *, windows: bool) -> None:
    """Raise `ConfigError` unless the model is one of the next event."""
    vocabulary = calls.vocabulary
    rng = np.random.default_rng(0)
    rows = rng.integers(0, vocabulary.n_types, (3, n_inputs)).astype(np.int32)
    rows[:, 0] = vocabulary.begin_id
    together = calls(rows)
    if not _same(calls(rows), together):
        raise ConfigError("model gives other log-probabilities each time: turn off what is random in it")
    if not _same(calls(rows[:1]), together[:1]):
        raise ConfigError("model gives a row other log-probabilities in company: rows of a batch must be independent")
    if windows or together.ndim == 2:
        return
    for cut in sorted({max(1, n_inputs // 2), n_inputs - 1}):
        other = rows.copy()
        other[:, cut:] = (rows[:, cut:] + 1) % vocabulary.n_types
        if not (_same(calls(rows[:, :cut]), together[:, :cut]) and _same(calls(other)[:, :cut], together[:, :cut])):
            raise ConfigError(
                "model is no model of the next event: a later event moves the log-probability of an earlier one; give "
                "only what follows the last event of each row"
            )


def _same(found: Floats, expected: NDArray[np.float64]) -> bool:
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=_SAME, atol=_SAME))
