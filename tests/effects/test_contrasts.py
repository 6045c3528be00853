"""Presence and state in one pass: against brute force, and against each contrast alone."""

import numpy as np
import polars as pl
import pytest

from sequela import discover, discover_log, estimate
from sequela.density.base import Branches
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.effects.contrasts import COLUMNS, state_groups
from sequela.effects.state_law import StateLaw
from sequela.errors import ConfigError
from sequela.events.log import event_components, read_log
from sequela.events.sequences import Case
from sequela.events.vocabulary import RARE, Vocabulary
from sequela.worlds.diagnostic import DiagnosticWorld
from sequela.worlds.softmax import SoftmaxWorld

BASE = DiagnosticWorld.random(12, horizon=3, seed=4)
NAMES = tuple(f"{what}|{state}" for what, n in {"a": 5, "b": 4, "c": 2, "d": 1}.items() for state in range(n))
WORLD = DiagnosticWorld(BASE.fresh, BASE.links.toarray(), horizon=3, strength=6.0, names=NAMES)
IDS = np.concatenate([np.arange(12), WORLD.sample(1, 14, seed=1)[0].ids]).astype(np.int32)
CASE = Case("x", IDS, None)


def kl(p, q):
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def weighted_median(values, weights):
    order = np.argsort(values)
    values, share = np.array(values)[order], np.cumsum(np.array(weights)[order]) / np.sum(weights)
    first = int(np.argmax(share > 0.5 + 1e-9))
    return (values[first - 1] + values[first]) / 2 if np.any(np.abs(share - 0.5) < 1e-9) else values[first]


@pytest.mark.parametrize("state_weights", ["even", "model"])
@pytest.mark.parametrize("decides", ["presence", "state"])
def test_equals_brute_force(decides, state_weights):
    found = estimate(WORLD, CASE, contrast=decides, state_weights=state_weights, particles=12)
    assert tuple(found.columns) == COLUMNS
    n_single = 0
    for cause in range(len(IDS) - 1):
        what = event_components(NAMES[IDS[cause]])[0]
        law = np.exp(WORLD.conditional(IDS[:cause], np.array([cause]))[0])
        for effect in range(cause + 1, min(len(IDS), cause + 4)):
            cell = cause, effect - cause - 1
            acted = event_components(NAMES[IDS[effect]])[0]
            alike = [u for u, name in enumerate(NAMES) if event_components(name)[0] == acted]
            f, went = [], []  # of the event; of how it went, given what acted
            for u in range(12):
                changed = IDS.copy()
                changed[cause] = u
                after = np.exp(WORLD.conditional(changed[:effect], np.array([effect]))[0])
                f.append(after[IDS[effect]])
                went.append(after[IDS[effect]] / (after[alike].sum() if len(alike) > 1 else 1))
            p, p_went = f[IDS[cause]], went[IDS[cause]]
            states = [u for u, name in enumerate(NAMES) if event_components(name)[0] == what]
            weights = law[states] if state_weights == "model" else np.ones(len(states))
            expected = {
                "presence_cmi_nats": kl(p, np.mean(f)),
                "presence_median_nats": kl(p, weighted_median(f, np.ones(12))),
                "state_cmi_nats": kl(p_went, np.average(np.array(went)[states], weights=weights)),
                "state_median_nats": kl(p_went, weighted_median(np.array(went)[states], weights)),
            }
            if len(states) == 1:
                n_single += 1
                expected["state_cmi_nats"] = expected["state_median_nats"] = np.nan
            for name, value in expected.items():
                assert found.columns[name][cell] == pytest.approx(value, abs=1e-9, nan_ok=True), (name, cell)
            assert found.cmi[cell] == pytest.approx(expected[f"{decides}_cmi_nats"], nan_ok=True)
            assert found.std_error[cell] == pytest.approx(0 * found.cmi[cell], nan_ok=True)
    assert n_single > 0
    assert found.n_tested < estimate(WORLD, CASE).n_tested or decides == "presence"


def test_each_is_what_it_is_alone():
    both = estimate(WORLD, CASE, contrast="state", particles=4)
    presence = estimate(WORLD, CASE, particles=4, proposal="uniform")
    law = StateLaw(WORLD, state_groups(WORLD.vocabulary))
    state = estimate(law, CASE, particles=4, proposal="siblings")
    np.testing.assert_allclose(both.columns["presence_cmi_nats"], presence.cmi, atol=1e-12)
    np.testing.assert_allclose(both.columns["state_cmi_nats"], state.cmi, atol=1e-12)
    np.testing.assert_allclose(both.q_std_error, state.q_std_error, atol=1e-12)
    median = estimate(WORLD, CASE, particles=4, statistic="kl_of_median")
    np.testing.assert_allclose(both.columns["presence_median_nats"], median.cmi, atol=1e-12)


def test_whether_something_acts_is_no_effect_on_how_it_went():
    """``a`` going wrong makes ``b`` rarer and not worse: an effect on the event, none on its state."""
    weights = np.zeros((5, 5))
    weights[1, 2:4] = -2.0  # a|no against both states of b
    weights[1, 4] = 1.0
    names = ["a|ok", "a|no", "b|ok", "b|no", "c|ok"]
    world = SoftmaxWorld(np.zeros(5), weights, horizon=1, names=names)
    found = estimate(world, ["a|ok", "b|ok"], contrast="state")
    assert found.columns["presence_cmi_nats"][0, 0] > 0.001
    assert found.cmi[0, 0] == pytest.approx(0, abs=1e-12)
    assert estimate(world, ["a|no", "c|ok"], contrast="state").cmi[0, 0] > 0.05  # one state: whether it comes


def test_the_law_of_states_is_the_same_by_windows_and_by_pasts():
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary(NAMES, (1,) * 12)
    network = WindowNetwork(WindowConfig(12, vocabulary.n_inputs, 3, 4, 8))
    density = WindowDensity(network, vocabulary)
    law = StateLaw(density, state_groups(vocabulary))
    starts = rng.integers(0, len(IDS), 9)
    tails = rng.integers(0, 12, (9, 4)).astype(np.int32)
    branches = Branches(IDS, starts, tails, None, rng.random((9, 4)) < 0.7)
    np.testing.assert_allclose(law.score_branches_many([branches])[0], law._by_pasts(branches), atol=1e-6)
    whole = density.conditional(IDS, np.arange(len(IDS)))
    size = state_groups(vocabulary).size[IDS]
    same = [[event_components(a)[0] == event_components(NAMES[b])[0] for a in NAMES] for b in IDS]
    own = whole[np.arange(len(IDS)), IDS]
    expected = np.where(size > 1, own - np.logaddexp.reduce(np.where(same, whole, -np.inf), axis=1), own)
    np.testing.assert_allclose(law.score(IDS), expected, atol=1e-6)


def test_states_weighted_by_the_model_are_sampled_fairly():
    exact = estimate(WORLD, CASE, contrast="state", state_weights="model", particles=12)
    found = [
        estimate(WORLD, CASE, contrast="state", state_weights="model", particles=3, seed=seed) for seed in range(200)
    ]
    q = np.exp(np.stack([one.log_q for one in found]))
    tested = np.isfinite(exact.cmi)
    assert all(np.array_equal(np.isfinite(one.cmi), tested) for one in found)
    assert q.mean(axis=0)[tested] == pytest.approx(np.exp(exact.log_q)[tested], abs=0.02)


def test_the_median_is_not_moved_by_one_strong_type():
    """Of four types one makes the effect likely; for the others being it, or not, makes no difference."""
    weights = np.zeros((4, 4))
    weights[0, 3] = 4.0
    world = SoftmaxWorld([0.0, 0.0, 0.0, 0.0], weights, horizon=1, names=["strong", "none", "other", "effect"])
    mean = estimate(world, ["none", "effect"])
    median = estimate(world, ["none", "effect"], statistic="kl_of_median")
    assert mean.cmi[0, 0] > 0.05
    assert mean.pointwise[0, 0] < 0
    assert median.cmi[0, 0] == pytest.approx(0.0, abs=1e-12)
    assert estimate(world, ["strong", "effect"], statistic="kl_of_median").cmi[0, 0] > 0.5
    assert len(discover(world, ["none", "effect"], statistic="kl_of_median")) == 0
    assert median.std_error[0, 0] == 0.0


def test_the_error_of_a_median_has_the_size_of_the_error():
    world = SoftmaxWorld.random(120, horizon=2, decay=0.3, sparsity=0.0, weight_scale=1.0, seed=5)
    case = world.sample(1, 12, seed=6)[0]
    found = [estimate(world, case, statistic="kl_of_median", particles=24, seed=seed) for seed in range(150)]
    spread = np.exp(np.stack([one.log_q for one in found])).std(axis=0)
    claimed = np.sqrt(np.mean([one.q_std_error**2 for one in found], axis=0))
    tested = np.isfinite(spread)
    assert 0.75 < np.median(claimed[tested] / spread[tested]) < 1.35


def test_the_deciding_contrast_decides():
    log = read_log(pl.DataFrame({"case": "x", "event": [NAMES[i] for i in IDS]}), time=False)
    by_state = discover(WORLD, log, contrast="state", particles=12)
    found = estimate(WORLD, CASE, contrast="state", particles=12)
    assert len(by_state) == int(np.nansum(found.columns["state_cmi_nats"] > 0.05))
    assert by_state.settings.contrast == "state"
    assert discover_log(WORLD, log, contrast="state", particles=12, progress=False).edges.height == len(by_state)
    assert discover(WORLD, log).settings.contrast is None


def test_groups_of_states():
    groups = state_groups(Vocabulary(("a|get|ok", "a|get|no", "a|put|ok", "b|get|ok", RARE), (1,) * 5, has_rare=True))
    assert groups.size.tolist() == [2, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "settings",
    [
        {"design": "masked"},
        {"proposal": "siblings"},
        {"screening": 0.01},
        {"contrast": "guess"},
        {"state_weights": "guess"},
    ],
)
def test_what_is_refused(settings):
    with pytest.raises(ConfigError, match=r"contrast|state_weights|screening"):
        estimate(WORLD, CASE, **({"contrast": "state"} | settings))


def test_types_without_states_are_refused():
    with pytest.raises(ConfigError, match="several columns"):
        estimate(BASE, Case("x", IDS, None), contrast="state")
