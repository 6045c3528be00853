"""Event types that share parts: the network written out, what is folded after training, fitting, what is borrowed."""

import numpy as np
import polars as pl
import pytest
import torch

from sequela.density.checkpoint import load_density, save_density
from sequela.density.recurrent.backbone import RecurrentBackbone
from sequela.density.registry import register, unregister
from sequela.density.training import loop as training
from sequela.density.training.fit import fit
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.discover import estimate
from sequela.errors import ConfigError
from sequela.events.hierarchy import shared_components
from sequela.events.log import event_components, read_log
from sequela.events.vocabulary import RARE, Vocabulary

NAMES = ("engine|a|1", "engine|a|2", "engine|b|1", "door|a|1", "door|c|9", "radio|d|1", RARE)
V, MEMORY = len(NAMES), 3
VOCABULARY = Vocabulary(NAMES, (1,) * V, has_rare=True)
IDS = np.random.default_rng(2).integers(0, V, 20).astype(np.int32)
TIMES = np.cumsum(np.random.default_rng(3).choice([0.0, 1.0, 300.0], 20))


def parts_by_hand(name):
    """What a type shares with others: values of columns, and the first two columns together."""
    one, two, three = event_components(name)
    mine = {("component", one), ("code", two), ("severity", three), ("component and code", one, two)}
    return mine & {("component", "engine"), ("component", "door"), ("code", "a"), ("severity", "1"),
                   ("component and code", "engine", "a")}  # fmt: skip


def test_shared_parts_by_hand():
    found = shared_components(VOCABULARY)
    assert found.n_shared == 5
    sets = [set(row) - {0} for row in found.of]
    for i in range(V - 1):
        for j in range(V - 1):
            shared = parts_by_hand(NAMES[i]) & parts_by_hand(NAMES[j])
            assert len(sets[i] & sets[j]) == len(shared), (NAMES[i], NAMES[j])
    special = sets[V - 1 :]  # <rare>, padding, begin, hidden
    assert len(special) == 4
    assert all(len(own) == 1 for own in special)
    assert len(set.union(*special) | set.union(*sets[: V - 1])) == 9 == found.n_values - 1


@pytest.mark.parametrize(
    "names",
    [("a", "b", "c"), ("a|1", "b|2", "c|3"), ("a|1", "a|2", "b")],
    ids=["no parts", "nothing shared", "unequal"],
)
def test_nothing_to_share(names):
    assert shared_components(Vocabulary(names, (1,) * 3)) is None


def test_a_column_that_tells_nothing_new_is_left_out():
    names = ("engine|a|x", "engine|a|y", "door|b|x", "door|b|y")  # the code follows from the component, and both do
    assert shared_components(Vocabulary(names, (1,) * 4)).of[:4].tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]


def made(n_knots=0, **more):
    shared = shared_components(VOCABULARY)
    config = WindowConfig(
        V, V + 3, MEMORY, 8, 16, wide=True, n_knots=n_knots, longest_seconds=1e3, n_component_values=shared.n_values,
        **more,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(config, torch.from_numpy(shared.of)).eval()
        for name, weight in network.named_parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=0.4)
                assert "part" in name or weight.abs().sum() > 0
        if config.shared_lags:
            torch.nn.init.normal_(network.mix_lag, mean=1.0)
    return network, shared.of


@pytest.mark.parametrize(("n_knots", "more"), [(0, {}), (4, {"repeats": True}), (0, {"shared_lags": True})])
def test_network_equals_its_sums_written_out_and_what_is_folded(n_knots, more):
    network, of = made(n_knots, **more)
    rng = np.random.default_rng(5)
    windows = torch.from_numpy(rng.integers(0, V + 3, (30, MEMORY)))
    gaps = torch.from_numpy(rng.uniform(0, 500, (30, MEMORY)).astype(np.float32)) if n_knots else None
    plain = network.folded()
    sets = [set(row) - {0} for row in of.tolist()]
    with torch.no_grad():
        bare = WindowNetwork(plain.config).eval()
        bare.load_state_dict(plain.state_dict())
        for i in range(V + 3):
            shared = sum(network.component_embedding.weight[a] for a in sets[i])
            bare.embedding.weight[i] = network.embedding.weight[i] + shared
            for j in range(V):
                direct = sum(network.table_components.weight[a, b] for a in sets[i] for b in sets[j])
                bare.table.weight[i, j] = network.table.weight[i, j] + direct
        for j in range(V):
            shared = sum(network.component_head.weight[b] for b in sets[j])
            bare.head.weight[j] = network.head.weight[j] + shared
        for k in range(MEMORY if more.get("shared_lags") else 0):
            at = slice(8 * k, 8 * k + 8)
            bare.mix.weight[:, at] = network.mix.weight[:, at] + network.mix_lag[k] * network.mix_shared.weight
        expected = bare(windows, gaps)
        assert expected.std() > 0.5
        torch.testing.assert_close(network(windows, gaps), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(plain(windows, gaps), expected, atol=1e-4, rtol=1e-4)
    assert not any("component" in name or "mix_" in name for name in plain.state_dict())
    assert plain.folded() is plain


def test_every_weight_of_parts_is_learnt():
    network, _ = made()
    windows = torch.from_numpy(np.random.default_rng(5).integers(0, V, (30, MEMORY)))
    torch.nn.functional.cross_entropy(network(windows), windows[:, 0]).backward()
    for weight in (network.component_embedding.weight, network.component_head.weight, network.table_components.weight):
        assert (weight.grad[1:6].abs().sum(1) > 0).all()
        assert (weight.grad[0] == 0).all()  # no part


def test_density_scores_with_the_folded_network_and_leaves_no_trace(tmp_path):
    network, _ = made()
    state = torch.get_rng_state()
    density = WindowDensity(network, VOCABULARY, knows_hidden=True)
    assert torch.equal(torch.get_rng_state(), state)
    windows = torch.full((1, MEMORY), VOCABULARY.begin_id)
    with torch.no_grad():
        expected = network(windows).log_softmax(1)[0].numpy()
    np.testing.assert_allclose(density.conditional(IDS, np.array([0]))[0], expected, atol=1e-5)
    without = WindowDensity(WindowNetwork(WindowConfig(V, V + 3, MEMORY, 8, 16, wide=True)), VOCABULARY)
    assert density.cost(20, 3) == without.cost(20, 3)
    save_density(density, tmp_path / "m")
    assert np.array_equal(load_density(tmp_path / "m", device="cpu").score(IDS), density.score(IDS))


def chain(n_cases, seed, n_codes=30):
    """Engine codes are followed by door codes, any by any; radio codes come between."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(n_cases):
        kind = "radio"
        for _ in range(20):
            kind = "door" if kind == "engine" else ("engine", "radio")[rng.integers(2)]
            rows.append((f"c{case:03}", kind, str(rng.integers(n_codes))))
    table = pl.DataFrame(rows, schema=["case", "component", "code"], orient="row")
    return read_log(table, event=["component", "code"], time=False)


LOG = chain(60, 0)
QUICK = {"max_steps": 40, "device": "cpu", "min_count": 1}


class Lines:
    """A reporter that remembers."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def bar(self, title, total):
        from sequela.progress import Silent

        return Silent().bar(title, total)


def test_fit_says_what_it_shares_and_obeys():
    told = Lines()
    auto = fit(LOG, progress=told, **QUICK)
    (line,) = [line for line in told.lines if line.startswith("components:")]
    assert "share 33 components" in line  # 3 components, 30 codes
    assert auto.info["arguments"]["components"] is True
    assert auto.network.config.n_component_values == 0
    again = fit(LOG, components=True, progress=False, **QUICK)
    assert all(torch.equal(value, auto.state()[name]) for name, value in again.state().items())
    told = Lines()
    without = fit(LOG, components=False, progress=told, **QUICK)
    assert without.info["arguments"]["components"] is False
    assert not any(line.startswith("components:") for line in told.lines)
    assert not torch.equal(without.state()["embedding.weight"], auto.state()["embedding.weight"])
    single = read_log(LOG.frame.select("case", pl.col("event").str.replace("|", "-", literal=True)), time=False)
    assert fit(single, progress=False, **QUICK).info["arguments"]["components"] is False


def test_what_fit_refuses():
    single = read_log(LOG.frame.select("case", pl.col("event").str.replace("|", "-", literal=True)), time=False)
    with pytest.raises(ConfigError, match="several columns"):
        fit(single, components=True, progress=False, **QUICK)
    with pytest.raises(ConfigError, match="components"):
        fit(LOG, components="always", progress=False, **QUICK)


class WithoutComponents(RecurrentBackbone):
    name = "plain"
    uses_components = False


def test_a_backbone_that_uses_no_components_says_so():
    register(WithoutComponents())
    try:
        told = Lines()
        density = fit(LOG, backbone="plain", progress=told, max_steps=2, device="cpu")
        assert any(line == "components: not used by the backbone 'plain'" for line in told.lines)
        assert density.info["arguments"]["components"] is False
        with pytest.raises(ConfigError, match=r"a backbone that uses components \('plain' does not\)"):
            fit(LOG, components=True, backbone="plain", progress=False, **QUICK)
    finally:
        unregister("plain")


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = fit(LOG, progress=False, **QUICK)
    real, calls = training._save_state, []

    def save_then_die(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(LOG, progress=False, out=tmp_path / "m", **QUICK)
    monkeypatch.setattr(training, "_save_state", real)
    told = Lines()
    resumed = fit(LOG, progress=told, out=tmp_path / "m", **QUICK)
    assert any("taking up" in line for line in told.lines)
    assert all(torch.equal(value, whole.state()[name]) for name, value in resumed.state().items())


def test_same_numbers_whatever_is_scored_together():
    density = fit(LOG, progress=False, **QUICK)
    one = LOG.case("c003")
    wide = estimate(density, one, particles=8)
    narrow = estimate(density, one, particles=8, memory_budget="60MB")
    np.testing.assert_array_equal(wide.cmi, narrow.cmi)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["window", "llama", "gru"])
def test_rare_types_borrow_strength(backbone):
    """Each code is seen some 13 times: what follows an engine code can only be learnt from all of them together."""
    log, new = chain(60, 0), chain(40, 1)
    nats = {}
    for components in (False, True):
        asked = {"backbone": backbone, "components": components, "memory": 2, "max_steps": 600}
        density = fit(log, **asked, min_count=1, device="cpu", progress=False)
        ids = [density.vocabulary.encode(new.case(name).frame["event"])[0] for name in new.case_names]
        nats[components] = -np.mean(np.concatenate(density.score_many(ids)))
    assert nats[True] < nats[False] - 0.05, nats
