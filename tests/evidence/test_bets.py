"""Evidence: bets against their definition written from scratch, e-BH by hand, validity where the law is known."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sequela as sq
from sequela.density.base import Density
from sequela.density.training.crossfit import cross_fit
from sequela.density.window.density import WindowDensity
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.discover import iter_estimates
from sequela.discovery.population import discover_population
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.split import Split
from sequela.evidence.bets import log1m_shifted, shifted, sum_bets
from sequela.evidence.calibration import calibration
from sequela.evidence.edge_probability import linked
from sequela.evidence.fixed_point import from_units
from sequela.evidence.forecasts import forecasts
from sequela.evidence.links import finish
from sequela.evidence.multiplicity import e_bh, family_weights
from sequela.evidence.pairs import co_occurring
from sequela.evidence.sums import LagSums, real_sums
from sequela.graphs.saved import load_population
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=3, decay=0.2, sparsity=0.6, seed=0)


def window_density(memory=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(WindowConfig(6, 9, memory, 16, 32))
        torch.nn.init.normal_(network.head.weight, std=0.7)
    return WindowDensity(network, WORLD.vocabulary, knows_hidden=True)


def llama_density():
    from transformers import LlamaConfig, LlamaForCausalLM

    from sequela.density.decoder.huggingface import HuggingFaceDensity

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=9,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
        model = LlamaForCausalLM(config)
    return HuggingFaceDensity(model, WORLD.vocabulary, tokens=np.arange(6), begin_token=7, hidden_token=8, context=16)


class MarkovDensity(FiniteMemoryDensity):
    """A first-order chain with its exact forecast when the last event is hidden: the marginal of the one before."""

    memory = 2
    knows_hidden = True

    def __init__(self, transition, vocabulary):
        self.transition = transition
        self.vocabulary = vocabulary

    def window_conditional(self, windows):
        n = self.vocabulary.n_types
        stationary = np.linalg.matrix_power(self.transition, 200)[0]
        result = np.empty((len(windows), n))
        for i, (old, new) in enumerate(windows):
            before = np.eye(n)[old] if old < n else stationary
            result[i] = np.eye(n)[new] @ self.transition if new < n else before @ self.transition @ self.transition
        return np.log(result)

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(windows)), targets]


def from_scratch(density: Density, ids, horizon):
    """Every (cause type, effect position) by the definition: hide all of the type among the last ``horizon``."""
    found = {}
    for q in range(1, len(ids)):
        low = max(0, q - horizon)
        for kind in set(ids[low:q].tolist()):
            past = ids.copy()
            reach = past[low:q]
            reach[reach == kind] = density.vocabulary.hidden_id
            p = np.exp(density.conditional(ids, np.array([q]))[0])
            hidden = np.exp(density.conditional(past, np.array([q]))[0])
            came = np.arange(len(p)) == ids[q]
            found[kind, q] = np.where(came, np.log(p / hidden), np.log((1 - p) / (1 - hidden)))
    return found


@pytest.mark.parametrize("density", [window_density(), llama_density()], ids=["window", "llama"])
@pytest.mark.parametrize("horizon", [1, 3, 4])
@pytest.mark.parametrize("cells", [7, 2**22])
def test_bets_equal_their_definition(density, horizon, cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.forecasts._CELLS", cells)
    ids = np.random.default_rng(horizon).integers(0, 6, 20).astype(np.int32)
    one = SequenceSet(ids, np.array([0, 20]), pl.Series(["a"]))
    pairs = co_occurring(one, horizon, 6)
    log_e = from_units(sum_bets(pairs, density, one, horizon, np.zeros(6)))
    expected = np.zeros((6, 6))
    for (kind, _), gain in from_scratch(density, ids, horizon).items():
        expected[kind] += gain
    np.testing.assert_allclose(log_e, expected.ravel()[pairs], atol=1e-4)
    n_rows = sum(len(rows.targets) for rows in forecasts(density, one[0], horizon))
    assert n_rows == len(from_scratch(density, ids, horizon))  # one bet an event and type


def test_pairs_within_the_horizon_and_a_case():
    ids = np.array([0, 1, 2, 2, 0], np.int32)
    two = SequenceSet(ids, np.array([0, 3, 5]), pl.Series(["a", "b"]))
    assert co_occurring(two, 1, 3).tolist() == [1, 5, 6]  # 0→1, 1→2 in a; 2→0 in b; not 2→2, not across cases
    assert co_occurring(two, 9, 3).tolist() == [1, 2, 5, 6]


def test_e_values_have_expectation_one_where_nothing_is_told():
    """Rows of the chain are equal for types 0 and 1, but both tell of 2: only pairs without effect are fair bets."""
    vocabulary = SoftmaxWorld.random(3, seed=0).vocabulary
    flat = np.tile([0.5, 0.3, 0.2], (3, 1))
    density = MarkovDensity(flat, vocabulary)
    rng = np.random.default_rng(0)
    ids = rng.choice(3, size=2000, p=flat[0]).astype(np.int32)
    whole = SequenceSet(ids, np.arange(0, 2001, 20), pl.Series([f"c{i}" for i in range(100)]))
    pairs = co_occurring(whole, 2, 3)
    log_e = from_units(sum_bets(pairs, density, whole, 2, np.zeros(3)))
    # p equals q: no bet is won or lost, but for the rounding down of up to two bets an event.
    assert log_e.max() <= 0
    assert log_e.min() > -4000 * 2.0**-32

    chain = np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]])
    density = MarkovDensity(chain, vocabulary)
    # A wrong law: the density bets on the chain, the events are independent with the chain's marginal.
    stationary = np.linalg.matrix_power(chain, 200)[0]
    finals = []
    for _ in range(300):
        ids = rng.choice(3, size=30, p=stationary).astype(np.int32)
        one = SequenceSet(ids, np.array([0, 30]), pl.Series(["a"]))
        pairs = co_occurring(one, 1, 3)
        log_e = from_units(sum_bets(pairs, density, one, 1, np.zeros(3)))
        finals.append(log_e.mean())
    assert np.mean(finals) < -1  # leaning on what is not there costs


def test_a_chain_has_no_edge_past_its_mediator():
    """``e0 -> e1 -> e2`` explains ``e0 .. e2``, which follow each other nearly always: no edge says that they do.

    (That e2 does *not* come right after e0 is a true effect, at lag 1: it makes e2 rarer.)
    """
    rng = np.random.default_rng(1)
    step = np.full((6, 6), 1 / 6)
    step[0], step[1] = np.eye(6)[1] * 0.8 + 0.2 / 6, np.eye(6)[2] * 0.8 + 0.2 / 6
    cases = np.zeros((500, 20), np.int64)
    for t in range(20):
        before = step[cases[:, t - 1]] if t else np.full((500, 6), 1 / 6)
        cases[:, t] = (rng.random((500, 1)) > before.cumsum(1)).sum(1).clip(max=5)
    frame = pl.DataFrame(
        {"case": np.repeat([f"c{i:03}" for i in range(500)], 20), "event": [f"e{v}" for v in cases.ravel()]}
    )
    log = read_log(frame, case="case", event="event", time=False)
    graph = discover_population(
        cross_fit(log, folds=2, memory=3, max_steps=300, progress=False), log, delta=0.02, progress=False
    )
    links = set(graph.edges.filter(pl.col("pointwise_nats") > 0).select("cause", "effect").iter_rows())
    assert {("e0", "e1"), ("e1", "e2")} <= links
    assert ("e0", "e2") not in links


def test_calibration_moves_a_biased_hidden_forecast():
    vocabulary = SoftmaxWorld.random(3, seed=0).vocabulary
    true = np.array([0.5, 0.3, 0.2])

    class Biased(MarkovDensity):
        def window_conditional(self, windows):
            wrong = np.log([0.6, 0.2, 0.2])
            return np.where((windows == vocabulary.hidden_id).any(1)[:, None], wrong, np.log(true))

    density = Biased(np.tile(true, (3, 1)), vocabulary)
    ids = np.random.default_rng(0).choice(3, size=6000, p=true).astype(np.int32)
    whole = SequenceSet(ids, np.arange(0, 6001, 30), pl.Series([f"c{i}" for i in range(200)]))
    shift = calibration(density, whole, 2)
    assert np.exp(shifted(np.log([[0.6, 0.2, 0.2]]), shift))[0] == pytest.approx(true, abs=0.03)
    wide = np.log(np.array([[1e-12, 1e-6, 0.3], [0.3, 0.999, 1 - 1e-12]]))
    np.testing.assert_allclose(log1m_shifted(wide, shift), np.log1p(-np.exp(shifted(wide, shift))), rtol=1e-6)
    pairs = co_occurring(whole, 2, 3)
    raw, moved = (from_units(sum_bets(pairs, density, whole, 2, move)) for move in (np.zeros(3), shift))
    assert raw.max() > 20  # without it: false evidence for everything
    assert moved.max() < np.log(20)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(0.001, 0.99))
def test_e_bh_equals_its_definition(log_e, alpha):
    values = np.array(log_e)
    m = len(values)
    ranked = np.sort(values)[::-1]
    accepted = [k for k in range(1, m + 1) if ranked[k - 1] >= np.log(m / (alpha * k))]
    n_rejected = max(accepted, default=0)
    by_q = e_bh(values) <= alpha * (1 + 1e-12)
    cut = ranked[n_rejected - 1] if n_rejected else np.inf
    assert set(np.flatnonzero(values > cut + 1e-9)) <= set(np.flatnonzero(by_q))
    assert set(np.flatnonzero(by_q)) <= set(np.flatnonzero(values >= cut - 1e-9))


def test_sums_of_parts_are_the_sums_of_the_whole_whatever_the_order():
    density = window_density()
    log = read_log(WORLD.to_log(WORLD.sample(12, (2, 15), seed=1)))
    whole = discover_population(density, log, cases="all", particles=6, horizon=3, progress=False)
    names = log.frame["case"].unique(maintain_order=True).to_list()
    turned = log.cases(names[::-1])
    again = discover_population(density, turned, cases="all", particles=6, horizon=3, batch_size=1, progress=False)
    a, b = whole.pairs.sort("cause", "effect"), again.pairs.sort("cause", "effect")
    assert a["support"].to_list() == b["support"].to_list()
    for column in ("cmi_nats", "cmi_low_nats", "log10_e"):
        np.testing.assert_allclose(a[column], b[column], atol=1e-9)


def lag_row(cause, effect, lag, places, nats, *, cases=2.0, ties=0.0):
    # Every case has the same places and nats: no spread.
    each, n = nats / cases, places / cases
    return {
        "cause": cause, "effect": effect, "lag": lag, "cases": cases, "support": places, "cmi": nats,
        "pointwise": places * 0.5, "cmi_squared": cases * each**2, "cmi_support": cases * each * n,
        "support_squared": cases * n**2, "ties": ties,
    }  # fmt: skip


def bets_row(cause, effect, e):
    return {"cause": cause, "effect": effect, "log_e": float(np.log(e))}


def test_strength_at_the_strongest_lag_by_hand():
    sums = pl.DataFrame([lag_row("a", "b", 1, 15.0, 3.0), lag_row("a", "b", 2, 5.0, 0.1)])
    bets = pl.DataFrame([bets_row("a", "b", 50.0)])
    row = finish([sums], [bets], delta=0.05, fdr=0.05).row(0, named=True)
    # Lag 1: 15 places of 0.2 nats and 5 at the 0.02 of the other lag.
    assert (row["lag"], row["cmi_nats"]) == (1, pytest.approx((3.0 + 5 * 0.02) / 20))
    assert row["cmi_low_nats"] == pytest.approx(row["cmi_nats"], abs=1e-6)
    assert row["cmi_high_nats"] == pytest.approx(row["cmi_nats"], abs=1e-6)
    assert (row["support"], row["support_cases"], row["pointwise_nats"]) == (20, 2, 0.5)
    assert row["q_value"] == pytest.approx(1 / 50)
    assert row["is_edge"]
    two = finish([sums, sums], [bets, bets.with_columns(log_e=pl.lit(0.0))], delta=0.05, fdr=0.05).row(0, named=True)
    assert 10 ** two["log10_e"] == pytest.approx((50 + 1) / 2)  # the mean over densities, not the product
    assert two["support"] == 40
    assert not finish([sums], [bets], delta=0.3, fdr=0.05)["is_edge"][0]
    assert not finish([sums], [bets], delta=0.05, fdr=0.01)["is_edge"][0]
    once = pl.DataFrame([lag_row("a", "b", 1, 15.0, 3.0, cases=1.0)])
    assert finish([once], [bets], delta=0.05, fdr=0.05)["cmi_high_nats"][0] == np.inf


def test_interval_covers_as_often_as_it_says():
    """Cases differ: the interval is over cases, whatever the number of places in each."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        n = rng.integers(1, 6, 200).astype(float)
        nats = rng.gamma(2, 0.5, 200) * n  # mean 1 a place
        row = {
            "cause": "a", "effect": "b", "lag": 1, "cases": 200.0, "support": n.sum(), "cmi": nats.sum(),
            "pointwise": 0.0, "cmi_squared": (nats**2).sum(), "cmi_support": (nats * n).sum(),
            "support_squared": (n**2).sum(), "ties": 0.0,
        }  # fmt: skip
        found = finish([pl.DataFrame([row])], [pl.DataFrame([bets_row("a", "b", 1.0)])], delta=0.05, fdr=0.05)
        # A pair with one lag has no others: it is drawn towards 0 by 5 places of about 600.
        shrunk = n.sum() / (n.sum() + 5)
        hits += found["cmi_low_nats"][0] <= shrunk <= found["cmi_high_nats"][0]
    assert 0.92 <= hits / 400 <= 0.98


def test_marks_say_why_a_direction_is_uncertain():
    rows = [lag_row("a", "b", 1, 10.0, 3.0), lag_row("b", "a", 1, 10.0, 2.0), lag_row("a", "c", 1, 10.0, 3.0, ties=9.0)]
    sums = pl.DataFrame([*rows, lag_row("c", "d", 1, 10.0, 3.0)])
    bets = pl.DataFrame([bets_row(u, v, 1e9) for u, v in sums.select("cause", "effect").iter_rows()])
    found = finish([sums], [bets], delta=0.05, fdr=0.05)
    marks = {(row["cause"], row["effect"]): row["mark"] for row in found.iter_rows(named=True)}
    assert "other direction" in marks["a", "b"]
    assert "other direction" in marks["b", "a"]
    assert "share their time" in marks["a", "c"]
    assert marks["c", "d"] is None


def test_an_edge_whose_association_goes_with_other_events_is_uncertain():
    """a and c stand together 3 times as often as by chance, yet a tells little of c when the rest is known."""
    rows = [lag_row("a", "c", 1, 30.0, 9.0) | {"pointwise": 30 * 0.3}, lag_row("a", "d", 1, 30.0, 9.0)]
    rows.append(lag_row("b", "c", 1, 10.0, 3.0) | {"pointwise": -10 * 0.3})  # as often as by chance: nothing to lose
    sums = pl.DataFrame(rows)
    bets = pl.DataFrame([bets_row(u, v, 1e9) for u, v in sums.select("cause", "effect").iter_rows()])
    nodes = pl.DataFrame({"event": ["a", "b", "c", "d"], "count": [100, 100, 100, 700]})
    found = finish([sums], [bets], delta=0.05, fdr=0.05, nodes=nodes)
    marks = {(row["cause"], row["effect"]): row["mark"] for row in found.iter_rows(named=True)}
    assert "goes with other events" in marks["a", "c"]  # 0.3 nats of log 3
    assert marks["a", "d"] is not None  # it stands there less often than by chance, and yet makes it likelier
    assert marks["b", "c"] is None


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_what_mediators_explain_is_no_edge(seed):
    """a -> b -> c: a and c go together, but once b is known a tells nothing of c."""
    rng = np.random.default_rng(seed)
    n, n_cases, length = 20, 200, 20
    step = np.full((n, n), 1 / n)
    for cause, effect in ((0, 1), (1, 2)):
        step[cause] = 0.2 / (n - 1)
        step[cause, effect] = 0.8
    cases = []
    for _ in range(n_cases):
        ids = [int(rng.integers(n))]
        while len(ids) < length:
            ids.append(int(rng.choice(n, p=step[ids[-1]])))
        cases.append(ids)
    names = np.repeat([f"c{i}" for i in range(n_cases)], length)
    frame = pl.DataFrame({"case": names, "event": [chr(97 + v) for ids in cases for v in ids]})
    log = read_log(frame, case="case", event="event", time=False)
    density = sq.fit(log, seed=0, max_steps=200, memory=3, width=32, progress=False)
    found = discover_population(density, log, cases="all", particles=n, progress=False)
    edges = set(found.edges.select("cause", "effect").iter_rows())
    assert edges == {("a", "b"), ("b", "c")}
    lags = dict(found.lags.filter((pl.col("cause") == "a") & (pl.col("effect") == "c")).select("lag", "support").rows())
    assert lags[2] > 4 * lags[3]  # they do go together


def test_family_weights_by_a_loop():
    rng = np.random.default_rng(0)
    log_e, family = rng.normal(0, 3, 30), rng.integers(0, 4, 30)
    probability, share = linked(log_e)
    prior = []
    for i in range(30):
        others = [probability[j] for j in range(30) if j != i and family[j] == family[i]]
        prior.append((sum(others) + 5 * share) / (len(others) + 5))
    weights = family_weights(log_e, family)
    np.testing.assert_allclose(weights, np.array(prior) / np.mean(prior))
    assert weights.mean() == pytest.approx(1)
    changed = log_e.copy()
    changed[7] += 5
    others_own = family_weights(changed, family)[7] / family_weights(changed, family)[family != family[7]].mean()
    assert others_own == pytest.approx(weights[7] / weights[family != family[7]].mean(), rel=0.05)


def test_pooled_evidence_needs_less_where_the_family_is_linked():
    strong = [("x|1", f"y|{i}", 1e6) for i in range(8)]
    weak = [("x|2", "y|9", 8.0), ("z|1", "w|1", 8.0)]
    nothing = [("z|2", f"w|{i}", 0.01) for i in range(20)]
    pairs = [*strong, *weak, *nothing]
    sums = pl.DataFrame([lag_row(u, v, 1, 10.0, 3.0) for u, v, _ in pairs])
    bets = pl.DataFrame([bets_row(u, v, e) for u, v, e in pairs])
    alone = finish([sums], [bets], delta=0.05, fdr=0.05)
    pooled = finish([sums], [bets], delta=0.05, fdr=0.05, pool=True)
    q = {(row["cause"], row["effect"]): row["q_value"] for row in pooled.iter_rows(named=True)}
    q_alone = {(row["cause"], row["effect"]): row["q_value"] for row in alone.iter_rows(named=True)}
    assert q["x|2", "y|9"] < q_alone["x|2", "y|9"] == q_alone["z|1", "w|1"] < q["z|1", "w|1"]
    assert pooled["log10_e"].sort().equals(alone["log10_e"].sort())


def test_lag_sums_equal_a_loop_over_places():
    density = window_density()
    log = read_log(WORLD.to_log(WORLD.sample(4, (2, 15), seed=1)))
    sequences = SequenceSet.from_log(log, WORLD.vocabulary)
    settings = Settings(particles=6, horizon=3)
    sums = LagSums(3)
    places, nats = {}, {}
    for case, found in iter_estimates(density, sequences, settings):
        sums.add(case, found, 6)
        for j in range(len(case.ids)):
            for q in range(j + 1, min(len(case.ids), j + 4)):
                if case.ids[j] != case.ids[q]:
                    key = (WORLD.vocabulary.names[case.ids[j]], WORLD.vocabulary.names[case.ids[q]], q - j)
                    places[key] = places.get(key, 0) + 1
                    nats[key] = nats.get(key, 0.0) + found.cmi[j, q - j - 1]
    cells, table = sums.table()
    assert len(cells) == len(places)
    assert (np.diff(cells) > 0).all()
    names = WORLD.vocabulary.names
    found = real_sums(table)
    for index, cell in enumerate(cells.tolist()):
        key = (names[cell // 3 // 6], names[cell // 3 % 6], cell % 3 + 1)
        assert found["support"][index] == places[key]
        assert found["cmi"][index] == pytest.approx(nats[key], abs=1e-14)


def test_true_links_are_found_and_a_fold_never_sees_its_cases(tmp_path):
    world = SoftmaxWorld.random(8, horizon=2, sparsity=0.8, seed=24)
    log = read_log(world.to_log(world.sample(150, 30, seed=25)))
    found = cross_fit(log, folds=2, seed=1, max_steps=400, progress=False)
    parts = list(found.held_out(log))
    assert sum(part.n_cases for _, part in parts) == 150
    assert [density.info["log"]["n_cases"] for density, _ in parts] == [75, 75]
    graph = discover_population(found, log, progress=False)
    assert len(graph)
    assert graph.edges["q_value"].max() <= 0.05
    assert graph.edges["cmi_nats"].min() >= 0.05
    assert graph.run.arguments.folds == 2
    graph.save(tmp_path / "p")
    again = load_population(tmp_path / "p")
    assert again.pairs.equals(graph.pairs)
    assert again.to_networkx().number_of_edges() == len(graph)
    assert "edges of" in repr(again)


def test_refusals(tmp_path):
    log = read_log(WORLD.to_log(WORLD.sample(3, 5, seed=1)))
    with pytest.raises(ConfigError, match="hidden events"):
        discover_population(WORLD, log)
    with pytest.raises(ConfigError, match="cases must be"):
        discover_population(window_density(), log, cases="some")
    with pytest.raises(ConfigError, match="at least 10 cases"):
        cross_fit(log, folds=5)
    with pytest.raises(LogFormatError, match="population"):
        load_population(tmp_path)
    trained = window_density()
    trained.info = {"split": {"seen": Split.of(log.case_names).to_plain()}}
    with pytest.raises(ConfigError, match="no case of this log is held out"):
        discover_population(trained, log)
    assert sq.discover_population is discover_population
