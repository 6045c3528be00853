"""Several designs at once: the numbers of each alone, for fewer branches."""

import numpy as np
import pytest

from sequela import estimate
from sequela.effects.together import estimate_designs
from sequela.errors import ConfigError
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=3, decay=0.3, seed=0)
EVENTS = ["e0", "e3", "e1", "e5", "e2", "e2", "e4", "e0"]
FIELDS = ("cmi", "std_error", "log_p", "log_q")


def counted(monkeypatch):
    """Count the branches that the world is asked for."""
    counts = []
    real = SoftmaxWorld.score_branches_many

    def count(self, branches):
        counts.extend(len(one.starts) for one in branches)
        return real(self, branches)

    monkeypatch.setattr(SoftmaxWorld, "score_branches_many", count)
    return counts


@pytest.mark.parametrize("settings", [{"particles": 6}, {"particles": 3}, {"particles": 3, "proposal": "model"}])
def test_each_equals_its_design_alone(settings):
    designs = ("atomic", "leave-one-out", "staircase")
    found = estimate_designs(WORLD, EVENTS, designs, **settings)
    for name in designs:
        own = {key: value for key, value in settings.items() if key != "proposal" or name != "leave-one-out"}
        alone = estimate(WORLD, EVENTS, design=name, **own)
        for field in FIELDS:
            np.testing.assert_allclose(getattr(found[name], field), getattr(alone, field), atol=1e-9, err_msg=name)


def test_enumerated_replacements_are_shared(monkeypatch):
    counts = counted(monkeypatch)
    estimate_designs(WORLD, EVENTS, ("atomic", "leave-one-out"), particles=6)
    together = sum(counts)
    counts.clear()
    estimate(WORLD, EVENTS, design="atomic", particles=6)
    estimate(WORLD, EVENTS, design="leave-one-out", particles=6)
    assert together <= max(counts)  # not their sum
    assert len(counts) == 2


def test_statistics_share_branches(monkeypatch):
    counts = counted(monkeypatch)
    estimate(WORLD, EVENTS, particles=3, statistic="kl_of_mean")
    one = sum(counts)
    counts.clear()
    estimate(WORLD, EVENTS, particles=3, statistic="both")
    assert sum(counts) == one


@pytest.mark.parametrize("designs", [(), ("atomic", "atomic"), ("guess",), ("masked",)])
def test_bad_designs_are_refused(designs):
    with pytest.raises(ConfigError, match="design"):
        estimate_designs(WORLD, EVENTS, designs)
