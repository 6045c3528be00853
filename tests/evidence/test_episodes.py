"""Evidence from counts: its definition from scratch, its expectation without a link, chains and common causes."""

import numpy as np
import polars as pl
import pytest
from scipy.special import logsumexp
from scipy.stats import hypergeom

from sequela.density.training.fit import fit
from sequela.discovery.population import discover_population
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.evidence.episodes import LOG_ODDS, log_e_episodes, log_e_tables
from sequela.evidence.links import finish
from sequela.worlds.fault_codes import FaultCodes, FaultLink


def sequence_set(cases, times):
    offsets = np.cumsum([0, *map(len, cases)])
    names = pl.Series([f"c{number}" for number in range(len(cases))])
    return SequenceSet(np.concatenate(cases).astype(np.int32), offsets, names, np.concatenate(times).astype(float))


def log_e_from_scratch(sequences, window, cause, effect, n_types):
    """Walk through every episode, for every third type; return the e-value, and that at half."""
    episodes = []
    for case in sequences:
        before = None
        for kind, at in zip(case.ids.tolist(), case.times.tolist(), strict=True):
            if before is None or (window is not None and at - before > window):
                episodes.append({})
            episodes[-1].setdefault(kind, at)
            before = at
    came = [effect in one and one[effect] >= one.get(cause, -np.inf) for one in episodes]

    def table(some):
        there = [cause in episodes[i] for i in some]
        own = [came[i] for i in some]
        return len(some), sum(there), sum(own), sum(a and b for a, b in zip(there, own, strict=True))

    whole = table(range(len(episodes)))
    values = [[log_e_tables([whole]), log_e_tables([half(whole)])]]
    for third in set(range(n_types)) - {cause, effect}:
        sides = [[i for i, one in enumerate(episodes) if (third in one) == side] for side in (True, False)]
        tables = [table(side) for side in sides]
        size, with_cause, with_effect, _ = tables[0]
        if min(with_cause / whole[1], with_effect / whole[2]) > size / whole[0]:
            values.append([log_e_tables(tables), log_e_tables([half(each) for each in tables])])
    return np.min(values, axis=0)


def half(table):
    size, cause, effect, _ = table
    return size, cause, effect, (cause * effect / max(size, 1) + min(cause, effect)) / 2


@pytest.mark.parametrize("cells", [1, 2**22])
@pytest.mark.parametrize("window", [None, 3.0])
def test_evidence_equals_its_definition(window, cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.episodes._CELLS", cells)
    rng, n_types = np.random.default_rng(0), 5
    cases = [rng.choice(n_types, rng.integers(0, 9), p=[0.4, 0.3, 0.1, 0.1, 0.1]) for _ in range(40)]
    when = [np.sort(rng.integers(0, 20, len(ids))) for ids in cases]
    cases += [np.array([0, 1, *rng.choice([2, 3, 4], k)]) for k in rng.integers(0, 3, 60)]
    when += [np.arange(len(ids)) for ids in cases[len(when) :]]
    sequences = sequence_set(cases, when)
    pairs = np.array([u * n_types + v for u in range(n_types) for v in range(n_types) if u != v])
    found = log_e_episodes(sequences, n_types, window, pairs)
    expected = [log_e_from_scratch(sequences, window, *divmod(int(code), n_types), n_types) for code in pairs]
    np.testing.assert_allclose(np.array(found).T, expected, atol=1e-12)
    assert found.log_e.max() > 0 > found.log_e.min()


def exact(b, size, cause, effect, together):
    """Return the log likelihood ratio of a log odds ratio to 0, given the margins."""
    law = hypergeom(size, cause, effect)
    k = np.arange(min(cause, effect) + 1)
    return b * together - logsumexp(b * k, b=law.pmf(k))


@pytest.mark.parametrize(
    ("size", "cause", "effect"),
    [(40, 20, 20), (400, 10, 8), (2000, 200, 100), (60, 3, 2), (150, 130, 90), (30, 29, 29), (5, 5, 3), (1, 1, 1)],
)
def test_without_a_link_its_expectation_is_at_most_one(size, cause, effect):
    law = hypergeom(size, cause, effect)
    together = np.arange(max(0, cause + effect - size), min(cause, effect) + 1)
    log_e = log_e_tables([(size, cause, effect, together)])
    assert law.pmf(together) @ np.exp(log_e) <= 1 + 1e-9
    best = logsumexp([exact(b, size, cause, effect, together) for b in LOG_ODDS], axis=0) - np.log(4)
    assert (log_e <= best + 1e-9).all()
    assert log_e[-1] > 0.3 * best[-1] - 0.5  # the bound gives little away


def fleet(links, rates):
    return FaultCodes(
        [("CAM", f"B{i}") for i in range(len(rates))], rates, [FaultLink(*link) for link in links], tick_seconds=60
    )


@pytest.mark.parametrize(
    ("links", "real", "through_others"),
    [
        ([(0, 1, 0.7, 100), (1, 2, 0.7, 100)], [(0, 1), (1, 2)], (0, 2)),
        ([(0, 1, 0.7, 60), (0, 2, 0.7, 600)], [(0, 1), (0, 2)], (1, 2)),
    ],
)
def test_what_goes_through_a_third_type_has_none(links, real, through_others):
    made = fleet(links, [0.5, 0.05, 0.05, 0.6]).simulate(400, seed=1)
    log = read_log(made.log, **made.columns)
    density = fit(log, max_steps=10, width=8, additive=False, progress=False)
    found = discover_population(density, log, cases="all", control="each", particles=2, progress=False).pairs
    pair = {(row["cause"], row["effect"]): row for row in found.iter_rows(named=True)}
    names = [f"CAM|B{i}" for i in range(4)]
    sure = np.log10(20)
    for cause, effect in real:
        assert pair[names[cause], names[effect]]["log10_e"] > sure
    other = pair[names[through_others[0]], names[through_others[1]]]
    assert other["direction_log10_e"] > sure > other["log10_e"]


def test_counts_join_the_bets_as_a_mean():
    rows = [("a", "b", 0.0, 3.0), ("b", "c", 4.0, None)]  # by bets, by counts
    sums = pl.DataFrame(
        [
            {
                "cause": cause, "effect": effect, "lag": 1, "cases": 2.0, "support": 10.0, "cmi": 5.0,
                "pointwise": 9.0, "cmi_squared": 0.0, "cmi_support": 0.0, "support_squared": 50.0, "ties": 0.0,
            }
            for cause, effect, *_ in rows
        ]
    )  # fmt: skip
    bets = pl.DataFrame([(*row[:2], row[2]) for row in rows], schema=["cause", "effect", "log_e"], orient="row")
    schema = ["cause", "effect", "log_e", "is_against"]
    counts = pl.DataFrame([("a", "b", 3.0, False)], schema=schema, orient="row")
    found = finish([sums], [bets], delta=0.05, fdr=0.05, episodes=counts).sort("cause")
    assert (found["log10_e"] * np.log(10)).to_list() == pytest.approx([np.log((1 + np.exp(3)) / 2), 4 - np.log(2)])
    alone = finish([sums], [bets], delta=0.05, fdr=0.05).sort("cause")
    assert (alone["log10_e"] * np.log(10)).to_list() == pytest.approx([0.0, 4.0])
    assert alone["is_edge"].to_list() == [False, True]
    against = counts.vstack(pl.DataFrame([("b", "c", None, True)], schema=counts.schema, orient="row"))
    refuted = finish([sums], [bets], delta=0.05, fdr=0.05, episodes=against).sort("cause")
    assert refuted["log10_e"].to_list() == found["log10_e"].to_list()
    assert not refuted["is_edge"].any()
    assert refuted["mark"][1] == "no link: they are together no more often than other events explain"


def test_counts_are_against_a_pair_that_a_third_type_explains():
    made = fleet([(0, 1, 0.7, 60), (0, 2, 0.7, 600)], [0.5, 0.05, 0.05, 0.6]).simulate(400, seed=1)
    ids = made.events["event"].replace_strict({f"CAM|B{i}": i for i in range(4)}, return_dtype=pl.Int32)
    times = made.events["time"].dt.epoch("s").cast(pl.Float64).to_numpy()
    lengths = made.events.group_by("case", maintain_order=True).len()
    sequences = SequenceSet(ids.to_numpy(), np.cumsum([0, *lengths["len"]]), lengths["case"], times)
    pairs = np.array([1, 2, 6])  # 0 -> 1, 0 -> 2, 1 -> 2
    assert log_e_episodes(sequences, 4, 3600.0, pairs).against(0.05).tolist() == [False, False, True]
    few = sequences.take(range(20))
    assert not log_e_episodes(few, 4, 3600.0, pairs).against(0.05).any()  # too little to tell
