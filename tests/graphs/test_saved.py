"""Opening result folders: what is whole comes back the same, what is not is refused in one line."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError, LogFormatError
from sequela.files import write_record
from sequela.graphs.population import PopulationGraph
from sequela.graphs.saved import load_discovery, load_population, load_results
from sequela.graphs.schemas import LAGS, POPULATION
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=2, decay=0.2, sparsity=0.5, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(10, 8, seed=1)))
PAIR = ("a", "b", 3, 9, 1, 0.2, 0.1, 0.3, 0.5, 4.0, 0.01, True, None)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    discover_to(WORLD, LOG, folder / "discovery", progress=False)
    graph = PopulationGraph(
        pl.DataFrame([PAIR], schema=POPULATION.schema, orient="row"),
        pl.DataFrame({"event": ["a", "b"], "count": [5, 6]}),
        lags=pl.DataFrame([("a", "b", 1, 9, 0.2, 0.1)], schema=LAGS.schema, orient="row"),
    )
    graph.save(folder / "population")
    return folder


@pytest.fixture
def copy(results, tmp_path):
    return shutil.copytree(results, tmp_path / "copy")


def table(folder, name, change):
    path = folder / f"{name}.parquet"
    change(pl.read_parquet(path, memory_map=False)).write_parquet(path)
    record(folder, dict)


def record(folder, change):
    """Change the record, and give it and the files beside it checksums that fit."""
    values = json.loads((folder / "run.json").read_text())
    write_record(folder, "run.json", change(values))


def test_what_is_saved_comes_back(results, tmp_path):
    found = sq.discover_log(WORLD, LOG, progress=False)
    again = load_discovery(found.save(tmp_path / "memory"))
    assert again == found
    assert hash(again) == hash(found)
    assert again.summary().edges.equals(found.summary().edges)
    assert again.run.to_dict().keys() - found.run.to_dict().keys() == {"files", "checksum"}
    assert again.run.counts == found.run.counts
    disk = load_discovery(results / "discovery")
    assert load_discovery(disk.save(tmp_path / "disk")) == disk == found
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {
        path.name for path in (results / "discovery").iterdir()
    }
    with pytest.raises(ConfigError, match="overwrite=True"):
        disk.save(tmp_path / "disk")
    disk.save(tmp_path / "disk", overwrite=True)
    graph = load_population(results / "population")
    graph.save(tmp_path / "again")
    assert load_population(tmp_path / "again") == graph
    assert type(load_results(results / "population")) is PopulationGraph
    assert type(load_results(results / "discovery")) is sq.Discovery


def test_on_disk_nothing_is_read_before_it_is_asked_for(results):
    found = load_discovery(results / "discovery")
    assert found._tables == {}
    assert found.scan().collect().equals(pl.read_parquet(results / "discovery" / "edges.parquet"))
    assert repr(found) == f"Discovery({found.n_edges:,} edges in {found.n_cases:,} cases, in '{found.folder}')"
    assert found._tables == {}
    assert len(found) == found.edges.height == found.n_edges > 0
    assert bool(found)


FORMATS = {
    "of 0.1.0": ({"format": 1}, "made by Sequela 0.1.0 .* make it again with  sequela discover"),
    "newer": ({"format": 3}, "made by a newer Sequela .* update it"),
    "a text": ({"format": "2"}, "run.json is damaged: Expected `int`, got `str`"),
    "counts": ({"counts": {"n_edges": "many"}}, r"Expected `int`, got `str` - at `\$.counts.n_edges`"),
    "arguments": ({"arguments": []}, "Expected `object`, got `array`"),
    "horizon": ({"arguments": {"horizon": "full"}}, r"Expected `int \| null`"),
    "another kind": ({"kind": "population"}, "it is one of population results"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_records_of_other_versions_or_kinds_are_refused_by_name(copy, name):
    change, says = FORMATS[name]
    record(copy / "discovery", lambda values: values | change)
    with pytest.raises(LogFormatError, match=says) as caught:
        load_discovery(copy / "discovery")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "[" * 200_000, '{"format": 2', "\x00", '"\ud800"'])
def test_damaged_records_are_refused(copy, text):
    (copy / "discovery" / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(LogFormatError, match=r"not a folder of discovery results: run\.json is damaged"):
        load_discovery(copy / "discovery")


TABLES = [("discovery", name) for name in ("edges", "events", "places", "summary", "nodes")]
TABLES += [("population", name) for name in ("population", "lags", "nodes")]
DAMAGES = {
    "column": lambda frame: frame.drop(frame.columns[1]),
    "type": lambda frame: frame.with_columns(pl.col(frame.columns[1]).cast(pl.Int32, strict=False)),
    "null": lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise(pl.col(frame.columns[1])).alias(frame.columns[1])
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("kind", "name"), TABLES)
def test_tables_that_do_not_fit_are_refused(copy, kind, name, damage):
    table(copy / kind, name, DAMAGES[damage])
    with pytest.raises(LogFormatError, match=rf"folder of {kind} results: '.*{name}\.parquet'?:? .*column") as caught:
        load_results(copy / kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), TABLES)
def test_missing_and_cut_files_are_refused(copy, kind, name):
    path = copy / kind / f"{name}.parquet"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"PAR1" * 4, content[:-20] + bytes(20)):
        path.write_bytes(damaged)
        record(copy / kind, dict)
        with pytest.raises(LogFormatError, match=f"not a folder of {kind} results") as caught:
            (load_population if kind == "population" else load_discovery)(copy / kind)
        assert "\n" not in str(caught.value)
    path.unlink()
    record(copy / kind, dict)
    if name not in ("events", "places"):
        with pytest.raises(LogFormatError, match=f"not a folder of {kind} results"):
            (load_population if kind == "population" else load_discovery)(copy / kind)
    else:  # results without them are of use
        found = load_discovery(copy / kind)
        assert (found.events if name == "events" else found.places) is None
        assert found.summary().edges.height


def test_types_that_the_nodes_do_not_have_are_refused_and_shown_harmlessly(copy):
    for kind, name in (("discovery", "summary"), ("population", "population"), ("population", "lags")):
        table(copy / kind, name, lambda frame: frame.with_columns(cause=pl.lit("\x1b[31mx\n")))
        with pytest.raises(LogFormatError, match=r"cause '\\x1b\[31mx\\x0a' is not among the event types") as caught:
            load_results(copy / kind)
        assert str(caught.value).isprintable()


def test_rows_must_be_as_many_as_the_record_says(copy):
    table(copy / "discovery", "edges", lambda frame: frame.head(3))
    with pytest.raises(LogFormatError, match=r"edges.parquet has 3 rows, and run.json says"):
        load_discovery(copy / "discovery")


def test_bits_that_flip_are_found_before_a_table_is_read(copy):
    """Some would end the whole process in polars."""
    rng = np.random.default_rng(0)
    for kind, name in TABLES:
        path = copy / kind / f"{name}.parquet"
        whole = bytearray(path.read_bytes())
        for _ in range(15):
            flipped = bytearray(whole)
            flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(LogFormatError, match=rf"{name}\.parquet has changed since it was written"):
                load_results(copy / kind)
        path.write_bytes(whole)


def test_names_of_cases_that_are_not_there_get_no_other_device_suggested(results):
    found = load_discovery(results / "discovery")
    with pytest.raises(LogFormatError) as caught:
        found.case("case-00099")
    assert "did you mean" not in str(caught.value)
    assert "there are 10: case-00000, case-00001, case-00002, …" in str(caught.value)
    with pytest.raises(LogFormatError, match="did you mean 'case-00003'"):
        found.case("Case-3")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("edges", pl.col("effect_position") + 100, "an edge of the case 'case-\\d+' is not between two of its events"),
        ("edges", pl.lit("other").alias("cause"), "is not between two of its events"),
        ("edges", pl.lit("nobody").alias("case"), "the case 'nobody' is not between two of its events"),
        ("events", pl.col("position") * 2, "the positions of the case 'case-\\d+' do not count from 0 on"),
        ("events", pl.lit("other").alias("event"), "has an event of unknown type, or without a time"),
    ],
)
def test_forged_edges_and_events_must_fit_each_other(copy, name, change, says):
    """Found by fuzzing: they ended in tracebacks of the page."""
    table(copy / "discovery", name, lambda frame: frame.with_columns(change))
    with pytest.raises(LogFormatError, match=says):
        load_discovery(copy / "discovery")


def test_a_forged_horizon_takes_no_memory(copy):
    """Found by fuzzing: 96 GiB were asked for."""
    values = json.loads((copy / "discovery" / "run.json").read_text())
    record(copy / "discovery", lambda _: values | {"arguments": values["arguments"] | {"horizon": 2**31}})
    assert load_discovery(copy / "discovery").case("case-00000").n_tested == 8 * 7 // 2
