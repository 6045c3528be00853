"""Events shared out among what brought them about: the definition from scratch, worlds of known law, the links."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from sequela.density.training.fit import fit
from sequela.discovery.population import discover_population
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.evidence import attribution
from sequela.evidence.attribution import attributed, order_probability
from sequela.evidence.links import finish


def sequence_set(cases):
    """Cases of (time, type), in order of time."""
    flat = [event for case in cases for event in sorted(case)]
    names = pl.Series([f"c{number}" for number in range(len(cases))], dtype=pl.String)
    ids = np.array([kind for _, kind in flat], np.int32)
    return SequenceSet(ids, np.cumsum([0, *map(len, cases)]), names, np.array([time for time, _ in flat], np.float64))


def from_scratch(cases, n_types, reach):
    """The same estimate, event by event."""
    cases = [sorted(case) for case in cases]
    edges = [0.0, *(reach * 0.5**k for k in range(attribution._BINS - 1, -1, -1))]
    size = [len(case) for case in cases]
    total = [sum(kind == v for case in cases for _, kind in case) for v in range(n_types)]
    span = [max(c[-1][0] - c[0][0], reach / 10) * (1 + 1 / max(len(c) - 1, 1)) if c else 1.0 for c in cases]
    effects = np.full((n_types, n_types), 0.05)
    curve = np.array([[1 / attribution._BINS / (b - a) for a, b in pairwise(edges)]] * 2)
    left = {(d, v): float(sum(k == v for _, k in case)) for d, case in enumerate(cases) for v in range(n_types)}
    for _ in range(attribution.ROUNDS):
        of_case = [sum(left[d, v] for v in range(n_types)) for d in range(len(cases))]
        of_type = [sum(left[d, v] for d in range(len(cases))) for v in range(n_types)]
        shares, by_gap = np.zeros((n_types, n_types)), np.full((2, attribution._BINS), 0.1)
        new = dict.fromkeys(left, 0.0)
        for d, case in enumerate(cases):
            for i, (time, v) in enumerate(case):
                mean = of_case[d] * of_type[v] / sum(of_case)
                rate = mean * (left[d, v] + 1) / (mean + 1) / span[d] + 1e-12
                added = []
                for earlier, u in case[max(0, i - attribution.N_BEFORE) : i]:
                    gap = time - earlier
                    if 0 < gap <= reach:
                        step = next(k for k in range(attribution._BINS) if edges[k] < gap <= edges[k + 1])
                        added.append((u, step, effects[u, v] * curve[int(u == v), step]))
                whole = rate + sum(each for _, _, each in added)
                new[d, v] += rate / whole
                for u, step, each in added:
                    shares[u, v] += each / whole
                    by_gap[int(u == v), step] += each / whole
        left = new
        effects = np.array([[max(shares[u, v] - attribution.PENALTY, 0) / max(total[u], 1) for v in range(n_types)]
                            for u in range(n_types)])  # fmt: skip
        curve = by_gap / by_gap.sum(axis=1, keepdims=True) / np.diff(edges)
    assert sum(size) == sum(total)
    return shares


@pytest.mark.parametrize("block", [1, 7, 2**16])
def test_shares_equal_their_definition(block, monkeypatch):
    monkeypatch.setattr(attribution, "_EVENTS", block)
    rng = np.random.default_rng(0)
    cases = [[(float(rng.integers(0, 200)), int(rng.integers(0, 3))) for _ in range(n)] for n in (30, 0, 1, 12)]
    assert attributed(sequence_set(cases), 3, 20.0) == pytest.approx(from_scratch(cases, 3, 20.0), abs=1e-9)


@pytest.fixture(scope="module")
def cascades():
    """0 brings about 1 (half the time), 1 brings about 2, 3 repeats itself, and 4 and 5 come together, in any order."""
    rng = np.random.default_rng(1)
    cases = []
    for _ in range(30):
        case = []
        for at in rng.uniform(0, 1e6, 40):
            case.append((at, 0))
            if rng.random() < 0.5:
                first = at + rng.exponential(10)
                case.append((first, 1))
                if rng.random() < 0.8:
                    case.append((first + rng.exponential(10), 2))
        for at in rng.uniform(0, 1e6, 15):
            case += [(at + 30.0 * k, 3) for k in range(rng.geometric(0.3))]
        for at in rng.uniform(0, 1e6, 40):
            case += [(at + rng.uniform(0, 40), 4), (at + rng.uniform(0, 40), 5)]
        cases.append(case)
    return cases


def test_chains_repeats_and_shared_incidents(cascades):
    shares = attributed(sequence_set(cascades), 6, 120.0)
    n = np.bincount([kind for case in cascades for _, kind in case])
    assert shares[0, 1] == pytest.approx(n[1], rel=0.05)  # all that there are
    assert shares[1, 2] == pytest.approx(n[2], rel=0.1)
    assert shares[0, 2] < 0.1 * n[2]  # through 1
    assert shares[3, 3] == pytest.approx(n[3] - 30 * 15, rel=0.05)  # all but the first ones
    assert shares[4, 5] == pytest.approx(shares[5, 4], rel=0.2)
    assert shares[4, 5] > 100
    shares[[0, 1, 3, 4, 5], [1, 2, 3, 5, 4]] = 0
    assert shares.max() < 0.1 * n.min()


def row(cause, effect):
    return {"cause": cause, "effect": effect, "lag": 1, "cases": 2.0, "support": 100.0, "cmi": 0.1, "pointwise": 1.0,
            "cmi_squared": 0.005, "cmi_support": 5.0, "support_squared": 5000.0, "ties": 0.0}  # fmt: skip


def test_the_order_of_attribution_decides():
    probability = order_probability(np.array([[5.0, 90.0, 50.0], [8.0, 9.0, 0.0], [50.0, 0.0, 0.0]]))
    assert probability[0, 1] > 0.99
    probability[0, 1] = 0
    assert not probability.any()
    shares = pl.DataFrame({"cause": ["a"], "effect": ["b"], "attributed": [90.0], "probability": [0.99]})
    sums = pl.DataFrame([row(*pair) for pair in (("a", "b"), ("b", "a"), ("b", "c"))])
    bets = sums.select("cause", "effect", log_e=pl.lit(-1.0))
    found = finish([sums], [bets], delta=0.05, fdr=0.05, objective="cascades", attributed=shares)
    assert found.filter("is_edge").select("cause", "effect", "attributed", "probability").rows() == [
        ("a", "b", 90.0, 0.99)  # whatever its strength and bets
    ]
    assert found["probability"].sum() == 0.99
    assert finish([sums], [bets], delta=0.05, fdr=0.05)["attributed"].null_count() == 3


def test_links_of_cascades(cascades):
    """From a log to links: the density plays no part in them."""
    flat = [(f"c{d}", str(kind), time) for d, case in enumerate(cascades[:4]) for time, kind in case]
    log = read_log(pl.DataFrame(flat, schema=["case", "event", "time"], orient="row"))
    density = fit(log, memory=2, width=8, max_steps=3, progress=False)
    found = discover_population(density, log, cases="all", objective="cascades", particles=2, progress=False)
    assert set(found.edges.select("cause", "effect").iter_rows()) == {("0", "1"), ("1", "2")}
    with pytest.raises(ConfigError, match="times"):
        discover_population(density, read_log(log.frame, time=False), objective="cascades", progress=False)
