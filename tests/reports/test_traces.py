"""Root causes of a whole log: against `root_causes` event by event, and small cases by hand."""

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.reports.casedata import embedded, plain
from sequela.reports.findings import findings
from sequela.reports.traces import Traces

TYPES = ["a", "b", "c", "d", "e"]
INDEX = {name: i for i, name in enumerate(TYPES)}


def tables(cases):
    """``{case: (events, [(cause, effect, gain)])}`` as the tables of a discovery; times are positions in minutes."""
    events = [(case, i, name, 60.0 * i) for case, (names, _) in cases.items() for i, name in enumerate(names)]
    edges = [
        (case, cause, effect, names[cause], names[effect], effect - cause, True, 0.1, 0.01, gain)
        for case, (names, rows) in cases.items()
        for cause, effect, gain in rows
    ]
    return (
        pl.DataFrame(events, schema=["case", "position", "event", "time"], orient="row"),
        pl.DataFrame(edges, schema={"case": pl.String, **INSTANCE_SCHEMA}, orient="row"),
    )


def random_cases(seed):
    rng = np.random.default_rng(seed)
    cases = {}
    for number in range(8):
        n = int(rng.integers(1, 14))
        names = [TYPES[i] for i in rng.integers(5, size=n)]
        pairs = [(i, j) for j in range(n) for i in range(j) if rng.random() < 0.25]
        cases[f"case {number}"] = (names, [(i, j, float(rng.normal(0.5, 1))) for i, j in pairs])
    return cases


def random_ties(seed):
    """Cases in which several events share a tick: edges there have lag 0, any direction or none, maybe cycles."""
    rng = np.random.default_rng(seed)
    events, edges = [], []
    for number in range(12):
        ticks = np.sort(rng.integers(0, 4, size=10))
        names = [TYPES[i] for i in rng.integers(5, size=10)]
        events += [
            (f"case {number}", i, name, float(tick)) for i, (name, tick) in enumerate(zip(names, ticks, strict=True))
        ]
        for i in range(10):
            for j in range(10):
                if i != j and ticks[i] <= ticks[j] and rng.random() < 0.3:
                    lag = int(ticks[j] - ticks[i])
                    directed = lag > 0 or rng.random() < 0.7
                    row = (i, j, names[i], names[j], lag, directed, 0.1, 0.01, float(rng.normal(0.5, 1)))
                    edges.append((f"case {number}", *row))
    return (
        pl.DataFrame(events, schema=["case", "position", "event", "time"], orient="row"),
        pl.DataFrame(edges, schema={"case": pl.String, **INSTANCE_SCHEMA}, orient="row"),
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_what_roots_explain_is_the_sum_of_the_shares_of_root_causes(seed, ties):
    events, edges = random_ties(seed) if ties else tables(random_cases(seed))
    events = events.sample(fraction=1.0, shuffle=True, seed=seed)  # the order of the rows must not matter
    traces = Traces.build(events, edges.sample(fraction=1.0, shuffle=True, seed=seed), INDEX)
    expected = np.zeros(len(traces.types))
    for case, first in zip(traces.names, traces.offsets, strict=False):
        own = events.filter(case=case).sort("position")
        graph = InstanceGraph(case, tuple(own["event"]), edges.filter(case=case).drop("case"))
        for position in range(len(graph.events)):
            for root, share in sq.root_causes(graph, position).select("position", "share").iter_rows():
                expected[first + root] += share if root != position else 0
    assert expected.sum() > 0
    np.testing.assert_allclose(traces.explained, expected, atol=1e-12)
    assert traces.explained.sum() == pytest.approx(traces.is_caused.sum())


CASES = {
    "1": (["a", "b", "c"], [(0, 1, 1.0), (1, 2, 2.0)]),
    "2": (["a", "e", "b", "c"], [(0, 2, 1.0), (2, 3, 1.0), (1, 3, 3.0)]),
    "3": (["a", "b", "d"], [(0, 1, 1.0), (1, 2, -1.0)]),
}


def test_findings_by_hand():
    traces = Traces.build(*tables(CASES | {"4": (["a", "b"], [(0, 1, 1.0)])}), INDEX)
    found = findings(traces, None, most=10)
    assert found["n_caused"] == 6  # b four times, c twice; d was made less likely
    assert found["n_roots"] == 1
    assert found["n_single"] == 1  # e explains three quarters of one c, in one case
    (root,) = found["roots"]
    assert root["type"] == INDEX["a"]
    assert root["n_cases"] == root["n_starts"] == root["n_events"] == 4
    assert root["n_explained"] == pytest.approx(5.25)
    # a leads to b four times; of these c follows once along the strongest cause (in case 2 it is e): not typical
    assert root["chain"] == [INDEX["a"], INDEX["b"]]
    assert (root["chain_count"], root["chain_cases"], root["seconds"]) == (4, 4, 60.0)
    assert root["examples"] == [11, 1, 8]  # in the shortest cases
    assert root["confidence"] is None
    assert root["others"] == []


def test_an_edge_without_direction_explains_nothing_and_has_evidence_either_way_round():
    events, edges = tables({"1": (["a", "b"], [(0, 1, 1.0)])})
    traces = Traces.build(events, edges.with_columns(directed=pl.lit(False)), INDEX, {(INDEX["b"], INDEX["a"])})
    assert traces.has_evidence.tolist() == [True]
    assert traces.explains.tolist() == [False]
    assert findings(traces, {}, most=5)["n_undirected"] == 1
    assert Traces.build(events, edges, INDEX, {(INDEX["b"], INDEX["a"])}).has_evidence.tolist() == [False]


def test_only_links_with_evidence_count_where_there_is_evidence():
    links = {(INDEX["a"], INDEX["b"]), (INDEX["b"], INDEX["c"])}
    traces = Traces.build(*tables(CASES), INDEX, links)
    assert traces.explained[4] == 0  # e -> c has none
    known = {pair: {"q_value": 0.01 * pair[1], "confidence": 0.9} for pair in links}
    (root,) = findings(traces, known, most=10)["roots"]
    assert root["n_explained"] == pytest.approx(5)
    assert root["chain"] == [0, 1, 2]
    assert root["confidence"] == pytest.approx(0.81)
    assert root["q_value"] == 0.02


def test_confidence_of_the_edges_comes_first():
    events, edges = tables(CASES)
    sure = edges.with_columns(pl.Series("confidence", [0.5, 0.8, 0.7, 0.6, 0.1, 0.9, 0.3]).head(edges.height))
    traces = Traces.build(events, sure, INDEX)
    root = findings(traces, {(0, 1): {"confidence": 0.2}}, most=1)["roots"][0]
    means = [sure.filter(cause=cause, effect=effect)["confidence"].mean() for cause, effect in ("ab", "bc")]
    assert root["confidence"] == pytest.approx(means[0] * means[1])


def test_no_event_and_no_edge():
    events, edges = tables({"1": (["a", "b"], [])})
    traces = Traces.build(events, edges, INDEX)
    assert findings(traces, None, most=5) == {
        "n_caused": 0, "n_usual": 0, "n_roots": 0, "n_single": 0, "n_undirected": 0, "roots": []
    }  # fmt: skip
    assert embedded(traces, wanted=None, first=[], max_bytes=0)[0][0]["n_caused"] == 0
    empty = Traces.build(events.clear(), edges, INDEX)
    assert findings(empty, None, most=5)["roots"] == []
    assert embedded(empty, wanted=None, first=[], max_bytes=1e6) == ([], {})


def test_as_many_cases_as_fit_examples_first():
    traces = Traces.build(*tables(random_cases(1)), INDEX)
    everything, place = embedded(traces, wanted=None, first=[5], max_bytes=1e9)
    assert len(everything) == len(traces.names)
    assert everything[0]["name"] == traces.names[5]
    n_caused = [case["n_caused"] for case in everything[1:]]
    assert n_caused == sorted(n_caused, reverse=True)
    assert place[5] == 0
    few, _ = embedded(traces, wanted=None, first=[5], max_bytes=800)
    assert 1 <= len(few) < len(everything)
    assert few == everything[: len(few)]
    asked, _ = embedded(traces, wanted=[3, 0], first=[], max_bytes=0)
    assert [case["name"] for case in asked] == [traces.names[3], traces.names[0]]


def test_numbers_have_four_digits_and_nothing_that_json_does_not_know():
    values = [0.000123456, 123.4567, -0.98767, 0.0, 1.23456e-30, float("inf"), float("nan"), None, 0.3]
    assert plain(pl.Series(values)) == [0.0001235, 123.5, -0.9877, 0.0, 1.235e-30, None, None, None, 0.3]
    assert plain(pl.Series([True, False])) == [True, False]
    events, edges = tables({"1": (["a"] * 10, [(0, i + 1, value) for i, value in enumerate(values)])})
    (case,), _ = embedded(Traces.build(events, edges, INDEX), wanted=None, first=[], max_bytes=1e6)
    assert case["pointwise_nats"] == [0.0001235, 123.5, -0.9877, 0.0, 0.0, None, None, None, 0.3]


def test_main_roots_of_each_case():
    traces = Traces.build(*tables(CASES), INDEX)
    assert traces.roots_of_cases() == [[INDEX["a"]], [INDEX["a"], INDEX["e"]], [INDEX["a"]]]


def test_what_is_common_and_doubtful_comes_after_what_is_sure():
    common = {f"a{i}": (["a", "b"], [(0, 1, 1.0)]) for i in range(4)}
    sure = {f"e{i}": (["e", "c"], [(0, 1, 1.0)]) for i in range(2)}
    links = {(INDEX["a"], INDEX["b"]): {"confidence": 0.2}, (INDEX["e"], INDEX["c"]): {"confidence": 0.9}}
    traces = Traces.build(*tables(common | sure), INDEX, set(links))
    for known, first in ((links, "e"), (None, "a")):  # 2 * 0.9 against 4 * 0.2; 4 against 2 where nothing is known
        assert findings(traces, known, most=10)["roots"][0]["type"] == INDEX[first]


def test_where_states_decide_only_what_did_not_go_as_usual_is_explained():
    usual = {f"u{i}": (["x|ok", "y|ok"], [(0, 1, 0.3)]) for i in range(17)}
    failed = {f"f{i}": (["x|error", "y|error"], [(0, 1, 2.0)]) for i in range(2)}
    slow = {"s": (["x|error", "y|ok", "y|slow"], [(0, 1, 1.0), (1, 2, 2.0)])}  # what went as usual is on the way
    index = {name: i for i, name in enumerate(["x|ok", "x|error", "y|ok", "y|error", "y|slow", "z"])}
    for states, first, n_caused, n_usual in ((False, "x|ok", 21, 0), (True, "x|error", 3, 18)):
        found = findings(Traces.build(*tables(usual | failed | slow), index, states=states), None, most=10)
        best = found["roots"][0]
        assert (best["type"], found["n_caused"], found["n_usual"]) == (index[first], n_caused, n_usual)
    assert (best["n_explained"], best["share"], found["n_roots"]) == (3, 1, 1)
    assert best["chain"] == [index["x|error"], index["y|error"]]
    assert best["others"] == []  # seen once


def test_what_went_as_usual_explains_nothing_that_did_not():
    usual = {f"u{i}": (["x|ok", "y|ok"], [(0, 1, 0.3)]) for i in range(18)}
    failed = {f"f{i}": (["x|ok", "y|error"], [(0, 1, 0.3)]) for i in range(2)}
    index = {name: i for i, name in enumerate(["x|ok", "x|error", "y|ok", "y|error"])}
    traces = Traces.build(*tables(usual | failed), index, states=True)
    assert (traces.is_asked.sum(), traces.explained.sum()) == (2, 0)


def test_where_everything_went_as_usual_events_count():
    traces = Traces.build(*tables({"1": (["x|ok", "y|ok"], [(0, 1, 0.3)])}), {"x|ok": 0, "y|ok": 1}, states=True)
    assert traces.explained.tolist() == [1.0, 0.0]
