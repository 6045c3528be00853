"""Explanations: the sentence and the chain by hand, what speaks against them, and honest silence."""

import math

import polars as pl
import pytest

from sequela.errors import ConfigError
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.graphs.explanation import times_likelier
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph


def graph(n_events, edges, *, times=None, **columns):
    """Edges are (cause, effect, gain); extra columns one value an edge."""
    rows = [(c, e, f"e{c}", f"e{e}", max(e - c, 0), True, abs(g), 0.0, g) for c, e, g in edges]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row").with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    )
    return InstanceGraph("7", tuple(f"e{i}" for i in range(n_events)), table, times)


def test_the_chain_is_the_way_of_the_largest_share():
    # 3 gives half to 1 and half to 2; 2 gives 1/4 to 0 and 3/4 to 1: of 1 comes half straight, 3/8 by way of 2
    found = graph(5, [(0, 2, 1.0), (1, 2, 3.0), (2, 3, 1.0), (1, 3, 1.0)]).explain(3)
    assert found.roots["position"].to_list() == [1, 0]
    assert [(step.cause_position, step.effect_position) for step in found.chain] == [(1, 3)]
    assert found.sentence == "e3 was caused by e1."
    assert found.has_cause


def test_the_chain_goes_from_the_root_to_the_event_and_multiplies_confidences():
    found = graph(3, [(0, 1, 1.0), (1, 2, 2.0)], confidence=[0.9, 0.7], on_link=[True, True]).explain()
    assert [step.cause for step in found.chain] == ["e0", "e1"]
    assert found.confidence == pytest.approx(0.63)
    assert found.sentence == "e2 was caused by e0 → e1 (confidence 0.63)."
    assert found.doubts == ("weak evidence for e1 → e2 (confidence 0.70)",)


def test_edges_off_the_links_explain_nothing_and_are_named():
    found = graph(2, [(0, 1, 1.0)], confidence=[0.99], on_link=[False]).explain(-1)
    assert found.sentence == "e1: no cause found in this log."
    assert not found.has_cause
    assert found.confidence is None
    assert found.doubts == ("without evidence in other cases: e0",)


def test_what_made_it_less_likely_is_no_cause():
    found = graph(2, [(0, 1, -1.0)]).explain("e1")
    assert found.sentence == "e1: no cause found in this log."
    assert "1 earlier event made it less likely: no cause of it" in found.doubts


def test_a_root_that_explains_little_says_so():
    found = graph(3, [(0, 2, 1.0), (1, 2, 1.2)]).explain(2)
    assert found.sentence == "e2 was caused by e1, which explains 55%; 1 other root cause the rest."


def test_ties_and_unknown_types_are_doubts():
    tied = graph(3, [(1, 2, 1.0)], confidence=[0.99], on_link=[True])
    table = tied.edges.with_columns(lag=pl.lit(0, pl.Int64))
    found = InstanceGraph("7", ("e0", "<rare>", "e2"), table, n_unknown=1).explain(2)
    assert found.doubts == (
        "1 of the 1 steps is between events at one time: the direction comes from the other cases, not from this one",
        "1 of these events is of a type the model does not know (<rare>)",
        "1 of the 3 events of the case is of a type the model has never seen",
    )
    undirected = graph(2, [(0, 1, 1.0)])
    table = undirected.edges.with_columns(directed=pl.lit(False), lag=pl.lit(0, pl.Int64))
    found = InstanceGraph("7", undirected.events, table).explain(1)
    assert found.doubts == ("linked at the same time, direction not known: e0",)
    assert not found.has_cause


def test_times_are_dates_or_seconds():
    dated = graph(2, [(0, 1, 1.0)], times=(1.7e9, 1.7e9 + 60)).explain()
    assert dated.sentence == "e1 (2023-11-14 22:14:20) was caused by e0."
    assert graph(2, [(0, 1, 1.0)], times=(0.0, 2.5)).explain().sentence == "e1 (at 2.5 s) was caused by e0."


def test_events_by_name():
    same = InstanceGraph("7", ("a", "b", "a"), pl.DataFrame(schema=INSTANCE_SCHEMA))
    assert same.explain("b").position == 1
    with pytest.raises(ConfigError, match="2 events 'a': name one by its position, of 0, 2"):
        same.explain("a")
    assert same.explain(0).doubts[-1] == "it is the first event of its case: what came before is not in the log"


def test_plain_values_and_text():
    found = graph(2, [(0, 1, math.log(3))], confidence=[0.95], on_link=[True]).explain()
    values = found.to_dict()
    assert values["chain"][0]["cause"] == "e0"
    assert values["roots"] == [{"position": 0, "event": "e0", "share": 1.0, "n_steps": 1}]
    assert str(found) == (
        "case 7: e1 was caused by e0 (confidence 0.95).\n"
        "  e0 [0] → e1 [1]: 3.0 times as likely, 1.10 nats, confidence 0.95 (next)"
    )
    assert times_likelier(math.log(30)) == "30 times as likely"


def test_a_cause_at_a_neighbour_is_told_with_its_case():
    events = (f"down{AT_NEIGHBOUR}", "up")
    edges = graph(2, [(0, 1, math.log(3))]).edges.with_columns(cause=pl.lit(events[0]), effect=pl.lit("up"))
    more = pl.DataFrame({"site": ["x", "y"], "neighbour": ["N7", None]})
    near = InstanceGraph("N3", events, edges, attributes=more)
    found = near.explain()
    assert found.sentence == "up was caused by down (at the neighbour N7)."
    assert "down (at the neighbour N7) [0] → up [1]" in str(found)
    assert found.to_dict()["chain"][0]["neighbour"] == found.chain[0].neighbour == "N7"
    assert found.doubts[-1] == "down (at the neighbour N7) happened in another case: what caused it is told by N7"
    assert near.explain(0).doubts[-1] == "it happened in another case: what caused it is told by N7"
    own = InstanceGraph("N3", ("down", "up"), edges.with_columns(cause=pl.lit("down")), attributes=more)
    assert own.explain().chain[0].neighbour is None
