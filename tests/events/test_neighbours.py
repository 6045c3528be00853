"""Events of neighbours: in order, under types of their own, never effects, counted once."""

import numpy as np
import polars as pl
import pytest

import sequela as sq
from conftest import tiny_window
from sequela.errors import ConfigError, LogFormatError
from sequela.events import sequences
from sequela.events.neighbours import AT_NEIGHBOUR
from sequela.events.vocabulary import Vocabulary
from sequela.worlds.topology import AlarmTopology

NETWORK = AlarmTopology.random(16, n_components=4, n_links=6, n_across=3, alarms_per_entity=20.0, seed=3)
FOUND = NETWORK.simulate(8, seed=2)
LOG = sq.read_log(FOUND.log, **FOUND.columns, neighbours=FOUND.known["neighbours"])
ALONE = sq.read_log(FOUND.log, **FOUND.columns)
WORDS = Vocabulary.build(LOG, min_count=1)


def by_hand():
    """Join the whole log as a table: case, time, event."""
    beside = FOUND.known["neighbours"].join(ALONE.frame, left_on="neighbour", right_on="case")
    near = beside.select(case="entity", event=pl.col("event") + AT_NEIGHBOUR, time="time")
    return pl.concat([ALONE.frame.select("case", "event", "time"), near]).sort("case", "time", "event")


def test_cases_are_joined_in_order_and_counted():
    joined = sq.SequenceSet.from_log(LOG, WORDS)
    names = pl.Series(WORDS.names)
    found = pl.DataFrame(
        {
            "case": np.repeat(joined.case_names.to_numpy(), joined.lengths),
            "event": names[joined.ids],
            "time": joined.times,
        }
    )
    assert found.sort("case", "time", "event").equals(by_hand())
    for case in joined:
        assert (np.diff(case.times) >= 0).all()
    counts = by_hand()["event"].value_counts().rows()
    assert dict(counts) == {name: n for name, n in zip(WORDS.names, WORDS.counts, strict=True) if n}
    assert joined.n_events - joined.n_at_neighbours == LOG.n_events == ALONE.n_events
    assert joined.take([3])[0].ids.tolist() == joined[3].ids.tolist()
    assert sq.SequenceSet.from_log(LOG.case("N003"), WORDS)[0].ids.tolist() == joined[3].ids.tolist()


def test_the_order_of_rows_and_the_size_of_memory_do_not_matter(monkeypatch):
    shuffled = FOUND.log.sample(fraction=1.0, shuffle=True, seed=5)
    other = sq.read_log(
        shuffled, **FOUND.columns, neighbours=FOUND.known["neighbours"].reverse().unique(["entity", "neighbour"])
    )
    monkeypatch.setattr(sequences, "_MOST_IN_MEMORY", 64)
    one, two = (sq.SequenceSet.from_log(each, WORDS) for each in (LOG, other))
    assert isinstance(one.ids, np.memmap)
    assert np.array_equal(one.ids, two.ids)
    assert np.array_equal(one.times, two.times)


def test_they_are_causes_and_never_effects():
    density = tiny_window(WORDS, head=1.0)
    found = sq.discover_log(density, LOG, horizon=3, delta=0.001, progress=False)
    assert not found.edges["effect"].str.ends_with(AT_NEIGHBOUR).any()
    assert found.edges["cause"].str.ends_with(AT_NEIGHBOUR).any()
    tested = found.places.select("effect").to_series()
    assert not tested.str.ends_with(AT_NEIGHBOUR).any()
    assert (found.run.log.n_events, found.run.log.n_neighbour_events) == (LOG.n_events, by_hand().height - LOG.n_events)
    events = found.events
    near = events["event"].str.ends_with(AT_NEIGHBOUR)
    assert (events["neighbour"].is_not_null() == near).all()
    pairs = events.filter(near).select(entity="case", neighbour="neighbour").unique()
    assert pairs.join(FOUND.known["neighbours"], on=["entity", "neighbour"], how="anti").is_empty()
    case = LOG.case_names[1]
    one = sq.discover(density, LOG.case(case), horizon=3, delta=0.001)
    assert one.edges.equals(found.case(case).edges)
    assert one.attributes.equals(found.case(case).attributes)
    assert one.n_tested == found.case(case).n_tested
    explained = one.explain(-1)
    assert not explained.event.endswith(AT_NEIGHBOUR)
    population = sq.discover_population(density, LOG, cases="all", horizon=3, progress=False)
    assert not population.pairs["effect"].str.ends_with(AT_NEIGHBOUR).any()
    assert population.pairs["cause"].str.ends_with(AT_NEIGHBOUR).any()


def test_knowledge_speaks_of_neighbours_only_where_it_names_them():
    names = ["a|1", "b|1", f"a|1{AT_NEIGHBOUR}"]
    known = sq.read_knowledge({"topology": {"column": "1", "pairs": [["a", "a"], ["b", "b"]]}})
    assert known.limits(names).excluded(np.arange(3)[:, None], np.arange(3)).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]
    near = sq.read_knowledge({"forbidden": [f"a|*{AT_NEIGHBOUR} -> b|*"]}).limits(names)
    assert near.excluded(np.arange(3), np.array(1)).tolist() == [False, False, True]


def test_filters_choose_cases_and_neighbours_stay():
    some = sq.read_log(FOUND.log, **FOUND.columns, neighbours=FOUND.known["neighbours"], only="N003")
    assert some.case_names == ["N003"]
    joined = sq.SequenceSet.from_log(some, WORDS)
    assert joined.ids.tolist() == sq.SequenceSet.from_log(LOG, WORDS)[3].ids.tolist()


def test_tables_that_are_refused(tmp_path):
    def read(beside, **more):
        return sq.read_log(FOUND.log, **FOUND.columns | more, neighbours=beside)

    with pytest.raises(LogFormatError, match="two columns"):
        read(pl.DataFrame({"a": ["N000"]}))
    with pytest.raises(LogFormatError, match="joins no two cases"):
        read(pl.DataFrame({"a": ["x"], "b": ["y"]}))
    with pytest.raises(LogFormatError, match="cells are empty"):
        read(pl.DataFrame({"a": ["N000", None], "b": ["N001", "N002"]}))
    with pytest.raises(ConfigError, match="neighbours need times"):
        read(FOUND.known["neighbours"], time=False)
    with pytest.raises(LogFormatError, match="no file"):
        read(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="trained with the events of neighbours"):
        sq.discover_log(tiny_window(WORDS), ALONE, progress=False)
