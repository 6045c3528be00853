"""From logits to the log-probability of one event."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def target_log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """Return ``log softmax(logits)[target]`` (``[B]``) for logits ``[B, V]`` and targets int64 ``[B]``.

    Written as ``log_sigmoid(target - logsumexp(others))``, which keeps full relative precision where the target is
    nearly certain; ``target - logsumexp(all)`` rounds such a probability to 1 in float32. Overwrites ``logits``.

    Example:
        >>> round(float(target_log_prob(torch.tensor([[0.0, 20.0]]), torch.tensor([1]))) * 1e9, 3)
        -2.061
    """
    index = targets[:, None]
    chosen = logits.gather(1, index)[:, 0]
    others = logits.scatter_(1, index, -torch.inf).logsumexp(1)
    return F.logsigmoid(chosen - others)
