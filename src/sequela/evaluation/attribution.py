"""Explanations of single predictions as baselines: gradients and Shapley values (Captum), attention rollout.

They say what a model's prediction leans on, not what an intervention would change; beside our scores they show the gap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sequela.density.base import Density
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.window.density import WindowDensity
from sequela.density.window.finite_memory import observed_windows
from sequela.density.window.network import WindowNetwork, log_add, second_last
from sequela.errors import ConfigError
from sequela.evaluation.baselines import Floats, Ids, Method, no_scores


class OneHotWindow(nn.Module):
    """A `WindowNetwork` on one-hot windows (``[B, memory, n_inputs]``), so that its inputs have a gradient."""

    def __init__(self, network: WindowNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, one_hot: Tensor, target: Tensor) -> Tensor:
        """Return ``log P(target)`` (``[B]``)."""
        net, config = self.network, self.network.config
        windows = one_hot.argmax(-1)
        again = second_last(windows, config.n_types).to(one_hot.dtype)[..., None] if config.repeats else None
        events = one_hot @ net.embedding.weight
        if again is not None:
            events = events + again * (one_hot @ net.repeat.weight)
        x = net.mix(events.flatten(1))
        for block in net.blocks:
            x = block(x)
        logits = net.head(net.norm(x))
        if config.wide:
            direct = one_hot @ net.table.weight
            if again is not None:
                direct = direct + again * (one_hot @ net.table_repeat.weight)
            logits = logits + (net.lag_scale[:, None] * direct).sum(1)
        if config.additive:
            scale = (net.rate_lag + one_hot @ net.rate_source).exp()
            logits = log_add(logits, (scale[..., None] * (one_hot @ net.rates)).sum(1))
        chosen: Tensor = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
        return chosen


class _WindowAttribution(Method):
    """Attribution of the log-probability of each event to the places of the window before it."""

    threshold = 0.05

    def __init__(self, density: Density) -> None:
        if not isinstance(density, WindowDensity):
            raise ConfigError(f"{self.name} needs a window density; got {type(density).__name__}")
        if density.uses_times:
            raise ConfigError(f"{self.name} needs a density without times: fit with times=False")
        if density.network.config.n_rates:
            raise ConfigError(f"{self.name} needs a density of at most 2,000 event types, or one with additive=False")
        self._captum = _captum()
        self._density = density

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        memory, band = self._density.memory, no_scores(len(ids), horizon, 0.0)
        if not len(ids):
            return band
        windows = observed_windows(ids, np.arange(len(ids)), memory, self._density.vocabulary.begin_id)
        device = self._density.runtime.device
        places = torch.from_numpy(windows.astype(np.int64)).to(device)
        targets = torch.from_numpy(ids.astype(np.int64)).to(device)
        value = self._attribute(places, targets).detach().cpu().double().numpy()  # [L, memory]
        for lag in range(1, min(horizon, memory, len(ids) - 1) + 1):
            band[: len(ids) - lag, lag - 1] = value[lag:, memory - lag]
        return band

    def _attribute(self, windows: Tensor, targets: Tensor) -> Tensor:
        raise NotImplementedError


class InputTimesGradient(_WindowAttribution):
    """Input times gradient of the log-probability, at the one-hot input.

    Args:
        density: A window density.

    Raises:
        ConfigError: It is not one, or Captum is not installed.

    Source: Shrikumar et al. (2016), through Captum's ``InputXGradient``.
    """

    name = "input x gradient"

    def _attribute(self, windows: Tensor, targets: Tensor) -> Tensor:
        one_hot = F.one_hot(windows, self._density.vocabulary.n_inputs).float().requires_grad_()
        method = self._captum.InputXGradient(OneHotWindow(self._density.network))
        value: Tensor = method.attribute(one_hot, additional_forward_args=(targets,)).sum(-1)
        return value


class ShapleySampling(_WindowAttribution):
    """Shapley values of the events of the window, by sampled orders.

    Args:
        density: A window density; events that are left out are hidden, or the begin mark if it knows no hidden ones.
        n_samples: Orders.
        seed: Of the orders.

    Raises:
        ConfigError: It is not a window density, or Captum is not installed.

    Source: Strumbelj and Kononenko (2010), through Captum's ``ShapleyValueSampling``.
    """

    name = "Shapley sampling"

    def __init__(self, density: Density, *, n_samples: int = 25, seed: int = 0) -> None:
        super().__init__(density)
        self._n_samples, self._seed = n_samples, seed

    def _attribute(self, windows: Tensor, targets: Tensor) -> Tensor:
        density = self._density
        absent = density.vocabulary.hidden_id if density.knows_hidden else density.vocabulary.begin_id

        def log_prob(places: Tensor, target: Tensor) -> Tensor:
            with torch.no_grad():
                chosen: Tensor = density.network(places.long()).log_softmax(-1).gather(1, target[:, None])[:, 0]
            return chosen

        method = self._captum.ShapleyValueSampling(log_prob)
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            # Captum carries inputs on as they are; numbers of event types stay exact. Apple devices have no float64.
            places = windows.float() if windows.device.type == "mps" else windows.double()
            value: Tensor = method.attribute(
                places, baselines=float(absent), additional_forward_args=(targets,), n_samples=self._n_samples
            )
        return value


class AttentionRollout(Method):
    """Attention traced through the layers of a decoder, from the place that predicts an event to the events before it.

    Args:
        density: A Hugging Face density.

    Raises:
        ConfigError: It is not one; in `scores`, a sequence is longer than its context.

    Source: Abnar and Zuidema (2020), "Quantifying attention flow in transformers".
    """

    name = "attention rollout"
    threshold = 0.125
    """One in eight: an even share over the default horizon."""

    def __init__(self, density: Density) -> None:
        if not isinstance(density, HuggingFaceDensity):
            raise ConfigError(f"{self.name} needs a Hugging Face density; got {type(density).__name__}")
        self._density = density

    def scores(self, ids: Ids, horizon: int) -> Floats:
        """See `Method.scores`."""
        density, band = self._density, no_scores(len(ids), horizon, 0.0)
        if len(ids) > density.context:
            raise ConfigError(f"a sequence must have at most {density.context} events (the context); got {len(ids)}")
        if len(ids) < 2:
            return band
        rollout = self.rollout(ids)
        for lag in range(1, min(horizon, len(ids) - 1) + 1):
            effect = np.arange(lag, len(ids))
            # Token 0 is the begin mark: event q is predicted at token q and stands at token q + 1.
            band[: len(ids) - lag, lag - 1] = rollout[effect, effect - lag + 1]
        return band

    @torch.inference_mode()
    def rollout(self, ids: Ids) -> Floats:
        """Return the rolled-out attention between tokens (``[L, L]``, rows sum to 1); token 0 is the begin mark."""
        density = self._density
        tokens = np.concatenate([[density.begin_token], density.tokens[ids[:-1]]]).astype(np.int64)
        before = density.model.config._attn_implementation
        density.model.set_attn_implementation("eager")  # the fast ones do not give their weights
        try:
            layers = density.model(
                input_ids=torch.from_numpy(tokens)[None].to(density.runtime.device),
                output_attentions=True,
                use_cache=False,
            ).attentions
        finally:
            density.model.set_attn_implementation(before)
        flow = torch.eye(len(tokens), dtype=torch.float64)
        for layer in layers:
            mean = layer[0].cpu().double().mean(0) + torch.eye(len(tokens), dtype=torch.float64)
            flow = (mean / mean.sum(-1, keepdim=True)) @ flow
        result: Floats = flow.numpy()
        return result


def _captum() -> Any:
    try:
        import captum.attr
    except ImportError:
        raise ConfigError("this baseline needs Captum: pip install 'sequela[attribution]'") from None
    return captum.attr
