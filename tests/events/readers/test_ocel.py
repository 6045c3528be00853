"""Object-centric logs: an example in the form of the standard, also as an independent program writes it."""

import json
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.errors import LogFormatError, SequelaError
from sequela.events.readers import ocel, read_table

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def example(n_orders=3):
    """Orders with items that are packed one by one, and shipped together."""
    objects, events = [], []

    def happens(kind, *related, **values):
        time = (BEGIN + timedelta(minutes=len(events))).isoformat()
        relations = [{"objectId": each, "qualifier": "of"} for each in related]
        given = [{"name": key, "value": value} for key, value in values.items()]
        events.append(
            {"id": f"e{len(events)}", "type": kind, "time": time, "attributes": given, "relationships": relations}
        )

    for i in range(n_orders):
        items = [f"i{i}{k}" for k in range(i % 2 + 1)]
        for name, kind in [(f"o{i}", "order"), *((item, "item") for item in items)]:
            objects.append({"id": name, "type": kind, "attributes": [], "relationships": []})
        happens("place", f"o{i}", *items, price=1.5 * i, clerk=f"c{i % 2}")
        for item in items:
            happens("pack", item)
        happens("ship", f"o{i}", *items, price=3.0)
    objects.append({"id": "p", "type": "plant", "attributes": [], "relationships": []})
    happens("open", "p")
    attributes = [{"name": "price", "type": "float"}, {"name": "clerk", "type": "string"}]
    return {
        "objectTypes": [{"name": name, "attributes": []} for name in ("order", "item", "plant")],
        "eventTypes": [{"name": name, "attributes": attributes} for name in ("place", "pack", "ship", "open")],
        "objects": objects,
        "events": events,
    }


def as_sqlite(log, path):
    """Write the tables of OCEL 2.0."""
    with closing(sqlite3.connect(path)) as made, made:
        for name in ("event", "object"):
            made.execute(f"CREATE TABLE {name} (ocel_id TEXT PRIMARY KEY, ocel_type TEXT)")
            made.execute(f"CREATE TABLE {name}_map_type (ocel_type TEXT PRIMARY KEY, ocel_type_map TEXT)")
            made.executemany(f"INSERT INTO {name} VALUES (?, ?)", [(e["id"], e["type"]) for e in log[f"{name}s"]])
            kinds = [(each["name"], f'{each["name"]}" x') for each in log[f"{name}Types"]]
            made.executemany(f"INSERT INTO {name}_map_type VALUES (?, ?)", kinds)
        if pairs := [(e["id"], r["objectId"], r["qualifier"]) for e in log["objects"] for r in e["relationships"]]:
            made.execute("CREATE TABLE object_object (ocel_source_id TEXT, ocel_target_id TEXT, ocel_qualifier TEXT)")
            made.executemany("INSERT INTO object_object VALUES (?, ?, ?)", pairs)
        made.execute("CREATE TABLE event_object (ocel_event_id TEXT, ocel_object_id TEXT, ocel_qualifier TEXT)")
        for kind in log["eventTypes"]:
            table = f'"event_{kind["name"]}"" x"'
            made.execute(f"CREATE TABLE {table} (ocel_id TEXT, ocel_time TIMESTAMP, price REAL, clerk TEXT)")
            for event in (event for event in log["events"] if event["type"] == kind["name"]):
                values = {each["name"]: each["value"] for each in event["attributes"]}
                row = (event["id"], event["time"], values.get("price"), values.get("clerk"))
                made.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", row)
                related = [(event["id"], each["objectId"], "of") for each in event["relationships"]]
                made.executemany("INSERT INTO event_object VALUES (?, ?, ?)", related)
    return path


def put(folder, name, log=None):
    """Write an example in the format of a name."""
    log, path = log or example(), folder / name
    if name.endswith(".sqlite"):
        return as_sqlite(log, path)
    path.write_text(json.dumps(log))
    if name.endswith(".xmlocel"):
        r4pm = pytest.importorskip("r4pm")
        plain = folder / "plain.json"
        plain.write_text(json.dumps(log))
        r4pm.df.export_ocel(r4pm.df.import_ocel(str(plain)), str(folder / "log.ocel.xml"))
        (folder / "log.ocel.xml").rename(path)
    return path


FORMATS = pytest.mark.parametrize("name", ["log.jsonocel", "log.json", "log.sqlite", "log.xmlocel"])


@FORMATS
@pytest.mark.parametrize("batch", [2, 50_000])
def test_an_object_type_is_the_case(tmp_path, monkeypatch, name, batch):
    monkeypatch.setattr(ocel, "BATCH", batch)
    path = put(tmp_path, name)
    orders = sq.read_log(path, case="order")
    assert {case: orders.case(case).events for case in orders.case_names} == {
        f"o{i}": ["place", "ship"] for i in range(3)
    }
    assert orders.notes == ("5 of 11 events belong to no 'order' and were left out",)
    assert orders.frame["time"][0] == BEGIN.timestamp()
    items = sq.read_log(path, case="item")
    assert {case: items.case(case).events for case in items.case_names} == {
        item: ["place", "pack", "ship"] for item in ("i00", "i10", "i11", "i20")
    }
    assert items.notes == (
        "1 of 11 events belong to no 'item' and were left out",
        "2 of 11 events belong to several 'item' and are in each: 12 in all",
    )
    table = read_table(path)
    frame = table.frame.collect()
    assert frame.columns[:3] == ["item", "order", "plant"]
    assert sorted(frame["price"].drop_nulls().cast(float)) == [0.0, 1.5, 3.0, 3.0, 3.0, 3.0]


@FORMATS
def test_objects_that_are_related_are_neighbours(tmp_path, name):
    log = example()
    log["objects"][0]["relationships"] = [{"objectId": other, "qualifier": "before"} for other in ("o1", "i00", "p")]
    path = put(tmp_path, name, log)
    found = sq.read_log(path, case="order", neighbours=path)
    assert found.neighbours.pairs.rows() == [("o0", "o1"), ("o1", "o0")]  # the others are no orders
    alone = sq.read_log(path, case="order")
    assert alone.neighbours is None
    assert found.frame.equals(alone.frame)
    with pytest.raises(LogFormatError, match="joins no two cases"):
        sq.read_log(path, case="order", neighbours=put(tmp_path, f"other-{name}"))


def test_related_objects_of_several_files(tmp_path):
    paths = []
    for number in "ab":
        log = example(2)
        log["objects"][0]["relationships"] = [{"objectId": "o1", "qualifier": "before"}]
        for each in (*log["objects"], *log["events"]):
            each["id"] = number + each["id"]
            for relation in each["relationships"]:
                relation["objectId"] = number + relation["objectId"]
        paths.append(put(tmp_path, f"{number}.jsonocel", log))
    found = sq.read_log(paths, case="order", neighbours=paths)
    pairs = found.neighbours.pairs.filter(pl.col("entity") < pl.col("neighbour"))
    assert pairs.rows() == [("ao0", "ao1"), ("bo0", "bo1")]


def test_the_independent_program_reads_the_same(tmp_path):
    r4pm = pytest.importorskip("r4pm")
    path = put(tmp_path, "log.json")
    theirs = r4pm.df.import_ocel(str(path))
    relations = theirs["relations"].filter(pl.col("ocel:type") == "item")
    table = read_table(path)
    ours = table.frame.select("ocel:eid", "item").explode("item").drop_nulls().collect()
    assert sorted(ours.rows()) == sorted(relations.select("ocel:eid", "ocel:oid").rows())


def test_one_object_type_needs_no_name(tmp_path):
    log = example()
    log["objects"] = [each for each in log["objects"] if each["type"] == "order"]
    found = sq.read_log(put(tmp_path, "log.json", log))
    assert found.n_cases == 3
    assert found.notes == (
        "13 relations name an object that is not there and were left out",
        "5 of 11 events belong to no 'order' and were left out",
    )


def test_the_case_must_be_named_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "log.jsonocel", example(40))
    with pytest.raises(LogFormatError, match="its columns are item, order, plant"):
        sq.read_log("log.jsonocel")
    run = CliRunner()
    words = ["fit", "log.jsonocel", "--case", "item", "--out", "model", "--max-steps", "2"]
    told = run.invoke(app, words)
    assert told.exit_code == 0, told.output
    assert "note: 1 of 141 events belong to no 'item'" in told.output
    told = run.invoke(app, ["discover", "model", "log.jsonocel", "--out", "found"])
    assert told.exit_code == 0, told.output
    assert pl.read_parquet("found/events.parquet")["case"].n_unique() == 60


def test_our_own_export_is_read(tmp_path):
    frame = pl.DataFrame({"case": ["a", "a", "b", "b"], "event": ["x", "y", "x", "z"], "time": [1, 2, 3, 4]})
    log = sq.read_log(frame)
    from sequela.graphs.exports.ocel import write_ocel

    edges = pl.DataFrame(schema={"case": pl.String, "cause_position": pl.Int64, "effect_position": pl.Int64,
                                 "cause": pl.String, "effect": pl.String, "lag": pl.Int64, "cmi_nats": pl.Float64,
                                 "std_error": pl.Float64, "pointwise_nats": pl.Float64})  # fmt: skip
    events = log.frame.with_columns(position=pl.int_range(pl.len()).over("case"))
    write_ocel(events, edges, tmp_path / "log.jsonocel")
    read = sq.read_log(tmp_path / "log.jsonocel", case="case")
    assert read.frame.with_columns(pl.col("case").str.strip_prefix("case:")).equals(log.frame)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda log: log["events"].append(log["events"][0]), "the event 'e0' twice"),
        (lambda log: log["objects"].append(log["objects"][0]), "the object 'o0' twice"),
        (lambda log: log["events"].clear(), "holds no event"),
        (lambda log: log["events"][0].pop("time"), "time"),
        (lambda log: log["events"][0].update(id=[1]), "id"),
        (lambda log: log.update(more=[{}]), "it holds 'more'"),
        (lambda log: log["objects"][0].update(type="concept:name"), "another column"),
    ],
)
def test_json_is_refused(tmp_path, change, said):
    log = example()
    change(log)
    with pytest.raises(LogFormatError, match=said):
        sq.read_log(put(tmp_path, "log.json", log), case="order")


@pytest.mark.parametrize("suffix", ["json", "jsonocel"])
def test_the_older_standard_is_named(tmp_path, suffix):
    with pytest.raises(LogFormatError, match=r"it is OCEL 1\.0: convert it to OCEL 2\.0"):
        sq.read_log(put(tmp_path, f"log.{suffix}", {"ocel:global-event": {}, "ocel:events": {"e1": {}}}), case="order")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<log><events>", "cannot be read as OCEL 2.0"),
        ("<x/>", "not <log>"),
        ("<log/>", "holds no event"),
        ('<log><global scope="event"/></log>', "it is OCEL 1.0: convert it"),
        ('<log><events><event id="a"/></events></log>', "line 1: <event> has no type"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><log/>', "declares an entity"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><log>&a;</log>', "declares an entity"),
    ],
)
def test_xml_is_refused(tmp_path, text, said):
    (tmp_path / "log.xmlocel").write_text(text)
    with pytest.raises(LogFormatError, match=said):
        sq.read_log(tmp_path / "log.xmlocel", case="order")


def test_other_databases_are_refused(tmp_path):
    path = tmp_path / "log.sqlite"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE x (a)")
    with pytest.raises(LogFormatError, match="no such table: object; for other databases use a query"):
        sq.read_log(path, case="order")
    as_sqlite(example(), tmp_path / "other.sqlite")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as made, made:
        made.execute("DELETE FROM event_map_type WHERE ocel_type = 'ship'")
        made.execute(
            "DELETE FROM event_object WHERE ocel_event_id IN (SELECT ocel_id FROM event WHERE ocel_type = 'ship')"
        )
    with pytest.raises(LogFormatError, match="has 11 events, of which the tables of their types hold 8"):
        sq.read_log(tmp_path / "other.sqlite", case="order")


@FORMATS
def test_damaged_files_are_read_or_refused(tmp_path, name):
    content = put(tmp_path, name).read_bytes()
    rng, found = random.Random(name), {"read": 0, "refused": 0}
    path = tmp_path / f"x{name}"
    for i in range(40):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 5])):
            place = rng.randrange(len(damaged))
            if i % 2:
                damaged[place] = rng.randrange(256)
            else:
                del damaged[place : place + rng.choice([1, 20])]
        path.write_bytes(damaged)
        try:
            log = sq.read_log(path, case="item")
        except SequelaError as error:
            found["refused"] += str(error).isprintable()
        else:
            found["read"] += log.n_events <= 12
    assert sum(found.values()) == 40
