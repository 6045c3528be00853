"""What counts as a link: more places than chance explains, in two cases."""

import polars as pl
import pytest
from scipy.stats import binomtest

import sequela as sq
from sequela.graphs.summary import finish_pairs, pair_sums
from sequela.worlds.softmax import SoftmaxWorld

SUMS = {"lag": 1.0, "cmi_nats": 0.3, "pointwise_nats": 1.0, "n_undirected": 0}


def pairs(*rows, **how):
    """Rows of (edges, cases, places) as a summary."""
    sums = pl.DataFrame(
        [{"cause": "a", "effect": f"e{i}", "n_edges": n, "n_cases": c} | SUMS for i, (n, c, _) in enumerate(rows)]
    )
    places = pl.DataFrame([{"cause": "a", "effect": f"e{i}", "n_places": p} for i, (*_, p) in enumerate(rows)])
    return finish_pairs(sums, places, self_loops=False, **how).sort("effect")


def test_one_place_of_thirty_thousand_is_no_link():
    found = pairs((1, 1, 30_000), (2, 2, 30_000), (40, 30, 100), (2, 2, 2), (1, 1, 1), (3, 1, 3))
    assert found["is_link"].to_list() == [False, False, True, True, False, False]
    assert found["share"].to_list() == pytest.approx([1 / 30_000, 2 / 30_000, 0.4, 1.0, 1.0, 1.0])
    assert found["effect_nats"].to_list() == pytest.approx([0.3 / p for p in (30_000, 30_000, 100, 2, 1, 3)])


@pytest.mark.parametrize("chance", [0.01, 0.05, 0.2])
def test_the_rule_is_the_binomial_test(chance):
    rows = [(n, n, p) for p in (5, 20, 100) for n in range(2, 6)]
    found = pairs(*rows, chance=chance)
    keys = {f"e{i}": row for i, row in enumerate(rows)}
    for row in found.iter_rows(named=True):
        n, _, p = keys[row["effect"]]
        assert row["is_link"] == (binomtest(n, p, chance, alternative="greater").pvalue <= chance)


def test_one_case_can_have_links_of_its_own_and_unknown_places_leave_the_cases():
    assert pairs((3, 1, 3), least_cases=1)["is_link"].to_list() == [True]
    sums = pl.DataFrame([{"cause": "a", "effect": "b", "n_edges": 5, "n_cases": n} | SUMS for n in (1, 2)])
    for n, link in ((1, False), (2, True)):
        found = finish_pairs(sums.filter(pl.col("n_cases") == n), self_loops=False)
        assert found.select("n_places", "share", "effect_nats", "is_link").rows() == [(None, None, None, link)]


def test_links_are_a_part_of_the_edges_and_sums_add_up():
    world = SoftmaxWorld.random(6, horizon=2, decay=0.2, sparsity=0.5, seed=0)
    log = sq.read_log(world.to_log(world.sample(30, 12, seed=1)))
    found = sq.discover_log(world, log, progress=False)
    summary = found.summary()
    assert 0 < summary.links.height < len(summary)
    assert summary.links.equals(summary.edges.filter("is_link"))
    halves = [found.edges.filter(pl.col("case").is_in(log.case_names[low::2])) for low in (0, 1)]
    added = finish_pairs(pl.concat(map(pair_sums, halves)), found.places, self_loops=False)
    names = ["cause", "effect", "n_edges", "n_cases", "n_places", "share", "is_link"]
    assert added.select(names).equals(summary.edges.select(names))


def test_graphs_are_true_equal_and_hashed_by_what_they_hold():
    world = SoftmaxWorld.random(4, horizon=2, seed=0)
    one, same = (sq.discover(world, ["e0", "e1", "e2", "e1"], particles=4) for _ in range(2))
    other = sq.discover(world, ["e0", "e1", "e2", "e2"], particles=4)
    empty = sq.discover(world, ["e0"])
    assert one == same
    assert len({one, same, other}) == 2
    assert one != other
    assert one != one.summary()
    assert one != "a graph"
    assert bool(empty)
    assert len(empty) == 0
    assert len(one) == one.edges.height
    assert one.summary() == same.summary()
