"""The page in a real browser: clicked, filtered, searched, expanded, downloaded; its numbers against the tables."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from browser import find_browser, opened

import sequela as sq
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.outcomes import OutcomeGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.schemas import OUTCOME_CAUSES, OUTCOME_PAIRS, OUTCOME_SETS
from sequela.graphs.summary import SummaryGraph

AXE = Path(__file__).parents[2] / ".cache/axe.min.js"
NASTY = '<img src=x onerror="window.hacked=1">|</script><script>window.hacked=1</script>|x'
NASTY_COMPONENT = '<img src=x onerror="window.hacked=1">'


def shown(name):
    """A name as the page shows it."""
    return name.replace("|", " ")


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright", reason="playwright is not installed: the page is not tested in a browser")
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium found: the page is not tested in a browser (install the package chromium)")
    with opened(found) as running:
        yield running


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page offline; fail when it logs an error or asks for anything."""
    contexts, problems = [], []

    def open_one(result, *, tab=None, settings=None, width=1300, **options):
        path = sq.report(result, tmp_path / "page.html", **(settings or {}))
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: problems.append(request.url) if request.url[:5] not in ("file:", "blob:") else None,
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        if tab:
            page.click(f"#tab-{tab}")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


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


def test_default_graph_leaves_out_inhibiting_links_and_those_of_one_case(open_page):
    page = open_page(summary(), tab="types")
    assert [row[1] for row in rows_of(page)] == ["pump 11 warn", "fan 20 info", "fan 21 info"]
    assert "1 link that makes its effect less likely is hidden" in page.inner_text("#basis")
    assert "no evidence over cases" in page.inner_text("#basis")
    assert page.inner_text("#less-name") == "less likely (1)"
    assert page.inner_text("#single-name") == "seen in one case only (1)"
    page.check("#less")
    settle(page)
    assert len(rows_of(page)) == 4
    page.check("#single")
    settle(page)
    assert len(rows_of(page)) == 5


def test_table_and_picture_show_the_edges(open_page):
    graph = summary()
    page = graph_page(open_page)
    found = rows_of(page)
    expected = [(shown(a), shown(b)) for a, b in graph.edges.select("cause", "effect").iter_rows()]
    assert [(row[0], row[1]) for row in found] == expected
    assert [float(row[3]) for row in found] == graph.edges["cmi_nats_total"].to_list()
    nodes, edges = drawn(page)
    assert nodes == sorted(map(shown, graph.nodes["event"]))
    assert sorted(map(tuple, edges)) == sorted(expected)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_causes_stand_left_and_names_are_whole(open_page):
    page = graph_page(open_page)
    cy = "document.getElementById('graph')._cyreg.cy"
    forward = page.evaluate(
        f"{cy}.edges().map(e => [e.source().position('x') < e.target().position('x'), e.style('target-arrow-shape')])"
    )
    assert forward == [[True, "triangle"]] * 5
    texts = page.evaluate(f"{cy}.nodes().map(n => [n.data('label'), n.data('text').replaceAll('\\n', '')])")
    assert all(label.replace(" ", "") == text.replace(" ", "") for label, text in texts)
    boxes = page.evaluate(f"{cy}.nodes().map(n => n.boundingBox()).map(b => [b.x1, b.y1, b.x2, b.y2])")
    for i, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_components_have_colours_and_a_legend(open_page):
    page = graph_page(open_page)
    keys = page.eval_on_selector_all(
        "#legend li", "all => all.map(li => [li.textContent, li.firstChild.style.background])"
    )
    assert {text for text, _ in keys} == {"pump", "fan", NASTY_COMPONENT}
    assert len({tint for _, tint in keys}) == 3


def test_filters_and_live_counts(open_page):
    graph = summary()
    page = graph_page(open_page)
    page.click("#filter-box summary")
    slide(page, "support", 100)  # the middle of 1, 7, 8, 9, 10
    assert page.inner_text("#support-out") == "8"
    expected = graph.edges.filter(pl.col("n_cases") >= 8)
    assert [row[0] for row in rows_of(page)] == [shown(name) for name in expected["cause"]]
    assert page.inner_text("#counts").startswith(f"{expected.height} of 5 links pass")
    page.uncheck("#less")
    settle(page)
    expected = expected.filter(pl.col("pointwise_nats") >= 0)
    assert len(rows_of(page)) == expected.height == len(drawn(page)[1])
    slide(page, "lag", 50)
    assert page.inner_text("#lag-out") == "1.2"
    assert [row[1] for row in rows_of(page)] == ["pump 11 warn"]
    page.click("#reset")
    settle(page)
    assert len(rows_of(page)) == 3
    page.select_option("#measure", "cmi_nats")
    settle(page)
    slide(page, "strength", 150)
    assert page.inner_text("#strength-out") == "0.4"
    assert len(rows_of(page)) == 2


def test_only_the_strongest_are_drawn_and_the_page_says_so(open_page):
    page = graph_page(open_page)
    page.click("#filter-box summary")
    page.fill("#limit", "2")
    settle(page)
    assert len(drawn(page)[1]) == 2
    assert "the strongest 2 are drawn" in page.inner_text("#counts")
    assert len(rows_of(page)) == 5
    page.click("#links tbody tr:last-child td:first-child button")  # a link that is not drawn is drawn when picked
    assert len(drawn(page)[1]) == 3


def many_links(n_types=600, n_links=5000):
    names = [f"unit{i % 20:02d}|{i:04d}" for i in range(n_types)]
    rows = [
        (i % n_types, (i * 7 + i // n_types + 1) % n_types, 3 + i % 5, 2 + i % 3, 1.5, 0.1, 1 / (1 + i), 0.3)
        for i in range(n_links)
    ]
    edges = pl.DataFrame(
        [(names[a], names[b], *rest) for a, b, *rest in rows if a != b],
        schema=["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats"],
        orient="row",
    )  # fmt: skip
    return SummaryGraph(edges, pl.DataFrame({"event": names, "count": [5] * n_types}))


def test_five_thousand_links_are_capped_or_grouped_and_never_take_seconds(open_page):
    page = open_page(many_links(), tab="types")
    assert len(drawn(page)[1]) == 40
    assert "the strongest 40 are drawn" in page.inner_text("#counts")
    assert "group by component to see the whole" in page.inner_text("#counts")
    page.click("#filter-box summary")
    limit = "(v) => { const i = document.getElementById('limit'); i.value = v; const t = performance.now();"
    limit += " i.dispatchEvent(new Event('input', {bubbles: true}));"
    limit += " return new Promise(d => requestAnimationFrame(() => setTimeout(() => d(performance.now() - t)))) }"
    assert page.evaluate(limit, 99999) < 8000  # a slow machine; about one second on a quiet one
    assert len(drawn(page)[1]) == 250
    page.select_option("#level", "1")
    nodes, _ = drawn(page)
    assert nodes == sorted(f"unit{i:02d}" for i in range(20))


def test_sort_filter_and_pages_of_the_table(open_page):
    page = graph_page(open_page)
    page.click("th[data-key=mean_lag] button")
    assert [float(row[5]) for row in rows_of(page)] == [5.0, 3.0, 2.5, 1.2, 1.0]
    assert page.get_attribute("th[data-key=mean_lag]", "aria-sort") == "descending"
    page.click("th[data-key=mean_lag] button")
    assert [float(row[5]) for row in rows_of(page)] == [1.0, 1.2, 2.5, 3.0, 5.0]
    page.click("th[data-key=cause] button")
    assert [row[0] for row in rows_of(page)] == [shown(name) for name in sorted(summary().edges["cause"])]
    for words in ("PUMP|11", "pump 11"):
        page.fill("#words", words)
        assert len(rows_of(page)) == 2


def test_picking_links_table_and_picture(open_page):
    page = graph_page(open_page)
    page.click("#links tbody tr:nth-child(3) td:first-child button")
    assert "pump 11 warn → fan 21 info" in page.inner_text("#details")
    assert "less likely" in page.inner_text("#details")
    picked = "document.getElementById('graph')._cyreg.cy.edges('.picked').map(e => e.target().data('label'))"
    assert page.evaluate(picked) == ["fan 21 info"]
    tap(page, "edges()[3]")
    target = page.evaluate("document.getElementById('graph')._cyreg.cy.edges()[3].target().data('label')")
    assert page.inner_text("#links tr.picked td:nth-child(2)") == target


def test_search_focus_and_keys(open_page):
    page = graph_page(open_page)
    page.fill("#search", "fan|21")
    page.press("#search", "Enter")
    assert page.inner_text("#details .name") == "fan 21 info"
    assert "Causes (2)" in page.inner_text("#details")
    page.click("#focus")
    nodes, _ = drawn(page)
    assert len(nodes) == 5  # two steps around it
    x = "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.data('label'), Math.sign(n.position('x'))])"
    assert dict(page.evaluate(x)) == {
        "pump 10 warn": -1, "pump 11 warn": -1, "fan 20 info": -1, "fan 21 info": 0, shown(NASTY): 1,
    }  # fmt: skip
    page.fill("#hops", "1")
    settle(page)
    assert len(drawn(page)[0]) == 4
    page.focus("#graph")
    page.keyboard.press("ArrowLeft")  # its strongest cause
    assert page.inner_text("#details .name") == "pump 11 warn"
    page.keyboard.press("Escape")
    assert len(drawn(page)[0]) == 5
    assert page.is_hidden("#focus-tools")


def test_collapse_and_expand_by_components(open_page):
    page = graph_page(open_page)
    page.select_option("#level", "1")
    nodes, edges = drawn(page)
    assert nodes == sorted([NASTY_COMPONENT, "fan", "pump"])
    assert sorted(map(tuple, edges)) == [("fan", NASTY_COMPONENT), ("pump", "fan")]
    assert "merged into 2 by components" in page.inner_text("#counts")
    tap(page, "nodes('[label=\"pump\"]')")
    assert "160 events of 2 types" in page.inner_text("#details")
    page.click("#expand")
    assert drawn(page)[0] == sorted([NASTY_COMPONENT, "fan", "pump 10", "pump 11"])
    tap(page, "nodes('[label=\"pump 10\"]')")
    page.click("#details .collapse")
    assert "pump" in drawn(page)[0]


def test_downloads(open_page):
    graph = summary()
    page = graph_page(open_page)
    page.click("th[data-key=cmi_nats] button")
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    assert [(row["cause"], row["effect"]) for row in rows] == list(graph.edges.select("cause", "effect").iter_rows())
    assert [float(row["cmi_nats"]) for row in rows] == graph.edges["cmi_nats"].to_list()
    with page.expect_download() as download:
        page.click("#png")
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with page.expect_download() as download:
        page.click("#svg")
    text = download.value.path().read_text(encoding="utf-8")
    assert text.count('class="node"') == 5
    assert text.count("<path") == 5
    assert "<img" not in text


def test_spreadsheet_formulas_are_defused(open_page):
    rows = [("=1+1", "-2", 1, 1, 1.0, 0.1, 0.1, -0.5)]
    names = ["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats"]
    page = graph_page(
        open_page,
        SummaryGraph(
            pl.DataFrame(rows, schema=names, orient="row"), pl.DataFrame({"event": ["=1+1", "-2"], "count": [1, 1]})
        ),
    )
    with page.expect_download() as download:
        page.click("#csv")
    (row,) = csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines())
    assert (row["cause"], row["effect"], row["pointwise_nats"]) == ("'=1+1", "'-2", "-0.5")


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


def test_population_filters_by_q_and_shows_other_pairs_on_request(open_page):
    page = open_page(population(), tab="types")
    assert len(rows_of(page)) == 2
    page.check("#candidates")
    settle(page)
    assert len(rows_of(page)) == 3
    page.click("#filter-box summary")
    slide(page, "q", 0)
    assert [row[0] for row in rows_of(page)] == ["a"]
    slide(page, "q", 200)
    page.click("#links tbody tr:nth-child(2) td:first-child button")
    assert "uncertain: x" in page.inner_text("#details")


def test_findings_of_a_graph_without_cases_are_its_links(open_page):
    page = open_page(population(confidence=0.75))
    assert page.inner_text("#answer") == "a → b is the strongest link."
    cards = page.eval_on_selector_all("#roots-of-log .card", "all => all.map(card => card.innerText)")
    assert len(cards) == 2
    assert "confidence 0.75" in cards[0]
    assert page.is_hidden("#tab-cases")
    page.click("#roots-of-log .card:nth-child(2) .show-graph")
    assert page.inner_text("#details .name") == "b"


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


def test_opens_on_the_root_causes(open_page):
    page = open_page(discovery())
    assert page.is_visible("#findings")
    assert page.inner_text("#answer") == "CAM B2A10 is the root cause of all 5 events that have a cause."
    (card,) = page.eval_on_selector_all("#roots-of-log .card", "all => all.map(card => card.innerText)")
    assert card.startswith("1")
    assert "CAM B2A10 → ACC C1A00 → LKA C1B02" in card.replace("\n", " ").replace("  ", " ")
    assert "in 3 of 4 cases" in card
    assert "explains 5 of 5 later events" in card
    assert "confidence 0.72" in card  # 0.9 of a -> b, 0.8 of b -> c
    box = page.locator("#roots-of-log .card").bounding_box()
    assert box["y"] + box["height"] < 450  # the answer is on the first screen
    assert page.locator(".badge").inner_text() == "Trust: fair"
    assert page.is_hidden(".trust .columns")
    page.click("#trust summary")
    assert "never taken for a cause" in page.inner_text(".trust .columns")


def test_from_a_finding_to_the_graph_and_to_an_example(open_page):
    page = open_page(discovery())
    page.click(".show-graph")
    assert page.is_visible("#types")
    assert page.inner_text("#details .name") == "CAM B2A10"
    assert page.evaluate("document.activeElement.id") == "graph"
    page.click("#tab-findings")
    page.click(".show-case")
    assert page.inner_text("#case-name") == "car 4"  # the shortest case with the whole chain
    assert page.inner_text(".event.picked") == "LKA C1B02"


def test_a_case_opens_with_its_story(open_page):
    page = open_page(discovery(), tab="cases")
    assert page.inner_text("#case-name") == "car 1"
    story = "LKA C1B02 (22:13:32) was caused by CAM B2A10 → ACC C1A00 (confidence 0.72)."
    assert " ".join(page.inner_text("#story").split()) == story
    assert page.locator("#arcs .arc").count() == 2
    assert page.locator("#arcs .arc.main").count() == 2
    labels = page.eval_on_selector_all(
        "#events .label", "all => all.map(label => [label.innerText, label.scrollWidth <= label.clientWidth + 1])"
    )
    assert labels[-1] == [shown(NAMES["x"]), True]
    page.click('.event[data-position="3"]')
    assert "BODY a long remark of a driver, whole (22:21:40) has no known cause in this log" in page.inner_text(
        "#story"
    )


def test_events_at_one_time_stand_together_and_undirected_edges_have_no_head(open_page):
    page = open_page(discovery(), tab="cases")
    page.click("#case-items li:nth-child(3) button")
    assert page.inner_text("#case-name") == "car 2"
    assert page.inner_text(".moment.together").split("\n")[-2:] == ["ACC C1A00", "GW U0100"]
    heads = page.eval_on_selector_all(
        "#arcs .arc", "all => all.map(arc => [arc.dataset.edge, arc.hasAttribute('marker-end')])"
    )
    assert sorted(heads) == [["0", True], ["2", False]]  # rows by effect, then cause; row 1 is hidden
    page.click('.event[data-position="3"]')
    story = " ".join(page.inner_text("#story").split())
    assert "GW U0100" in story
    assert story.endswith("Linked at the same time, direction not known: ACC C1A00.")
    assert "At the same time, direction not known" in page.inner_text("#case-details")
    assert "Direct causes (0)" in page.inner_text("#case-details")
    assert page.locator("#arcs .arc.on").count() == 1
    page.click('.event[data-position="2"]')
    assert page.inner_text("#case-less-name") == "less likely (1)"
    page.check("#case-less")
    assert page.locator("#arcs .arc").count() == 3
    assert page.locator("#arcs .arc.less").count() == 1
    assert page.locator("#events .day").count() == 2
    page.check("#only-story")
    assert page.eval_on_selector_all("#events .event", "all => all.filter(e => e.offsetParent).length") == 3


def test_tooltips_cover_nothing(open_page):
    page = open_page(discovery(), tab="cases")
    at = page.evaluate(
        """() => {
            const path = document.querySelectorAll("#arcs .hit")[1];
            const point = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM());
            return [point.x, point.y];
        }"""
    )
    page.mouse.move(*at)
    words = page.inner_text("#case-readout")
    assert (
        words
        == "ACC C1A00 → LKA C1B02: 7.39 times more likely; strength 0.3 ± 0.01 nats; lag 1 tick, 2 s; confidence 0.8"
    )
    floating = "[...document.querySelectorAll('main *')].filter(e => getComputedStyle(e).position === 'fixed').length"
    assert page.evaluate(floating) == 0


def test_every_case_is_found_by_name_event_and_root_cause(open_page):
    page = open_page(discovery(), tab="cases")
    titles = lambda: page.eval_on_selector_all("#case-items .case-title", "all => all.map(one => one.innerText)")  # noqa: E731
    assert titles() == ["car 1", "car 4", "car 2", "car 3"]
    assert page.inner_text("#case-found") == "All 4 cases are in this page."
    page.fill("#case-find", "R 3")
    assert titles() == ["car 3"]
    page.fill("#case-find", "GW|U0100")
    assert titles() == ["car 2", "car 3"]
    page.select_option("#case-field", "root")
    assert titles() == []
    page.fill("#case-find", "cam")
    assert titles() == ["car 1", "car 4", "car 2"]
    page.fill("#case-find", "")
    page.focus("#case-items [aria-current]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#case-name") == "car 4"
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.inner_text("#case-name") == "car 1"
    page.click("#case-next")
    assert page.inner_text("#case-name") == "car 4"
    page.click("#case-items li:nth-child(4) button")
    assert "No event of this case has a cause" in page.inner_text("#story")


def test_the_page_says_how_many_cases_it_embeds(open_page):
    page = open_page(discovery(), tab="cases", settings={"max_megabytes": 0.0005})
    assert page.inner_text("#case-found").startswith("This page embeds 1 of 4 cases; sequela serve has all.")


def test_anonymous_page(open_page):
    page = open_page(discovery(), tab="cases", settings={"anonymise": True})
    text = page.content()
    assert "car 1" not in text
    assert "cars.csv" not in text
    assert "LKA C1B02 (12 s)" in " ".join(page.inner_text("#story").split())
    assert "anonymised" in page.inner_text(".lead")


def case_graph():
    edges = [(0, 2, 1.0), (1, 2, 3.0), (2, 3, 1.0), (1, 3, 1.0), (3, 5, 0.5), (4, 5, -0.5)]
    rows = [(c, e, f"e{c}", f"e{e}", e - c, True, 0.1 * (e + 1), 0.01, g) for c, e, g in edges]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    times = tuple(1.7e9 + offset for offset in (0.0, 2.0, 3.0, 8000.0, 8001.0, 8002.0))
    return InstanceGraph("7", tuple(f"e{i}" for i in range(6)), table, times, n_tested=15)


def test_one_case_traces_an_event_to_its_roots(open_page):
    graph = case_graph()
    page = open_page(graph)
    assert page.is_visible("#cases")
    assert page.is_hidden("#case-list")
    page.check("#case-less")
    assert page.locator("#arcs .arc[data-edge]").count() == len(graph)
    found = page.eval_on_selector_all("#roots button", "all => all.map(b => [...b.children].map(c => c.textContent))")
    expected = sq.root_causes(graph, 5)
    assert [(name.split(" ")[0], float(share.removesuffix(" %")) / 100) for name, share in found] == [
        (event, pytest.approx(share, abs=1e-3)) for event, share in expected.select("event", "share").iter_rows()
    ]
    assert page.inner_text("#story").startswith(
        "e5 (2023-11-15 00:26:42) was caused by e1 → e3."
    )  # 1/2 + 3/8 of it is e1's
    assert page.locator("#arcs .arc.on").count() == 5  # all but the one that made it less likely
    assert page.locator("#arcs .arc.main").count() == 2
    assert "Direct causes (2)" in page.inner_text("#case-details")
    page.focus(".event.picked")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.inner_text("#case-details .name") == "e4"
    assert "No earlier event" in page.inner_text("#case-details")
    with page.expect_download() as download:
        page.click("#case-svg")
    text = download.value.path().read_text(encoding="utf-8")
    assert all(f">e{i}<" in text for i in range(6))


def test_an_event_at_a_neighbour_is_told_with_its_case_and_its_attributes(open_page):
    names = ("a (at a neighbour)", "b")
    edges = (
        case_graph()
        .edges.head(1)
        .with_columns(cause_position=pl.lit(0), effect_position=pl.lit(1), cause=pl.lit(names[0]), effect=pl.lit("b"))
    )
    more = pl.DataFrame({"neighbour": ["N7", None], "site": [None, "north"]})
    page = open_page(InstanceGraph("N3", names, edges.cast(INSTANCE_SCHEMA), (1.7e9, 1.7e9 + 1), attributes=more))
    page.click('.event[data-position="1"]')
    assert "was caused by a (at the neighbour N7)" in " ".join(page.inner_text("#story").split())
    assert page.locator("#case-details .attribute").all_inner_texts() == ["site: north"]
    assert page.inner_text("#roots").startswith("a (at the neighbour N7)")
    page.click('.event[data-position="0"]')
    assert page.inner_text("#story").endswith("happened in another case: what caused it is told by N7.")
    assert page.locator("#case-details .attribute").count() == 0


def test_roots_are_those_of_the_library_also_within_a_tick(open_page):
    """Edges within a tick may go against the order of rows, have no direction, or form cycles."""
    rng = np.random.default_rng(4)
    ticks = [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]
    rows = [
        (i, j, f"e{i}", f"e{j}", ticks[j] - ticks[i], ticks[i] < ticks[j] or rng.random() < 0.6, 0.1, 0.01, gain)
        for i in range(10)
        for j in range(10)
        if i != j and ticks[i] <= ticks[j] and rng.random() < 0.35
        for gain in [float(rng.uniform(-0.3, 1))]
    ]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    graph = InstanceGraph("1", tuple(f"e{i}" for i in range(10)), table, tuple(map(float, ticks)))
    assert (table["cause_position"] > table["effect_position"]).any()
    page = open_page(graph)
    explained = 0
    for position in range(10):
        page.click(f'.event[data-position="{position}"]')
        found = page.eval_on_selector_all("#roots button", "all => all.map(b => [...b.children].map(c => c.innerText))")
        expected = sq.root_causes(graph, position).select("event", "share").rows()
        if expected == [(f"e{position}", 1.0)]:
            assert found == []
            continue
        explained += 1
        shares = [(name.split()[0], float(share.removesuffix(" %")) / 100) for name, share in found]
        assert [name for name, _ in shares] == [event for event, _ in expected]
        assert [share for _, share in shares] == pytest.approx([share for _, share in expected], abs=1e-3)
    assert explained >= 4


def test_a_very_long_case_is_cut_and_its_story_abbreviated(open_page):
    n = 1_600
    rows = [(i, i + 1, f"e{i}", f"e{i + 1}", 1, True, 0.1, 0.01, 1.0) for i in range(n - 1)]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    page = open_page(InstanceGraph("1", tuple(f"e{i}" for i in range(n)), table))
    assert "the first 1,500 events are in this page" in page.inner_text("#case-counts")
    assert " ".join(page.inner_text("#story").split()) == (
        "e1499 was caused by e0 → e1 → e2 → e3 → … 1492 more … → e1496 → e1497 → e1498."
    )
    page.check("#only-story")
    assert page.locator("#arcs .arc.main").count() == 1_499


def test_dark_mode_and_print(open_page):
    page = graph_page(open_page, color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(back) == "rgb(18, 22, 29)"
    page.click("#theme")
    assert page.evaluate(back) == "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    page.evaluate("() => { window.dispatchEvent(new Event('beforeprint')) }")
    assert page.locator("#paper rect.node").count() == 5
    assert page.is_hidden("#graph")
    assert page.is_hidden("#filters")
    assert page.is_visible("#links")


CONTRAST = """() => {
    const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = text => {
        pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
        return pen.getImageData(0, 0, 1, 1).data;
    };
    const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const tint = rgba(getComputedStyle(e).backgroundColor);
            if (tint[3] > 250) return tint;
        }
        return [255, 255, 255];
    };
    const bad = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.checkVisibility() || e.closest("svg, .hidden, :disabled, noscript, .skip")) continue;
        const style = getComputedStyle(e);
        const [a, b] = [light(rgba(style.color)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const big = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
        if (ratio < (big ? 3 : 4.5)) bad.push([e.outerHTML.slice(0, 99), ratio]);
    }
    return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_names_of_controls(open_page, scheme):
    page = open_page(discovery(), color_scheme=scheme)
    page.click("#trust summary")
    page.click("footer summary")
    for tab in ("findings", "types", "cases"):
        page.click(f"#tab-{tab}")
        settle(page)
        assert page.evaluate(CONTRAST) == []
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=application], [role=region], aside")]
            .filter(e => !e.textContent.trim() && !e.getAttribute("aria-label"))
            .filter(e => !e.closest("label")?.textContent.trim())
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_axe_finds_nothing(open_page):
    """axe-core (MPL-2.0) is no part of Sequela: `make axe` fetches it for this test alone."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there: run make axe")
    for width, scheme in ((1300, "light"), (390, "dark")):
        page = open_page(discovery(), width=width, color_scheme=scheme)
        page.click("#trust summary")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for tab in ("findings", "types", "cases"):
            page.click(f"#tab-{tab}")
            settle(page)
            found = page.evaluate("async () => (await axe.run()).violations")
            told = [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found]
            assert told == []


def test_narrow_screen_works_with_one_hand(open_page):
    page = open_page(discovery(), width=390, has_touch=True)
    for tab in ("findings", "types", "cases"):
        page.tap(f"#tab-{tab}")
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        box = page.locator(f"#tab-{tab}").bounding_box()
        assert box["y"] > 800  # where the thumb is
        small = """() => [...document.querySelectorAll("main button, main select, main input[type=search]")]
            .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 39).map(e => e.outerHTML)"""
        assert page.evaluate(small) == []
    assert page.is_hidden("#one-case")
    page.tap("#case-items li:nth-child(1) button")
    assert page.is_hidden("#case-list")
    assert page.inner_text("#story").startswith("LKA C1B02")
    page.tap("#case-back")
    assert page.is_visible("#case-list")


def test_events_stay_where_they_are_while_filters_change(open_page):
    page = graph_page(open_page)
    nodes = "document.getElementById('graph')._cyreg.cy.nodes()"
    where = f"{nodes}.map(n => [n.data('label'), n.position('x'), n.position('y')])"
    before = page.evaluate(where)
    page.click("#filter-box summary")
    page.fill("#limit", "3")
    settle(page)
    assert len(page.evaluate(where)) == 4
    page.fill("#limit", "5")
    settle(page)
    assert page.evaluate(where) == before


def test_nothing_found_is_said(open_page):
    page = open_page(InstanceGraph("1", ("a", "b"), pl.DataFrame(schema=INSTANCE_SCHEMA), n_tested=1))
    assert page.inner_text("#case-counts").startswith("2 events, 0 of 0 edges")
    page.click('.event[data-position="1"]')
    assert "No earlier event" in page.inner_text("#case-details")
    page.click("#tab-findings")
    assert page.inner_text("#answer") == "No root cause found in this log."
    page.click("#tab-types")
    assert "0 of 0 links pass" in page.inner_text("#counts")
    assert page.inner_text("#page") == "no link passes"
    page.fill("#search", "b")
    page.press("#search", "Enter")
    assert page.inner_text("#details .name") == "b"


def test_same_page_same_picture(open_page):
    positions = (
        "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.id(), n.position('x'), n.position('y')])"
    )
    first, second = graph_page(open_page), graph_page(open_page)
    assert json.dumps(first.evaluate(positions)) == json.dumps(second.evaluate(positions))


def test_outcomes_have_a_tab(open_page):
    causes = [
        (NASTY, "<b>claim</b>", True, 0.4, 0.01, 50, 40, 9.0, 1e-6),
        ("fan", "tow", True, -0.2, 0.01, 9, 8, 3.0, 0.01),
    ]
    found = OutcomeGraph(
        pl.DataFrame(causes, schema=OUTCOME_CAUSES.schema, orient="row"),
        pl.DataFrame([("tow", ["fan", "pump"], 7, 0.9)], schema=OUTCOME_SETS.schema, orient="row"),
        pl.DataFrame([("tow", "fan", "pump", -0.3, 0.01, 12)], schema=OUTCOME_PAIRS.schema, orient="row"),
        {"<b>claim</b>": 60, "tow": 20}, 0.05, 0.02, 100, "log",
    )  # fmt: skip
    page = open_page(summary(), tab="outcomes", settings={"outcomes": found})
    assert "+40.0 %" in page.inner_text("#outcome-shown")
    assert "60 cases of 100" in page.inner_text("#outcome-shown")
    page.select_option("#outcome", label="tow")
    text = page.inner_text("#outcome-shown")
    assert "−20.0 %" in text
    assert "fan and pump" in text
    assert "fan, pump" in text
    assert page.evaluate("window.hacked") is None
    assert not open_page(summary()).is_visible("#tab-outcomes")
