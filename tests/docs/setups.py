"""Small files that pages of the documentation take for granted; see `pages.py`."""

import gzip
import json
import sqlite3

import polars as pl
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.worlds.incidents import simulate_incident
from sequela.worlds.softmax import SoftmaxWorld

SIMULATION = SoftmaxWorld.random(5, horizon=2, seed=0).simulate(30, 8, seed=1)


def _renamed(frame):
    """Cases are called dev0 to dev29."""
    return frame.with_columns(case=pl.format("dev{}", pl.col("case").str.tail(5).cast(pl.Int64)))


def _events():
    """Columns case, event and time."""
    return _renamed(SIMULATION.log)


def alarms(folder):
    names = {"case": "device_id", "event": "alarm_id", "time": "start_timestamp"}
    _events().rename(names).write_csv(folder / "alarms.csv")


def model(folder):
    alarms(folder)
    words = "fit alarms.csv --case device_id --event alarm_id --time start_timestamp --out model --max-steps 30 --quiet"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output


def answer(folder):
    """A whole run."""
    alarms(folder)
    words = (
        "run alarms.csv --case device_id --event alarm_id --time start_timestamp --out answer --max-steps 20 --quiet"
    )
    result = CliRunner().invoke(app, [*words.split(), "--folds", "2", "--quiet"])
    assert result.exit_code == 0, result.output


def new_alarms(folder):
    """Cases that were not in `alarms`, in two files."""
    frame = SoftmaxWorld.random(5, horizon=2, seed=0).simulate(10, 8, seed=2).log
    names = {"case": "device_id", "event": "alarm_id", "time": "start_timestamp"}
    for file, name in (("new", "a"), ("newer", "b")):
        frame.with_columns(case=name + pl.col("case")).rename(names).write_csv(folder / f"{file}-alarms.csv")


def components(folder):
    frame = _events().with_columns(component=pl.col("event").str.head(1), code=pl.col("event").str.tail(1))
    frame.rename({"case": "vehicle"}).write_csv(folder / "components.csv")


def database(folder):
    """The alarms in a database, and in files that a query joins."""
    moments = pl.datetime(2026, 1, 31) + pl.duration(minutes=pl.int_range(pl.len()))
    frame = _events().select(device="case", alarm="event", raised=moments.dt.strftime("%Y-%m-%d %H:%M:%S"))
    connection = sqlite3.connect(folder / "alarms.db")
    connection.execute("CREATE TABLE alarms (device, alarm, raised)")
    connection.executemany("INSERT INTO alarms VALUES (?, ?, ?)", frame.rows())
    connection.commit()
    connection.close()
    frame.write_parquet(folder / "alarms.parquet")
    frame.select(pl.col("device").unique(maintain_order=True), kind=pl.lit("pump")).write_csv(folder / "devices.csv")


def untimed(folder):
    _events().select(request="case", step="event").write_csv(folder / "untimed.csv")


def local_times(folder):
    minutes = pl.datetime(2026, 1, 31) + pl.duration(minutes=pl.int_range(pl.len()))
    frame = _events().select(ticket="case", status="event", changed=minutes.dt.strftime("%d/%m/%Y %H:%M"))
    frame.write_csv(folder / "local-times.csv")


def steps(folder):
    names = {f"e{i}": name for i, name in enumerate(["start", "overheat", "fan", "stop", "stop"])}
    _events().select("case", event=pl.col("event").replace(names)).write_csv(folder / "steps.csv")


def truth(folder):
    """The true edges of alarms.csv."""
    _renamed(SIMULATION.truth).write_parquet(folder / "truth.parquet")


def several_files(folder):
    """One log in two files."""
    frame = _events()
    frame.head(100).write_csv(folder / "january.csv")
    (folder / "february.csv.gz").write_bytes(gzip.compress(frame.tail(-100).write_csv().encode()))


def incident(folder):
    """Normal operation and a window of a simulated incident."""
    log = simulate_incident("cpu_contention")
    for name, spans, lines in (
        ("normal", log.normal_spans, log.normal_logs),
        ("window", log.window_spans, log.window_logs),
    ):
        (folder / name).mkdir()
        spans.write_parquet(folder / name / "spans.parquet")
        lines.write_parquet(folder / name / "logs.parquet")


def claims(folder):
    """Fault codes of vehicles and the outcomes of some of them."""
    from sequela.worlds.outcomes import OutcomeRule, OutcomeWorld

    names = ("start", "coolant low", "overheat", "fan", "battery low", "stall", "warning")
    weights = [[0] * 7, [0, 0, 2.5, 0, 0, 0, 0], [0, 0, 0, 2.5, 0, 0, 2.0], *([[0] * 7] * 4)]
    world = SoftmaxWorld([1.5, -1, -1.5, -1, -1, -1.5, -1], weights, horizon=1, names=names)
    rules = [OutcomeRule("engine claim", ("overheat",)), OutcomeRule("tow", ("battery low", "stall"), k=2)]
    events, table = OutcomeWorld(world, rules).simulate(500, 10, seed=5)
    events.rename({"case": "vehicle"}).write_csv(folder / "codes.csv")
    table.write_csv(folder / "claims.csv")


def releases(folder):
    """Events of requests before and after a release that halves one effect and brings another."""
    names = ("login", "search", "cart", "pay", "error")
    for name, error, pay in (("before", 0.0, 2.5), ("after", 2.0, 1.0)):
        weights = [[0, 1.5, 0, 0, 0], [0, 0, 1.5, 0, 0], [0, 0, 0, pay, error], [0] * 5, [0] * 5]
        world = SoftmaxWorld([0, 0, 0, 0, -1], weights, horizon=1, names=names)
        world.to_log(world.sample(150, 15, seed=len(name))).rename({"case": "request"}).write_csv(
            folder / f"{name}.csv"
        )


def traces(folder):
    """Spans as the file exporter of the OpenTelemetry Collector writes them: a document a line."""
    spans = simulate_incident("cpu_contention").window_spans.with_columns(number=pl.col("TraceID").rank("dense"))
    spans = spans.filter(pl.col("number") <= 40)
    documents = []
    for (pod,), rows in spans.group_by("PodName", maintain_order=True):
        about = {"service.name": pod.partition("-")[0], "service.instance.id": pod}
        found = [
            {
                "traceId": f"{row['number']:032x}", "spanId": row["SpanID"], "parentSpanId": row["ParentID"],
                "name": row["OperationName"], "startTimeUnixNano": str(row["StartTimeUnixNano"]),
                "endTimeUnixNano": str(row["EndTimeUnixNano"]), "status": {"code": 2 * (row["number"] % 4 == 0)},
            }
            for row in rows.rows(named=True)
        ]  # fmt: skip
        resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in about.items()]}
        documents.append({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": found}]}]})
    (folder / "traces.jsonl").write_text("".join(json.dumps(each) + "\n" for each in documents))


def orders(folder):
    """The alarms as an object-centric log: an order for each case, and an item for every second event of it."""
    rows = _events().with_columns(number=pl.int_range(pl.len()).over("case"))
    events = [
        {
            "id": f"{row['case']}/{row['number']}", "type": row["event"], "attributes": [],
            "time": f"2026-01-31T10:{row['number']:02}:00Z",
            "relationships": [{"objectId": f"o-{row['case']}", "qualifier": "order"}]
            + [{"objectId": f"i-{row['case']}", "qualifier": "item"}] * (row["number"] % 2),
        }
        for row in rows.rows(named=True)
    ]  # fmt: skip
    cases = rows["case"].unique(maintain_order=True).to_list()
    objects = [
        {"id": f"{kind[0]}-{case}", "type": kind, "attributes": [],
         "relationships": [{"objectId": f"o-{before}", "qualifier": "replaces"}] * (kind == "order" and before != case)}
        for before, case in zip([cases[0], *cases], cases, strict=False)
        for kind in ("order", "item")
    ]  # fmt: skip
    types = [{"name": name, "attributes": []} for name in rows["event"].unique().sort()]
    kinds = [{"name": name, "attributes": []} for name in ("order", "item")]
    log = {"objectTypes": kinds, "eventTypes": types, "objects": objects, "events": events}
    (folder / "orders.jsonocel").write_text(json.dumps(log))


def app_log(folder):
    """Lines of a program: requests that open a session, wait, and close it."""
    said = {
        "e0": "opened session for user {} from 10.0.0.{}", "e1": "took {1}ms for {0}",
        "e2": "cache miss for key {1}", "e3": "retry {1} of call", "e4": "closed session for user {} after {} calls",
    }  # fmt: skip
    rows = _events().with_columns(number=pl.int_range(pl.len()).over("case")).rows(named=True)
    users = ("ann", "bob", "eve", "zoe")
    lines = [
        f"2026-01-31 10:{row['number']:02}:00,{i % 1000:03} INFO [{row['case'].replace('dev', 'r')}] "
        + said[row["event"]].format(users[i % 4], i)
        for i, row in enumerate(rows)
    ]
    (folder / "app.log").write_text("\n".join([*lines, "\tat java.lang.Thread.run(Thread.java:829)"]) + "\n")


SETUPS = {
    "releases": releases,
    "claims": claims,
    "alarms.csv": alarms,
    "answer": answer,
    "model": model,
    "new alarms": new_alarms,
    "components.csv": components,
    "several files": several_files,
    "alarms.db": database,
    "app.log": app_log,
    "orders.jsonocel": orders,
    "traces.jsonl": traces,
    "untimed.csv": untimed,
    "local-times.csv": local_times,
    "steps.csv": steps,
    "truth.parquet": truth,
    "incident": incident,
}
