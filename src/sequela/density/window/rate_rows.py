"""What each input adds to the rate of each event type: as a table, or one by one where a table would be too large."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class RateTable(NamedTuple):
    """All rates, ``[n_inputs, n_types]``; see `RateRows`."""

    values: Tensor

    def added(self, windows: Tensor, scale: Tensor, n_types: int) -> Tensor:
        """See `RateRows.added`."""
        return scaled_rows(windows, self.values, scale)

    def sums(self) -> Tensor:
        """See `RateRows.sums`."""
        return self.values.sum(1)

    def of(self, windows: Tensor, targets: Tensor, n_types: int) -> Tensor:
        """See `RateRows.of`."""
        return self.values[windows, targets[:, None]]


class RateRows(NamedTuple):
    """Compressed sparse rows.

    Attributes:
        starts: Where the rates of each input begin (int64, ``[n_inputs + 1]``).
        types: Their types, rising in each row (int64, ``[n_rates]``).
        values: The rates (``[n_rates]``).

    Example:
        >>> rows = RateRows(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), torch.tensor([1.0, 3.0, 5.0]))
        >>> windows, scale = torch.tensor([[0, 1], [0, 0]]), torch.tensor([[1.0, 1.0], [1.0, 2.0]])
        >>> rows.added(windows, scale, n_types=3).tolist()
        [[1.0, 5.0, 3.0], [3.0, 0.0, 9.0]]
        >>> rows.sums().tolist(), rows.of(windows, torch.tensor([2, 1]), n_types=3).tolist()
        ([4.0, 5.0], [[3.0, 0.0], [0.0, 0.0]])
    """

    starts: Tensor
    types: Tensor
    values: Tensor

    def fit(self, n_types: int) -> bool:
        """Return whether these are rows of some types: what a stranger's file says must not be looked up unchecked."""
        starts, types = self.starts, self.types
        if starts[[0, -1]].tolist() != [0, len(types)] or not bool((starts.diff() >= 0).all()):
            return False
        return bool(((types >= 0) & (types < n_types)).all()) and bool((self._keys(n_types).diff() > 0).all())

    def added(self, windows: Tensor, scale: Tensor, n_types: int) -> Tensor:
        """Return the sum of the rows of the events of each window, each times its scale (``[B, n_types]``).

        One event of the windows at a time: no rate of a row is then added to another in an order left to chance.
        """
        total = self.values.new_zeros(len(windows) * n_types)
        for lag in range(windows.shape[1]):
            low = self.starts[windows[:, lag]]
            many = self.starts[windows[:, lag] + 1] - low
            row = torch.repeat_interleave(torch.arange(len(many), device=many.device), many)
            place = torch.arange(len(row), device=many.device) + (low - (many.cumsum(0) - many))[row]
            total = total.index_add(0, row * n_types + self.types[place], scale[row, lag] * self.values[place])
        return total.view(len(windows), n_types)

    def sums(self) -> Tensor:
        """Return what each input adds to all types together (``[n_inputs]``)."""
        ends = torch.cat([self.values.new_zeros(1, dtype=torch.float64), self.values.double().cumsum(0)])[self.starts]
        return ends.diff().float()

    def of(self, windows: Tensor, targets: Tensor, n_types: int) -> Tensor:
        """Return what each event of each window adds to the rate of a target (``[B, memory]``; ``[B]`` targets)."""
        keys, wanted = self._keys(n_types), windows * n_types + targets[:, None]
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == wanted, self.values[place], 0.0)

    def _keys(self, n_types: int) -> Tensor:
        """Return ``input * n_types + type`` of each rate, which rise (int64, ``[n_rates]``)."""
        inputs = torch.arange(len(self.starts) - 1, device=self.types.device)
        return torch.repeat_interleave(inputs, self.starts.diff()) * n_types + self.types


def scaled_rows(windows: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """Return the sum of a table's rows for the events of each window, each times its scale (``[B, memory]``)."""
    if windows.device.type != "mps":
        return F.embedding_bag(windows, table, mode="sum", per_sample_weights=scale)
    return _rows_by_lag(windows, table, scale)


def _rows_by_lag(windows: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    # Apple devices learnt `embedding_bag` and its gradients late (PyTorch 2.10).
    total = scale[:, :1] * F.embedding(windows[:, 0], table)
    for place in range(1, windows.shape[1]):
        total = torch.addcmul(total, scale[:, place, None], F.embedding(windows[:, place], table))
    return total
