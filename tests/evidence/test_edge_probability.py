"""Edges weighed by a population: by hand, with an exact density, and with one that sees what is not there."""

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.discovery.discover import discover, discover_log, estimate
from sequela.discovery.population import discover_population
from sequela.effects.cmi import CMIEstimate
from sequela.effects.encoding import encode_log
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.edge_probability import Beliefs, linked
from sequela.graphs.population import LAG_SCHEMA, PopulationGraph

N = 5
VOCABULARY = Vocabulary(tuple(f"e{i}" for i in range(N)), (1,) * N)
CHAIN = np.tile(np.full(N, 1 / N), (N, 1))
CHAIN[0] = [0.05, 0.8, 0.05, 0.05, 0.05]
CHAIN[1] = [0.05, 0.05, 0.8, 0.05, 0.05]


class Markov(FiniteMemoryDensity):
    """The chain itself, and its exact forecast when the last event is hidden; with ``error`` wrong in each context."""

    memory = 2
    knows_hidden = True
    vocabulary = VOCABULARY

    def __init__(self, error=0.0):
        self.error = error

    def window_conditional(self, windows):
        stationary = np.linalg.matrix_power(CHAIN, 200)[0]
        law = np.empty((len(windows), N))
        for i, (old, new) in enumerate(windows):
            before = np.eye(N)[old] if old < N else stationary
            law[i] = CHAIN[new] if new < N else before @ CHAIN @ CHAIN if old < N + 2 else stationary
            if new < N and self.error:
                wrong = np.random.default_rng([int(old), int(new)]).normal(0, self.error, N)
                law[i] *= np.exp(wrong)
        return np.log(law / law.sum(axis=1, keepdims=True))

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(windows)), targets]


def chain_log(n_cases, seed, length=25):
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(n_cases):
        event = int(rng.integers(N))
        for _ in range(length):
            rows.append((f"c{case:03}", f"e{event}"))
            event = int(rng.choice(N, p=CHAIN[event]))
    return read_log(pl.DataFrame(rows, schema=["case", "event"], orient="row"))


LOG = chain_log(200, 0)
SETTINGS = {"horizon": 1, "particles": N, "progress": False}
POPULATION = discover_population(Markov(), LOG, cases="all", **SETTINGS)


def graph_of(log10_e, lags=()):
    pairs = pl.DataFrame(
        [{"cause": u, "effect": v, "log10_e": value} for (u, v), value in log10_e.items()],
        schema={"cause": pl.String, "effect": pl.String, "log10_e": pl.Float64},
    )
    pairs = pairs.with_columns(is_edge=pl.lit(False), pointwise_nats=pl.lit(0.0))
    rows = [(u, v, lag, 10, mean, error) for u, v, lag, mean, error in lags]
    by_lag = pl.DataFrame(rows, schema=LAG_SCHEMA, orient="row")
    return PopulationGraph(pairs, pl.DataFrame({"event": ["e0"], "count": [1]}), {}, by_lag)


def test_probabilities_by_hand():
    """One of three has at least 10, an unlinked one in ten: (1/3 - 1/10) / (9/10) of them, and half of each kind."""
    e = np.array([10.0, 0.1, 1.0])
    probability, share = linked(np.log(e))
    assert share == pytest.approx((3 * (1 / 3 - 0.1) / 0.9 + 0.5) / 4)
    assert probability == pytest.approx(share * e / (share * e + 1 - share))
    probability, share = linked(np.full(20, -7.0))
    assert share < 0.03
    assert 0 < probability.max() < 1e-3
    with pytest.raises(ConfigError, match="no pair"):
        Beliefs.of(graph_of({}))


def test_confidence_by_hand():
    log10_e = {("e0", "e1"): 2.0, ("e1", "e2"): -2.0}
    lags = [("e0", "e1", 1, 0.06, 0.0), ("e1", "e2", 1, 0.08, 0.03), ("e0", "e2", 2, 0.5, np.inf)]
    beliefs = Beliefs.of(graph_of(log10_e, lags))
    probability = dict(zip(beliefs.pairs["cause"], beliefs.pairs["probability"], strict=True))
    cmi = np.array([[0.042, 0.3], [0.06, np.nan], [np.nan, np.nan]])
    error = np.array([[0.0, 0.0], [0.04, np.nan], [np.nan, np.nan]])
    found = CMIEstimate(cmi, error, cmi, cmi, cmi, None)
    case = Case("a", np.array([0, 1, 2], np.int32), None)
    kept, value = beliefs.for_types(VOCABULARY).edges(case, found, 0.05, 0.5)
    assert kept.tolist() == (np.nan_to_num(value) >= 0.5).tolist()
    assert value[0, 0] == pytest.approx(probability["e0"])  # (0.042 + 0.06) / 2 exceeds 0.05 for certain
    assert value[0, 1] == pytest.approx(beliefs.share)  # 0.15 exceeds it; the pair was not weighed
    # (0.06 + 0.08) / 2 = 0.07, and half the errors are 0.02 and 0.015: 0.8 standard errors above.
    assert value[1, 0] == pytest.approx(probability["e1"] * 0.788145, abs=1e-5)
    assert np.isnan(value[1, 1])
    unseen = Case("a", np.array([3, 1, 4], np.int32), None)
    _, other = beliefs.for_types(VOCABULARY).edges(unseen, found, 0.05, 0.5)
    assert other[0, 0] == 0.0  # half of 0.042
    assert other[0, 1] == pytest.approx(beliefs.share)


def test_the_share_of_links_is_what_chance_cannot_explain():
    """E-values of unlinked pairs that gain a little on average say nothing, however many they are."""
    rng = np.random.default_rng(0)
    null = rng.normal(0.0, 1.0, 2700)  # their mean is 1.6: no e-values, as those of a density that is not quite right
    assert linked(null)[1] < 0.001
    many = np.concatenate([null, rng.normal(30.0, 10.0, 300)])
    probability, share = linked(many)
    assert share == pytest.approx(0.1, abs=0.01)
    assert (probability[2700:] > 0.95).mean() > 0.95
    assert (probability[:2700] > 0.5).mean() < 0.05


def test_a_link_that_was_decided_by_itself_leaves_only_the_place_to_decide():
    lags = [("e0", "e1", 1, 0.06, 0.0), ("e1", "e2", 1, 0.06, 0.0), ("e2", "e3", 1, 0.06, 0.0)]
    graph = graph_of({("e0", "e1"): 0.3, ("e1", "e2"): 0.3, ("e2", "e3"): 0.3}, lags)
    pairs = graph.pairs.with_columns(is_edge=pl.col("cause") != "e1", pointwise_nats=pl.lit(1.0))
    cmi = np.array([[0.05], [0.05], [0.05], [np.nan]])
    gain = np.array([[0.21], [0.21], [-0.5], [np.nan]])  # the last is no effect as that of its link
    found = CMIEstimate(cmi, np.zeros_like(cmi), gain, cmi, cmi, None)
    case = Case("a", np.array([0, 1, 2, 3], np.int32), None)
    for control, expected in (("each", [True, False, False, False]), ("fdr", [False] * 4)):
        weighed = PopulationGraph(pairs, graph.nodes, {"arguments": {"control": control}}, graph.lags)
        kept, confidence = Beliefs.of(weighed).for_types(VOCABULARY).edges(case, found, 0.05, 0.05)
        assert kept[:, 0].tolist() == expected
        assert confidence[0, 0] == confidence[1, 0] < 0.95


def test_an_exact_density_keeps_its_edges_and_a_wrong_one_loses_its_false_ones():
    new = chain_log(40, 7)
    true = {}
    for case in encode_log(Markov(), new):
        exact = estimate(Markov(), case, horizon=1, particles=N, exclude_effect_type=True)  # as the population
        true[case.name] = {(int(j), int(j) + 1) for j in np.flatnonzero(np.nan_to_num(exact.cmi[:, 0]) > 0.05)}
    keys = ("case", "cause_position", "effect_position")

    def false_and_missed(density, **more):
        edges = discover_log(density, new, **SETTINGS, **more).edges
        found = {name: set() for name in true}
        for name, j, q in edges.select(keys).iter_rows():
            found[name].add((j, q))
        n_false = sum(len(found[name] - true[name]) for name in true)
        n_missed = sum(len(true[name] - found[name]) for name in true)
        return n_false, n_missed, edges.height

    assert false_and_missed(Markov(), population=POPULATION)[:2] == (0, 0)
    for error in (0.3, 0.5):  # a tenth and a quarter of its edges are then false
        n_false, n_missed, n_edges = false_and_missed(Markov(error))
        kept_false, kept_missed, n_kept = false_and_missed(Markov(error), population=POPULATION)
        assert kept_false / n_kept < 0.5 * n_false / n_edges
        assert kept_missed <= n_missed + 1


def test_population_says_what_is_linked():
    beliefs = Beliefs.of(POPULATION)
    probability = {(u, v): p for u, v, p, _ in beliefs.pairs.iter_rows()}
    assert probability["e0", "e1"] > 0.999
    assert probability["e1", "e2"] > 0.999
    assert ("e2", "e2") not in probability


def test_more_is_kept_at_a_higher_rate_and_confidence_is_in_the_table():
    strict = discover(Markov(0.3), LOG.case("c000"), horizon=1, particles=4, population=POPULATION, fdr=0.01)
    loose = discover(Markov(0.3), LOG.case("c000"), horizon=1, particles=4, population=POPULATION, fdr=0.5)
    assert strict.edges["confidence"].min() >= 0.99
    assert loose.edges["confidence"].min() >= 0.5
    keys = ("cause_position", "effect_position")
    assert set(strict.edges.select(keys).iter_rows()) <= set(loose.edges.select(keys).iter_rows())
    assert loose.settings.population == Beliefs.of(POPULATION).fingerprint
    assert "confidence" not in discover(Markov(0.3), LOG.case("c000"), horizon=1).edges.columns


def test_what_is_refused():
    with pytest.raises(ConfigError, match="fdr needs a population"):
        discover(Markov(), LOG.case("c000"), fdr=0.1)
    with pytest.raises(ConfigError, match="effect-size"):
        discover(Markov(), LOG.case("c000"), population=POPULATION, threshold="otsu")
    with pytest.raises(ConfigError, match="fdr must be"):
        discover(Markov(), LOG.case("c000"), population=POPULATION, fdr=2)


def test_saved_and_read_again_gives_the_same_beliefs(tmp_path):
    POPULATION.save(tmp_path / "p")
    again = sq.load_population(tmp_path / "p")
    assert Beliefs.of(again).fingerprint == Beliefs.of(POPULATION).fingerprint


def test_the_command_line_weighs_by_a_population(tmp_path):
    from typer.testing import CliRunner

    from sequela.cli.app import app

    LOG.frame.write_csv(tmp_path / "log.csv")
    sq.fit(LOG, memory=2, max_steps=150, out=tmp_path / "m", progress=False)
    POPULATION.save(tmp_path / "p")
    command = ["discover", str(tmp_path / "m"), str(tmp_path / "log.csv"), "--out", str(tmp_path / "r"), "--quiet"]
    run = CliRunner()
    result = run.invoke(app, [*command, "--population", str(tmp_path / "p"), "--fdr", "0.1"])
    assert result.exit_code == 0, result.output
    edges = pl.read_parquet(tmp_path / "r" / "edges.parquet")
    assert edges["confidence"].min() >= 0.9
    result = run.invoke(app, [*command, "--fdr", "0.1", "--overwrite"])
    assert result.exit_code == 1
    assert "needs a population" in result.stderr
