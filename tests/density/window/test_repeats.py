"""Repeats: what the second occurrence of a type adds, written out; learnt where it decides, and trained further."""

import numpy as np
import torch

from sequela.density.checkpoint import load_density
from sequela.density.training import size
from sequela.density.training.fit import fit, fit_further
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.events.log import read_log
from sequela.worlds.rules import RuleWorld

V, MEMORY = 4, 6
WORLD = RuleWorld([0.0] * V, [[0, 2, 0, 2], [1, 2, 1, 2]], [2, 3], [4.0, 4.0], horizon=MEMORY)
"""What 0 and 1 do, they do from the second time on."""
LOG = read_log(WORLD.to_log(WORLD.sample(120, 20, seed=1)))
SHORT = {"max_steps": 60, "device": "cpu", "progress": False, "learning_rate": 1e-2}


@torch.no_grad()
def test_the_second_last_of_a_type_is_described_by_and_adds_numbers_of_its_own():
    torch.manual_seed(0)
    network = WindowNetwork(WindowConfig(V, V + 3, MEMORY, 8, 16, wide=True, repeats=True)).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    rows = np.random.default_rng(0).integers(0, V + 3, (40, MEMORY))
    for window in rows:
        # A network without repeats, in which the second last of each type is one more input.
        bare = WindowNetwork(WindowConfig(V, V + 3 + V, MEMORY, 8, 16, wide=True)).eval()
        weights = {name: weight for name, weight in network.state_dict().items() if "repeat" not in name}
        for name, more in (("embedding", network.repeat), ("table", network.table_repeat)):
            own = weights[f"{name}.weight"]
            weights[f"{name}.weight"] = torch.cat([own, own[:V] + more.weight[:V]])
        bare.load_state_dict(weights)
        changed = window.copy()
        for u in range(V):
            places = np.flatnonzero(window == u)
            if len(places) > 1:
                changed[places[-2]] = V + 3 + u
        torch.testing.assert_close(
            network(torch.from_numpy(window[None])), bare(torch.from_numpy(changed[None])), atol=1e-5, rtol=1e-5
        )


def test_fit_lets_repeats_count_apart_where_they_decide(tmp_path, monkeypatch):
    monkeypatch.setattr(size, "LEAST_STEPS", 15)
    density = fit(LOG, out=tmp_path / "m", **SHORT)
    choice = density.info["repeats_choice"]
    assert choice["repeats"] is density.info["arguments"]["repeats"] is True
    assert choice["validation_loss"]["apart"] < choice["validation_loss"]["without"] - choice["std_error"]
    again = load_density(tmp_path / "m", device="cpu")
    assert again.fingerprint == density.fingerprint
    ids, where = np.array([0, 1, 0, 2, 1, 0], np.int32), np.arange(6)
    assert (again.conditional(ids, where) == density.conditional(ids, where)).all()
    further = fit_further(again, LOG, device="cpu", progress=False)
    assert further.network.config.repeats


def test_without_a_choice_repeats_do_not_count_apart():
    density = fit(LOG, width=8, **SHORT)
    assert density.info["repeats_choice"] is None
    assert not density.network.config.repeats
