"""The page in a real browser: clicked, filtered, searched, expanded, downloaded; its numbers against the tables."""

import csv
import json
import math
from itertools import pairwise

import polars as pl
import pytest
from browser import find_browser, opened

import sequela as sq
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.summary import SummaryGraph

NASTY = '<img src=x onerror="window.hacked=1">|</script><script>window.hacked=1</script>|x'
NASTY_PART = '<img src=x onerror="window.hacked=1">'


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

    def open_one(result, **options):
        path = sq.report(result, tmp_path / "page.html")
        context = browser.new_context(viewport={"width": 1300, "height": 900}, offline=True, **options)
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
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


def summary():
    """Three parts a name; c1 causes c2 and c3, which cause c4."""
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


def test_table_and_picture_show_the_edges(open_page):
    graph = summary()
    page = open_page(graph)
    found = rows_of(page)
    assert [(row[0], row[1]) for row in found] == list(graph.edges.select("cause", "effect").iter_rows())
    assert [float(row[3]) for row in found] == graph.edges["cmi_nats_total"].to_list()
    nodes, edges = drawn(page)
    assert nodes == sorted(graph.nodes["event"])
    assert sorted(map(tuple, edges)) == sorted(graph.edges.select("cause", "effect").iter_rows())
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_filters_and_live_counts(open_page):
    graph = summary()
    page = open_page(graph)
    slide(page, "support", 100)  # the middle of 1, 7, 8, 9, 10
    assert page.inner_text("#support-out") == "8"
    expected = graph.edges.filter(pl.col("n_cases") >= 8)
    assert [row[0] for row in rows_of(page)] == expected["cause"].to_list()
    assert page.inner_text("#counts").startswith(f"{expected.height} of 5 links pass")
    page.uncheck("#less")
    settle(page)
    expected = expected.filter(pl.col("pointwise_nats") >= 0)
    assert len(rows_of(page)) == expected.height == len(drawn(page)[1])
    slide(page, "lag", 50)
    assert page.inner_text("#lag-out") == "1.2"
    assert [row[1] for row in rows_of(page)] == ["pump|11|warn"]
    page.click("#reset")
    settle(page)
    assert len(rows_of(page)) == 5


def test_strength_by_mean_or_sum(open_page):
    page = open_page(summary())
    page.select_option("#measure", "cmi_nats")
    slide(page, "strength", 150)
    assert page.inner_text("#strength-out") == "0.4"
    assert len(rows_of(page)) == 2


def test_only_the_strongest_are_drawn_and_the_page_says_so(open_page):
    page = open_page(summary())
    page.fill("#limit", "2")
    settle(page)
    assert len(drawn(page)[1]) == 2
    assert "the strongest 2 are drawn" in page.inner_text("#counts")
    assert len(rows_of(page)) == 5
    page.click("#links tbody tr:last-child td:first-child button")  # a link that is not drawn is drawn when picked
    assert len(drawn(page)[1]) == 3


def test_sort_filter_and_pages_of_the_table(open_page):
    page = open_page(summary())
    page.click("th[data-key=mean_lag] button")
    assert [float(row[5]) for row in rows_of(page)] == [5.0, 3.0, 2.5, 1.2, 1.0]
    assert page.get_attribute("th[data-key=mean_lag]", "aria-sort") == "descending"
    page.click("th[data-key=mean_lag] button")
    assert [float(row[5]) for row in rows_of(page)] == [1.0, 1.2, 2.5, 3.0, 5.0]
    page.click("th[data-key=cause] button")
    assert [row[0] for row in rows_of(page)] == sorted(summary().edges["cause"])
    page.fill("#words", "PUMP|11")
    assert len(rows_of(page)) == 2


def test_picking_links_table_and_picture(open_page):
    page = open_page(summary())
    page.click("#links tbody tr:nth-child(3) td:first-child button")
    assert "pump|11|warn → fan|21|info" in page.inner_text("#details")
    assert "less likely" in page.inner_text("#details")
    picked = "document.getElementById('graph')._cyreg.cy.edges('.picked').map(e => e.target().data('label'))"
    assert page.evaluate(picked) == ["fan|21|info"]
    tap(page, "edges()[3]")
    target = page.evaluate("document.getElementById('graph')._cyreg.cy.edges()[3].target().data('label')")
    assert page.inner_text("#links tr.picked td:nth-child(2)") == target


def test_search_focus_and_keys(open_page):
    page = open_page(summary())
    page.fill("#search", "fan|21")
    page.press("#search", "Enter")
    assert page.inner_text("#details .name") == "fan|21|info"
    assert "Causes (2)" in page.inner_text("#details")
    page.click("#focus")
    nodes, _ = drawn(page)
    assert len(nodes) == 5  # two steps around it
    x = "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.data('label'), Math.sign(n.position('x'))])"
    assert dict(page.evaluate(x)) == {
        "pump|10|warn": -1, "pump|11|warn": -1, "fan|20|info": -1, "fan|21|info": 0, NASTY: 1,
    }  # fmt: skip
    page.fill("#hops", "1")
    settle(page)
    assert len(drawn(page)[0]) == 4
    page.focus("#graph")
    page.keyboard.press("ArrowLeft")  # its strongest cause
    assert page.inner_text("#details .name") == "pump|11|warn"
    page.keyboard.press("Escape")
    assert len(drawn(page)[0]) == 5
    assert page.is_hidden("#focus-tools")


def test_collapse_and_expand_by_parts(open_page):
    page = open_page(summary())
    page.select_option("#level", "1")
    nodes, edges = drawn(page)
    assert nodes == sorted([NASTY_PART, "fan", "pump"])
    assert sorted(map(tuple, edges)) == [("fan", NASTY_PART), ("pump", "fan")]
    assert "merged into 2 by parts" in page.inner_text("#counts")
    tap(page, "nodes('[label=\"pump\"]')")
    assert "160 events of 2 types" in page.inner_text("#details")
    page.click("#expand")
    assert drawn(page)[0] == sorted([NASTY_PART, "fan", "pump|10", "pump|11"])
    tap(page, "nodes('[label=\"pump|10\"]')")
    page.click("#details .collapse")
    assert "pump" in drawn(page)[0]


def test_downloads(open_page):
    graph = summary()
    page = open_page(graph)
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
    assert text.count("<circle") == 5
    assert text.count("<path") == 5
    assert "<img" not in text


def test_spreadsheet_formulas_are_defused(open_page):
    rows = [("=1+1", "-2", 1, 1, 1.0, 0.1, 0.1, -0.5)]
    names = ["cause", "effect", "n_edges", "n_cases", "mean_lag", "cmi_nats", "cmi_nats_total", "pointwise_nats"]
    page = open_page(
        SummaryGraph(
            pl.DataFrame(rows, schema=names, orient="row"), pl.DataFrame({"event": ["=1+1", "-2"], "count": [1, 1]})
        )
    )
    with page.expect_download() as download:
        page.click("#csv")
    (row,) = csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines())
    assert (row["cause"], row["effect"], row["pointwise_nats"]) == ("'=1+1", "'-2", "-0.5")


def test_population_filters_by_q_and_shows_other_pairs_on_request(open_page):
    base = {
        "support_cases": 9, "support": 20, "lag": 1, "cmi_low_nats": 0.1, "cmi_high_nats": math.inf,
        "pointwise_nats": 0.5, "log10_e": 3.0, "mark": None,
    }  # fmt: skip
    pairs = [
        base | {"cause": "a", "effect": "b", "cmi_nats": 0.3, "q_value": 0.001, "is_edge": True},
        base | {"cause": "b", "effect": "c", "cmi_nats": 0.2, "q_value": 0.04, "is_edge": True, "mark": "uncertain: x"},
        base | {"cause": "c", "effect": "a", "cmi_nats": 0.1, "q_value": 0.5, "is_edge": False},
    ]
    nodes = pl.DataFrame({"event": ["a", "b", "c"], "count": [3, 2, 1]})
    page = open_page(PopulationGraph(pl.DataFrame(pairs, schema=POPULATION_SCHEMA), nodes, {"arguments": {}}))
    assert len(rows_of(page)) == 2
    page.check("#candidates")
    settle(page)
    assert len(rows_of(page)) == 3
    slide(page, "q", 0)
    assert [row[0] for row in rows_of(page)] == ["a"]
    slide(page, "q", 200)
    page.click("#links tbody tr:nth-child(2) td:first-child button")
    assert "uncertain: x" in page.inner_text("#details")


def case_graph():
    edges = [(0, 2, 1.0), (1, 2, 3.0), (2, 3, 1.0), (1, 3, 1.0), (3, 5, 0.5), (4, 5, -0.5)]
    rows = [(c, e, f"e{c}", f"e{e}", e - c, 0.1 * (e + 1), 0.01, g) for c, e, g in edges]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    times = tuple(1.7e9 + offset for offset in (0.0, 2.0, 3.0, 8000.0, 8001.0, 8002.0))
    return InstanceGraph("7", tuple(f"e{i}" for i in range(6)), table, times, n_tested=15)


def test_timeline_traces_an_event_to_its_roots(open_page):
    graph = case_graph()
    page = open_page(graph)
    assert page.locator("#timeline .arc[data-edge]").count() == len(graph)
    page.click('.event[data-position="5"] circle')
    shown = page.eval_on_selector_all("#roots button", "all => all.map(b => [...b.children].map(c => c.textContent))")
    expected = sq.root_causes(graph, 5)
    assert [(int(name.split(":")[0]), float(share.removesuffix(" %")) / 100) for name, share in shown] == [
        (position, pytest.approx(share, abs=1e-3))
        for position, share in expected.select("position", "share").iter_rows()
    ]
    assert page.locator("#timeline .arc.on").count() == 5  # all but the one that made it less likely
    assert "Direct causes (2)" in page.inner_text("#case-details")
    page.hover("#timeline .arc.hit >> nth=4", force=True)
    assert "0.6 ± 0.01" in page.inner_text("#tip")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.inner_text("#case-details .name") == "4: e4"
    assert "No earlier event" in page.inner_text("#case-details")


def test_timeline_axes(open_page):
    page = open_page(case_graph())
    places = "() => [...document.querySelectorAll('.event circle')].map(c => Number(c.getAttribute('cx')))"
    order = page.evaluate(places)
    assert {round(b - a) for a, b in pairwise(order)} == {30}
    page.select_option("#axis", "time")
    time = page.evaluate(places)
    assert (time[3] - time[0]) / (time[5] - time[0]) == pytest.approx(8000 / 8002)
    page.select_option("#axis", "gaps")
    gaps = page.evaluate(places)
    assert gaps == sorted(gaps)
    assert gaps[1] - gaps[0] > 5 > time[1] - time[0]
    assert "2023-11-14" in page.inner_text("#timeline")


def test_dark_mode_and_print(open_page):
    page = open_page(summary(), color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(back) == "rgb(18, 22, 29)"
    page.click("#theme")
    assert page.evaluate(back) == "rgb(255, 255, 255)"
    page.emulate_media(media="print")
    page.evaluate("() => { window.dispatchEvent(new Event('beforeprint')) }")
    assert page.locator("#paper circle").count() == 5
    assert page.is_hidden("#graph")
    assert page.is_hidden("#filters")
    assert page.is_visible("#links")


def test_everything_has_a_name_for_screen_readers(open_page):
    page = open_page(case_graph())
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=application], [role=button]")]
            .filter(e => !e.textContent.trim() && !e.getAttribute("aria-label"))
            .filter(e => !e.closest("label")?.textContent.trim())
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_events_stay_where_they_are_while_filters_change(open_page):
    page = open_page(summary())
    nodes = "document.getElementById('graph')._cyreg.cy.nodes()"
    where = f"{nodes}.map(n => [n.data('label'), n.position('x'), n.position('y')])"
    before = page.evaluate(where)
    page.fill("#limit", "3")
    settle(page)
    assert len(page.evaluate(where)) == 4
    page.fill("#limit", "5")
    settle(page)
    assert page.evaluate(where) == before


def test_nothing_found_is_said(open_page):
    page = open_page(InstanceGraph("1", ("a", "b"), pl.DataFrame(schema=INSTANCE_SCHEMA), n_tested=1))
    assert page.inner_text("#case-counts").startswith("0 of 0 edges between 2 events")
    page.click('.event[data-position="1"] circle')
    assert "No earlier event" in page.inner_text("#case-details")
    page.click("#tab-types")
    assert "0 of 0 links pass" in page.inner_text("#counts")
    assert page.inner_text("#page") == "no link passes"
    page.fill("#search", "b")
    page.press("#search", "Enter")
    assert page.inner_text("#details .name") == "b"


def test_same_page_same_picture(open_page):
    graph = summary()
    positions = (
        "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.id(), n.position('x'), n.position('y')])"
    )
    first, second = open_page(graph), open_page(graph)
    for page in (first, second):
        page.select_option("#layout", "fcose")
    assert json.dumps(first.evaluate(positions)) == json.dumps(second.evaluate(positions))
