"""Traces of OpenTelemetry and Jaeger: written by the real SDK, read as events; what is odd about them is counted."""

import gzip
import json
import random

import polars as pl
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.errors import LogFormatError, SequelaError
from sequela.events.readers import json_elements, spans

SECOND = 1_000_000_000
BEGIN = 1_790_000_000 * SECOND


class Kept(SpanExporter):
    """Keeps what the SDK exports."""

    def __init__(self):
        self.spans = []

    def export(self, spans):
        self.spans += spans
        return SpanExportResult.SUCCESS


def exported(n_traces=3):
    """Return what the SDK exports for some requests: web calls db, which fails in the second; one link."""
    kept, tracers = Kept(), {}
    for service in ("web", "db"):
        resource = Resource({"service.name": service, "service.instance.id": f"{service}-1"})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        tracers[service] = provider.get_tracer("test")
    linked = []
    for i in range(n_traces):
        now = BEGIN + i * SECOND
        root = tracers["web"].start_span("GET /buy", kind=SpanKind.SERVER, start_time=now, links=linked)
        inside = set_span_in_context(root)
        child = tracers["db"].start_span("SELECT", context=inside, kind=SpanKind.CLIENT, start_time=now + 1000)
        if i == 1:
            child.set_status(Status(StatusCode.ERROR, "gone"))
            root.set_attribute("http.response.status_code", 503)
            root.set_status(Status(StatusCode.ERROR))
        if i == 2:
            root.set_attribute("http.response.status_code", 404)
        child.end(now + 2000)
        root.end(now + 3000)
        linked = [Link(root.get_span_context())]
    return encode_spans(kept.spans)


def as_dict(request):
    """Return a request in the JSON of the protocol: identifiers in hexadecimal digits, numbers for names."""
    found = MessageToDict(request, use_integers_for_enums=True)
    message = iter([s for r in request.resource_spans for c in r.scope_spans for s in c.spans])
    for resource in found["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span, real in zip(scope["spans"], message, strict=False):
                span["traceId"], span["spanId"] = real.trace_id.hex(), real.span_id.hex()
                if "parentSpanId" in span:
                    span["parentSpanId"] = real.parent_span_id.hex()
    return found


def as_jaeger(request):
    """Return the same spans as Jaeger's interface gives them."""
    traces = {}
    for resource in request.resource_spans:
        about = {each.key: each.value.string_value for each in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            identifier = span.trace_id.hex()
            trace = traces.setdefault(identifier, {"traceID": identifier, "spans": [], "processes": {}})
            name = about["service.name"]
            tags = [{"key": "service.instance.id", "type": "string", "value": about["service.instance.id"]}]
            trace["processes"][name] = {"serviceName": name, "tags": tags}
            above = [("CHILD_OF", identifier, span.parent_span_id)] if span.parent_span_id else []
            above += [("FOLLOWS_FROM", each.trace_id.hex(), each.span_id) for each in span.links]
            codes = [each.value.int_value for each in span.attributes]
            trace["spans"].append({
                "traceID": identifier, "spanID": span.span_id.hex(), "operationName": span.name, "processID": name,
                "startTime": span.start_time_unix_nano // 1000,
                "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
                "references": [{"refType": k, "traceID": t, "spanID": s.hex()} for k, t, s in above],
                "tags": [{"key": "span.kind", "value": {2: "server", 3: "client"}[span.kind]}]
                + [{"key": "http.response.status_code", "value": code} for code in codes]
                + [{"key": "error", "value": True}] * (span.status.code == 2),
            })  # fmt: skip
    return {"data": list(traces.values()), "total": 0, "errors": None}


def framed(request):
    """Return one message for each resource, each after its length."""
    content = b""
    for resource in request.resource_spans:
        part = type(request)(resource_spans=[resource]).SerializeToString()
        content += len(part).to_bytes(4, "big") + part
    return content


def lines(request):
    parts = as_dict(request)["resourceSpans"]
    return "".join(json.dumps({"resourceSpans": [part]}) + "\n" for part in parts).encode()


WAYS = {
    "spans.json": lambda request: json.dumps(as_dict(request), indent=2).encode(),
    "spans.jsonl": lines,
    "lines.json": lines,
    "spans.otlp": lambda request: request.SerializeToString(),
    "framed.otlp": framed,
    "spans.otlp.gz": lambda request: gzip.compress(framed(request)),
    "jaeger.json": lambda request: json.dumps(as_jaeger(request)).encode(),
}


@pytest.fixture(scope="module")
def request_():
    return exported()


@pytest.mark.parametrize("name", WAYS)
def test_the_sdk_writes_and_we_read(request_, tmp_path, name):
    (tmp_path / name).write_bytes(WAYS[name](request_))
    log = sq.read_log(tmp_path / name)
    assert (log.n_cases, log.n_events) == (3, 6)
    assert sorted(log.frame["event"]) == [
        "db|SELECT|error", "db|SELECT|ok", "db|SELECT|ok", "web|GET /buy|404", "web|GET /buy|error 503",
        "web|GET /buy|ok",
    ]  # fmt: skip
    assert log.columns["state"] == "outcome"
    assert sorted(log.frame["time"])[0] == BEGIN // SECOND + 2e-6  # the end of the first span
    assert sorted(sq.read_log(tmp_path / name, time="start").frame["time"])[0] == BEGIN // SECOND
    assert log.notes == (
        "2 links to other spans are no parents and were left out",
        "no operation has 100 spans, so none is called slow",
    )
    found = sq.read_spans(tmp_path / name)
    assert found.services().rows() == [("web", "db")]
    rows = found.frame.sort("start").select("service", "instance", "kind", "status", "n_links", "duration_ms").rows()
    assert rows[0] == ("web", "web-1", "server", "unset", 0, 0.003)
    assert rows[3] == ("db", "db-1", "client", "error", 0, 0.001)


def span(trace, span_id, parent="", start=0, length=10, service="s", **more):
    """Return a span in the JSON of OTLP, as a document of its own."""
    found = {"traceId": trace, "spanId": span_id, "parentSpanId": parent, "name": "op", **more}
    found |= {"startTimeUnixNano": str(BEGIN + start), "endTimeUnixNano": str(BEGIN + start + length)}
    about = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": about, "scopeSpans": [{"spans": [found]}]}]}


def put(folder, *documents, name="spans.jsonl"):
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in documents))
    return folder / name


def test_what_is_odd_is_counted(tmp_path):
    path = put(
        tmp_path,
        span("t", "a", length=100), span("t", "a", length=100), span("t", "b", "lost"), span("t", "c", "a", start=-5),
        span("t", "d", "a", start=500), span("t", "e", "a", length=-3), span("u", "f", "g"), span("u", "g", "f"),
        span("v", "h", links=[{"traceId": "t", "spanId": "a"}] * 3), span("v", "i", "h"),
    )  # fmt: skip
    log = sq.read_log(path)
    assert log.n_events == 9
    assert log.notes[:-2] == (  # then what is slow, and to what times are kept
        "1 spans repeat an identifier and were left out",
        "1 spans name a parent that is not there; they count as roots",
        "1 traces have several roots",
        "1 traces have no root: their parents form a circle",
        "1 spans begin before their parent does (clocks that differ)",
        "1 spans begin after their parent has ended (asynchronous)",
        "1 spans end before they begin",
        "3 links to other spans are no parents and were left out",
    )


def test_slow_is_learned_over_all_files_and_kept(tmp_path):
    """The limit is that of all files together, and a new log is held against it, not against itself."""
    durations = [*range(1, 121)]
    documents = [span(f"t{i // 2}", f"s{i}", length=each * 1_000_000) for i, each in enumerate(durations)]
    paths = [put(tmp_path, *documents[i::2], name=f"{i}.jsonl") for i in (0, 1)]
    log = sq.read_log(paths)
    limit = pl.Series([float(each) for each in durations]).quantile(spans.SLOW, "higher")
    slow = log.frame.filter(pl.col("event") == "s|op|slow").height
    assert slow == sum(each > limit for each in durations) == 1
    assert log.columns["learned"] == {"slow_ms": [["s", "op", limit]]}
    assert log.notes[-1].startswith("slow is a span above the 99% quantile of its own operation (1 operations have one")
    new = put(tmp_path, span("x", "1", length=130_000_000), span("x", "2", length=5), name="new.jsonl")
    assert sorted(sq.read_log(new).events) == ["s|op|ok", "s|op|ok"]
    assert sorted(sq.read_log(new, like=log).events) == ["s|op|ok", "s|op|slow"]


def test_a_model_keeps_the_limits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documents = [span(f"t{i // 4}", f"s{i}", start=i, length=i + 1, name="ab"[i % 2]) for i in range(400)]
    put(tmp_path, *documents)
    run = CliRunner()
    told = run.invoke(app, ["fit", "spans.jsonl", "--out", "model", "--max-steps", "2", "--min-count", "1"])
    assert told.exit_code == 0, told.output
    assert "note: slow is a span above" in told.output
    new = [span("x", str(i), start=i, length=length, name="a") for i, length in enumerate((10**9, 1))]
    put(tmp_path, *new, name="new.jsonl")
    model = sq.load_density("model")
    assert sorted(sq.read_log("new.jsonl", like=model).events) == ["s|a|ok", "s|a|slow"]
    told = run.invoke(app, ["discover", "model", "new.jsonl", "--out", "found"])
    assert told.exit_code == 0, told.output
    assert "s|a|slow" in pl.read_parquet("found/events.parquet")["event"].to_list()


def test_the_topology_of_services(tmp_path):
    rows = [
        ("t", "a", "", "web"),
        ("t", "b", "a", "shop"),
        ("t", "c", "b", "shop"),
        ("t", "d", "c", "db"),
        ("u", "d", "", "db"),
    ]
    put(tmp_path, *(span(*row[:3], service=row[3]) for row in rows))
    words = ["services", str(tmp_path / "spans.jsonl"), "--out", str(tmp_path / "services.csv")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert (tmp_path / "services.csv").read_text() == "service,neighbour\nshop,db\nweb,shop\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.json", b'{"rows": []}', "begins with 'rows'"),
        ("x.json", b"[1]", "is no JSON of OpenTelemetry"),
        ("x.otlp", b"{}", "neither JSON nor"),
        ("x.otlp", b'{"resourceSpans": []}', "holds no span"),
        ("x.jaeger", b'{"data": []}', "holds no span of Jaeger"),
        ("x.json", b'{"resourceSpans": [', "ends within a value"),
        ("x.json", b'{"resourceSpans": [{}]} 7', "stands beside"),
        ("x.json", b'{"resourceSpans": [{}],,"a":[]}', "is no JSON"),
        ("x.json", b'{"resourceSpans": [{} {}]}', "beside spans"),
        ("x.json", b'{"resourceSpans": [{}], "resourceLogs": [{}]}', "holds 'resourceLogs' beside spans"),
        ("x.json", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}', "traceId"),
        ("x.json", b'{"resourceSpans": [{"scopeSpans": 3}]}', "scopeSpans"),
        ("x.json", b'{"resourceSpans": [-1{}]}', "beside spans|is no JSON"),
        ("x.json", b'{"resourceSpans": [{}2]}', "is no JSON"),
        ("x.json", b'{"resourceSpans": [}', "brackets|closes|is no JSON|ends within"),
        ("x.json", b'{"resourceSpans": ' + b"[" * 100_000, "more than 500 brackets"),
        (
            "x.json",
            b'{"data": [{"traceID": "t", "spans": [{"spanID": "a", "startTime": 0, "duration": 1}]}]}',
            "no start",
        ),
        ("x.json", b'{"data": [], "errors": [{"code": 1}]}', "holds 'errors' beside"),
        ("x.otlp", b"\x00\x00\x00\x05\x0a\x03abc\x00", "cut|cannot be read"),
        ("x.otlp", b"\x00\xff\xff\xff", "cut"),
        ("x.otlp", b"\xff" * 50, "neither JSON nor"),
    ],
)
def test_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LogFormatError, match=said):
        sq.read_log(tmp_path / name)


def test_spans_without_identifiers_or_times(tmp_path):
    for broken, said in (
        ({"traceId": ""}, "no identifier"),
        ({"name": "x", "endTimeUnixNano": 0}, "no start or no end"),
    ):
        document = span("t", "a")
        document["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= broken
        with pytest.raises(LogFormatError, match=said):
            sq.read_log(put(tmp_path, document))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
def test_elements_are_those_of_a_whole_parser(tmp_path, monkeypatch, block):
    """However the blocks fall, also within a text, an escape or a bracket."""
    from sequela.events.readers import source

    monkeypatch.setattr(source, "_BLOCK", block)
    documents = [
        {
            "a": [{"x": '[{"}\\'}, {"é\\": [[1], {}]}],
            'k"]{': "\\\\",
            "b": [],
            "c": [[2], {"d": 3}, 1],
            "e": {"f": {"g": 1}},
        },
        {"b": [[]], "a": [{"\\u005b": "\\"}]},
    ]
    path = tmp_path / "x.json"
    for indent in (None, 1):
        path.write_text(" \n".join(json.dumps(each, indent=indent, ensure_ascii=False) for each in documents))
        found = list(json_elements.elements(source.open_source(path, None, [".json"])))
        wanted = [
            (key, element)
            for each in documents for key, array in each.items() if isinstance(array, list)
            for element in array if isinstance(element, dict | list)
        ]  # fmt: skip
        wanted.insert(4, ("", {"g": 1}))
        assert [(key, json.loads(raw)) for key, raw in found] == wanted


def test_damaged_files_are_read_or_refused(request_, tmp_path):
    rng = random.Random(3)
    found = {"read": 0, "refused": 0}
    for i in range(200):
        name = rng.choice(list(WAYS))
        content = bytearray(WAYS[name](request_))
        for _ in range(rng.choice([1, 1, 5])):
            place = rng.randrange(len(content))
            if i % 2:
                content[place] = rng.randrange(256)
            else:
                del content[place : place + rng.choice([1, 20])]
        (tmp_path / name).write_bytes(content)
        try:
            log = sq.read_log(tmp_path / name)
        except SequelaError as error:
            found["refused"] += str(error).isprintable()
        else:
            found["read"] += log.n_events <= 6
    assert sum(found.values()) == 200
    assert found["refused"] > 50
