"""The network of `fit_outcomes`: a logistic regression on counts, and a small hidden layer for what acts together."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from sequela.density.base import Floats
from sequela.errors import DensityError
from sequela.events.outcome_rows import OutcomeRows

WIDTH = 32
_BATCH = 256
_LEARNING_RATE = 5e-3
_WEIGHT_DECAY = 0.03
_PATIENCE = 6
_CHECK_EVERY = 25
_HIDDEN_CASES = 0.5
"""Share of training cases of which a random share of events, up to half, is hidden."""
_CHUNK = 1 << 13


class OutcomeNetwork(nn.Module):
    """Logits of the labels.

    Args:
        n_inputs: Event types and the hidden one.
        n_labels: Labels.
        width: Hidden units.
    """

    def __init__(self, n_inputs: int, n_labels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.direct = nn.Linear(2 * n_inputs, n_labels)
        self.hidden = nn.Linear(2 * n_inputs, width)
        self.joint = nn.Linear(width, n_labels)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.joint.weight)
        nn.init.zeros_(self.joint.bias)
        # What a calibration on cases of their own says: logit = scale * network + shift.
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.ones(n_labels))
        self.register_buffer("shift", torch.zeros(n_labels))

    def forward(self, counts: Tensor) -> Tensor:
        """Return logits ``[B, n_labels]`` from counts ``[B, n_inputs]``."""
        features = torch.cat([(counts > 0).to(counts.dtype), counts.clamp(min=1).log()], dim=1)
        found: Tensor = self.direct(features) + self.joint(F.gelu(self.hidden(features)))
        return found

    @torch.inference_mode()
    def logits(self, counts: Floats) -> Floats:
        """Return the calibrated logits (float64, ``[n, n_labels]``)."""
        parts = [
            (self(torch.from_numpy(np.ascontiguousarray(counts[i : i + _CHUNK], np.float32))) * self.scale + self.shift)
            for i in range(0, len(counts), _CHUNK)
        ]
        found: Floats = torch.cat(parts).double().numpy() if parts else np.zeros((0, self.joint.out_features))
        return found


def train_network(rows: OutcomeRows, *, max_steps: int, seed: int, width: int = WIDTH) -> OutcomeNetwork:
    """Train on some cases, of which every fifth only says when to stop.

    Raises:
        DensityError: The loss is no number.
    """
    generator = np.random.default_rng([seed, 21])
    stop = np.zeros(len(rows.case), dtype=bool)
    cases = np.unique(rows.case)
    stop[np.isin(rows.case, generator.permutation(cases)[: len(cases) // 5])] = True
    watch, train = rows.take(stop), rows.take(~stop)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = OutcomeNetwork(rows.counts.shape[1], rows.labels.shape[1], width)
    rate = (train.labels & train.asked).sum(axis=0) + 0.5, train.asked.sum(axis=0) + 1.0
    with torch.no_grad():
        network.direct.bias.copy_(torch.from_numpy(np.log(rate[0] / (rate[1] - rate[0]))))
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best, best_state, waited = math.inf, _copy(network), 0
    watched = _tensors(watch, np.arange(len(watch.case)))
    for step in range(max_steps):
        chosen = generator.choice(len(train.case), min(_BATCH, len(train.case)), replace=False)
        counts, labels, asked = _tensors(train, chosen)
        loss = _loss(network(hide_some(counts, generator)), labels, asked)
        if not bool(torch.isfinite(loss)):
            raise DensityError("training of the outcomes failed: the loss is no number")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % _CHECK_EVERY == _CHECK_EVERY - 1:
            with torch.inference_mode():
                now = float(_loss(network(watched[0]), *watched[1:])) if len(watch.case) else 0.0
            best, best_state, waited = (now, _copy(network), 0) if now < best else (best, best_state, waited + 1)
            if waited == _PATIENCE:
                break
    network.load_state_dict(best_state)
    return network.eval()


def hide_some(counts: Tensor, generator: np.random.Generator) -> Tensor:
    """Hide a random share of the events of some cases (counts ``[B, n_types + 1]``, hidden ones last)."""
    plain = counts.numpy()
    share = generator.random(len(plain)) * 0.5 * (generator.random(len(plain)) < _HIDDEN_CASES)
    hidden = generator.binomial(plain[:, :-1].astype(np.int64), share[:, None])
    shown = plain.copy()
    shown[:, :-1] -= hidden
    shown[:, -1] += hidden.sum(axis=1)
    return torch.from_numpy(shown)


def calibrate(network: OutcomeNetwork, rows: OutcomeRows) -> None:
    """Fit scale and shift of each label on cases that the network has not seen (with a prior at 1 and 0)."""
    logits = network.logits(rows.counts.toarray())
    fitted = [_platt(logits[use, column], rows.labels[use, column]) for column, use in enumerate(rows.asked.T)]
    network.scale, network.shift = torch.tensor(fitted, dtype=torch.float32).T.contiguous()


def _platt(logits: Floats, labels: NDArray[np.bool_]) -> tuple[float, float]:
    from scipy.optimize import minimize

    sign = np.where(labels, 1.0, -1.0)

    def loss(x: Floats) -> float:
        fit = np.logaddexp(0.0, -sign * (np.exp(x[0]) * logits + x[1])).sum()
        return float(fit + 2 * x[0] ** 2 + 0.5 * x[1] ** 2)

    found = minimize(loss, np.zeros(2), method="BFGS")
    return float(np.exp(found.x[0])), float(found.x[1])


def _loss(logits: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (each * asked).sum() / asked.sum().clamp(min=1)


def _tensors(rows: OutcomeRows, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    dense = sparse.csr_array(rows.counts[chosen]).toarray().astype(np.float32)
    labels, asked = (torch.from_numpy(table[chosen].astype(np.float32)) for table in (rows.labels, rows.asked))
    return torch.from_numpy(dense), labels, asked


def _copy(network: OutcomeNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
