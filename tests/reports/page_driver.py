"""Results for the page in a browser, and what the tests do to it."""

import math

import polars as pl

import sequela as sq
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.summary import SummaryGraph

NASTY = '<img src=x onerror="window.hacked=1">|</script><script>window.hacked=1</script>|x'


NASTY_COMPONENT = '<img src=x onerror="window.hacked=1">'


def shown(name):
    """A name as the page shows it."""
    return name.replace("|", " ")


def summary():
    """Three components a name; c1 causes c2 and c3, which cause c4."""
    names = ["pump|10|warn", "pump|11|warn", "fan|20|info", "fan|21|info", NASTY]
    rows = [
        (names[0], names[1], 40, 10, 1.2, 0.50, 20.0, 1.0),
        (names[0], names[2], 30, 9, 2.5, 0.40, 12.0, 0.7),
        (names[1], names[3], 20, 8, 1.0, 0.30, 6.0, -0.9),
        (names[2], names[3], 10, 7, 5.0, 0.20, 2.0, 0.4),
        (names[3], names[4], 5, 1, 3.0, 0.10, 0.5, 0.2),
    ]
    edges = pl.DataFrame(
        rows,
        schema=["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats"],
        orient="row",
    )
    return SummaryGraph(edges, pl.DataFrame({"event": names, "count": [100, 60, 50, 40, 5]}))


def rows_of(page):
    return page.eval_on_selector_all("#links tbody tr", "rows => rows.map(r => [...r.cells].map(c => c.textContent))")


def drawn(page):
    """Nodes and edges in the picture."""
    return page.evaluate(
        """() => {
            const cy = document.getElementById("graph")._cyreg.cy;
            const edges = cy.edges().map(e => [e.source().data("label"), e.target().data("label")]);
            return [cy.nodes().map(n => n.data("label")).sort(), edges];
        }"""
    )


def settle(page):
    """Wait until the page has drawn what was asked for."""
    page.evaluate("() => new Promise(d => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(d))))")


def tap(page, what):
    """Tap something in the picture; nothing is handed back, for that would be the whole graph."""
    page.evaluate(f"() => {{ document.getElementById('graph')._cyreg.cy.{what}.emit('tap') }}")


def slide(page, id, value):
    page.eval_on_selector(
        f"#{id}", "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
    )
    settle(page)


def graph_page(open_page, graph=None, **options):
    """Open the graph with all its links, also the less likely and those of one case."""
    page = open_page(summary() if graph is None else graph, tab="types", **options)
    for box in ("less", "single"):
        if page.is_visible(f"#{box}"):
            page.check(f"#{box}")
    settle(page)
    return page


def population(**more):
    base = {
        "support_cases": 9, "support": 20, "lag": 1, "cmi_low_nats": 0.1, "cmi_high_nats": math.inf,
        "pointwise_nats": 0.5, "log10_e": 3.0, "mark": None,
    } | more  # fmt: skip
    pairs = [
        base | {"cause": "a", "effect": "b", "cmi_nats": 0.3, "q_value": 0.001, "is_edge": True},
        base | {"cause": "b", "effect": "c", "cmi_nats": 0.2, "q_value": 0.04, "is_edge": True, "mark": "uncertain: x"},
        base | {"cause": "c", "effect": "a", "cmi_nats": 0.1, "q_value": 0.5, "is_edge": False},
    ]
    nodes = pl.DataFrame({"event": ["a", "b", "c"], "count": [3, 2, 1]})
    extra = {key: pl.Series([value]).dtype for key, value in more.items() if key not in POPULATION_SCHEMA}
    schema = {**POPULATION_SCHEMA, **extra}
    return PopulationGraph(pl.DataFrame(pairs, schema=schema), nodes, {"arguments": {"fdr": 0.05, "delta": 0.1}})


# One log of four cases, by hand; b and d of car 2 happen at one time.
NAMES = {
    "a": "CAM|B2A10",
    "b": "ACC|C1A00",
    "c": "LKA|C1B02",
    "d": "GW|U0100",
    "x": "BODY|a long remark of a driver, whole",
}


NEW_YEAR = 1.7e9


def discovery():
    logs = {
        "car 1": ("abcx", (0, 10, 12, 500), [(0, 1, 1.0, 0.9, True), (1, 2, 2.0, 0.8, True)]),
        "car 2": (
            "xabd", (0, 90_000, 90_010, 90_010),
            [(1, 2, 1.0, 0.9, True), (2, 3, 1.0, 0.5, False), (0, 3, -1.0, 0.2, True)],
        ),
        "car 3": ("xd", (0, 1), []),
        "car 4": ("abc", (0, 10, 14), [(0, 1, 1.0, 0.9, True), (1, 2, 2.0, 0.8, True)]),
    }  # fmt: skip
    events = [
        (case, i, NAMES[key], NEW_YEAR + times[i])
        for case, (keys, times, _) in logs.items()
        for i, key in enumerate(keys)
    ]
    edges = [
        (case, i, j, NAMES[keys[i]], NAMES[keys[j]], j - i, directed, 0.3, 0.01, gain, confidence)
        for case, (keys, _, rows) in logs.items()
        for i, j, gain, confidence, directed in rows
    ]
    schema = {"case": pl.String, **INSTANCE_SCHEMA, "confidence": pl.Float64}
    events = pl.DataFrame(events, schema=["case", "position", "event", "time"], orient="row")
    nodes = events.group_by("event").len("count").with_columns(pl.col("count").cast(pl.Int64)).sort("event")
    run = {"arguments": {"context": 0, "horizon": 3}, "counts": {"n_cases": 4}, "log": {"source": "cars.csv"}}
    return sq.Discovery(pl.DataFrame(edges, schema=schema, orient="row"), nodes, run, events)


def case_graph():
    edges = [(0, 2, 1.0), (1, 2, 3.0), (2, 3, 1.0), (1, 3, 1.0), (3, 5, 0.5), (4, 5, -0.5)]
    rows = [(c, e, f"e{c}", f"e{e}", e - c, True, 0.1 * (e + 1), 0.01, g) for c, e, g in edges]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    times = tuple(1.7e9 + offset for offset in (0.0, 2.0, 3.0, 8000.0, 8001.0, 8002.0))
    return InstanceGraph("7", tuple(f"e{i}" for i in range(6)), table, times, n_tested=15)
