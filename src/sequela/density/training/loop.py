"""The training loop: AdamW on Accelerate, best weights by validation loss, early stopping, resumable at every check.

Everything random is keyed by (seed, step), so a run that was killed and resumed gives the same weights as one that was
not. The state on disk is safetensors and JSON, never pickle.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from sequela.density.objectives import Task
from sequela.density.runtime.threads import right_threads
from sequela.errors import DensityError, check_range
from sequela.files import disk, read_json, whole_folder, write_json
from sequela.locks import locked
from sequela.progress import Reporter

_STATE = "state.json"
_VALIDATION_TARGETS = 50_000
_VALIDATION_LOGITS = 200_000_000
"""A look at the validation loss costs so many targets, or so many targets times types, at most."""
_TABLES = (
    "table.weight", "table_components.weight", "table_repeat.weight", "rate_source", "rate_timing.weight", "rate_curve",
    "rate_lag", "mix_lag",
)  # fmt: skip
_SLOW = {"mix.weight": 0.1}
"""Weights beside shared ones, which are to explain what they can first."""
TRAINING_PRECISIONS = ("float32", "bfloat16", "auto")
"""float16 would need its losses scaled."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        max_steps: Most optimiser steps; the learning rate falls to 0 along a cosine over them.
        batch_size: Examples a step.
        learning_rate: Its highest value, reached after a short rise.
        weight_decay: Of AdamW.
        check_every: Steps between looks at the validation loss.
        patience: Looks without a better validation loss before training stops.
        table_rate: Learning rate of the table of direct effects and of what scales additive ones, as a multiple of the
            others'. Most of their rows get few gradients, and the network fits the noise before they have moved.
        average: Share of itself that the running mean of the weights keeps at each step. The mean, not the last
            weights, is validated and kept: it predicts better, and as if the learning rate had already fallen.
        seed: Of the order of examples, dropout and hidden events.
        precision: ``"float32"``, or ``"bfloat16"``: matrix products in bfloat16, weights and losses in float32.
    """

    max_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.05
    check_every: int = 100
    patience: int = 10
    table_rate: float = 10.0
    average: float = 0.995
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "check_every", "patience"):
            check_range(name, getattr(self, name), low=1, whole=True)
        check_range("learning_rate", self.learning_rate, low=0, above=True)
        check_range("weight_decay", self.weight_decay, low=0)
        check_range("table_rate", self.table_rate, low=0, above=True)
        check_range("average", self.average, low=0, high=0.99999)


@dataclass
class TrainingResult:
    """What a training run gave.

    Attributes:
        weights: The weights with the lowest validation loss.
        best_step: When they were reached.
        best_loss: Their validation loss in nats per event.
        history: ``(step, training loss, validation loss)`` of every look.
        resumed_from: Step at which an earlier, interrupted run was taken up; 0 for a fresh one.
    """

    weights: dict[str, Tensor]
    best_step: int = 0
    best_loss: float = math.inf
    history: list[tuple[int, float, float]] = field(default_factory=list)
    resumed_from: int = 0


def train(
    model: torch.nn.Module,
    task: Task,
    validation: Task,
    config: TrainingConfig,
    *,
    device: str,
    report: Reporter,
    state_folder: Path | None = None,
    fingerprint: str = "",
) -> TrainingResult:
    """Train a model and return its best weights.

    Args:
        model: Network to train, in place.
        task: Training examples.
        validation: Examples that choose the best weights.
        config: How to train.
        device: Where.
        report: What to tell.
        state_folder: Where to keep the state between checks; None keeps nothing.
        fingerprint: Of data and settings; a state with another one is not taken up.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu")
    # Not Accelerate's own mixed precision: that is fixed for the life of the process.
    mixed = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    optimizer = torch.optim.AdamW(_groups(model, config), lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare: torch.nn.Module = accelerator.unwrap_model(model)
    mean = AveragedModel(bare, multi_avg_fn=_running_mean(config.average))
    result = TrainingResult(_copy(bare))
    misses = 0
    if state_folder is not None and state_folder.exists():
        misses = _load_state(state_folder, fingerprint, bare, mean, optimizer, result, report)
    step = result.resumed_from
    stop = misses >= config.patience
    batches = _batches(task.n_examples, config, step)
    running = torch.zeros(2)
    rank, n_ranks = accelerator.process_index, accelerator.num_processes
    # Two processes at least would each take their part of every batch; one takes it all.
    with right_threads(), report.bar("training", config.max_steps) as update, torch.random.fork_rng():
        while step < config.max_steps and not stop:
            model.train()
            torch.manual_seed(_key(config.seed, step, rank))
            rng = np.random.default_rng([config.seed, step, rank])
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * group["factor"] * _schedule(step, config.max_steps)
            with mixed:
                sums = task.loss(model, next(batches)[rank::n_ranks], rng, accelerator.device)
            accelerator.backward(sums[0] / sums[1].detach())
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            mean.update_parameters(bare)
            running += sums.detach().cpu()
            step += 1
            update(step, f"loss {float(running[0] / running[1]):.3f}, validation {result.best_loss:.3f}")
            if step % config.check_every == 0 or step == config.max_steps:
                validated = _validate(mean.module, validation, config.batch_size, accelerator.device)
                result.history.append((step, float(running[0] / running[1]), validated))
                _check_finite(result.history[-1], config)
                running.zero_()
                if validated < result.best_loss:
                    result.weights, result.best_step, result.best_loss, misses = _copy(mean.module), step, validated, 0
                else:
                    misses += 1
                stop = misses >= config.patience
                if state_folder is not None and accelerator.is_main_process:
                    _save_state(state_folder, fingerprint, step, misses, bare, mean, optimizer, result)
    accelerator.free_memory()
    return result


def _check_finite(look: tuple[int, float, float], config: TrainingConfig) -> None:
    """Raise `DensityError` where a loss is no number: weights that gave it are of no use."""
    step, training, validated = look
    if not (math.isfinite(training) and math.isfinite(validated)):
        raise DensityError(
            f"training failed: at step {step:,} the training loss was {training} and the validation loss {validated}; "
            f"lower learning_rate (it was {config.learning_rate:g}), or check the times of the log (times=False leaves "
            "them out)"
        )


def _groups(model: torch.nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: biases, gains and tables of direct effects are not pulled towards 0."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in model.named_parameters():
        decay = 0.0 if weight.ndim < 2 or name.startswith(("table", "rate")) else config.weight_decay
        rate = config.table_rate if name in _TABLES else _SLOW.get(name, 1.0)
        groups.setdefault((decay, rate), []).append(weight)
    return [{"params": weights, "weight_decay": decay, "factor": rate} for (decay, rate), weights in groups.items()]


def _running_mean(keep: float) -> Callable[[Any, Any, Tensor | int], None]:
    """Return the update of an exponential mean that follows quickly at first and then keeps ``keep`` a step."""

    @torch.no_grad()
    def update(means: list[Tensor], news: list[Tensor], n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        torch._foreach_lerp_(means, news, 1 - min(keep, (1 + n) / (10 + n)))

    return update


def _copy(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _key(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _schedule(step: int, max_steps: int) -> float:
    rise = max(1, min(200, max_steps // 20))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, max_steps - rise))) * 0.99 + 0.01


def _batches(n_examples: int, config: TrainingConfig, start: int) -> Iterator[NDArray[np.int64]]:
    """Yield the examples of step ``start``, ``start + 1``, …: each epoch is one permutation keyed by its number."""
    per_epoch = max(1, n_examples // config.batch_size)
    step = start
    while True:
        order = np.random.default_rng([config.seed, 1, step // per_epoch]).permutation(n_examples)
        for within in range(step % per_epoch, per_epoch):
            yield order[within * config.batch_size : (within + 1) * config.batch_size]
            step += 1


def _validate(model: torch.nn.Module, task: Task, batch_size: int, device: Any) -> float:
    total = validation_losses(model, task, batch_size, device).sum(axis=0)
    return float(total[0] / total[1])


@torch.inference_mode()
def validation_losses(model: torch.nn.Module, task: Task, batch_size: int, device: Any) -> NDArray[np.float64]:
    """Return the summed loss and the number of targets of every batch of validation examples (float64, ``[n, 2]``).

    The batches are the same for every model; neighbouring examples, and so most of a case, share one.
    """
    model.eval()
    # A fixed sample when the validation part is large: checks must stay cheap.
    most = min(_VALIDATION_TARGETS, max(1, _VALIDATION_LOGITS // task.vocabulary.n_types))
    share = min(1.0, most / max(task.n_targets, 1))
    size = max(1, round(task.n_examples * share))
    examples = np.sort(np.random.default_rng(0).permutation(task.n_examples)[:size])
    lows = range(0, len(examples), batch_size)
    sums = [task.loss(model, examples[low : low + batch_size], None, device).cpu().numpy() for low in lows]
    return np.array(sums, dtype=np.float64).reshape(-1, 2)


def _save_state(
    folder: Path,
    fingerprint: str,
    step: int,
    misses: int,
    model: torch.nn.Module,
    mean: AveragedModel,
    optimizer: Any,
    result: TrainingResult,
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in _copy(model).items()}
    tensors |= {f"mean.{name}": tensor for name, tensor in _copy(mean).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in result.weights.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.detach().cpu().clone() for name, value in values.items()}
    progress = {
        "fingerprint": fingerprint,
        "step": step,
        "misses": misses,
        "best_step": result.best_step,
        "best_loss": result.best_loss,
        "history": result.history,
    }
    with whole_folder(folder, marker=_STATE, overwrite=True) as temporary:
        save_file(tensors, temporary / "state.safetensors")
        write_json(temporary / _STATE, progress)


def _load_state(
    folder: Path,
    fingerprint: str,
    model: torch.nn.Module,
    mean: AveragedModel,
    optimizer: Any,
    result: TrainingResult,
    report: Reporter,
) -> int:
    """Take up an interrupted run when it had the same data and settings; return its misses."""
    try:
        progress = read_json(folder / _STATE)
        if progress["fingerprint"] != fingerprint:
            report.say(f"'{folder}' holds an interrupted run with other data or settings: starting anew")
            return 0
        tensors = load_file(folder / "state.safetensors")
        part = {kind: _under(tensors, kind) for kind in ("model", "mean", "best", "optimizer")}
        model.load_state_dict(part["model"])
        mean.load_state_dict(part["mean"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part["optimizer"].items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        result.weights = part["best"]
        result.best_step, result.best_loss = int(progress["best_step"]), float(progress["best_loss"])
        result.history = [(int(a), float(b), float(c)) for a, b, c in progress["history"]]
        result.resumed_from = int(progress["step"])
        report.say(f"taking up the interrupted training at step {result.resumed_from:,}")
        return int(progress["misses"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        warnings.warn(f"the interrupted run in '{folder}' cannot be read ({error}): starting anew", stacklevel=2)
        return 0


def _under(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): value for name, value in tensors.items() if name.startswith(f"{kind}.")}


def forget_state(folder: Path | None) -> None:
    """Remove the state of a finished run."""
    if folder is not None:
        with locked(folder):  # the lock of a process that was killed goes with it
            if (folder / _STATE).is_file():
                disk.remove(folder)
