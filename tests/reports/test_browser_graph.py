"""The graph of the page in a real browser: filters, table, picture and downloads against the tables."""

import csv
import json

import polars as pl
from page_driver import (
    NASTY,
    NASTY_COMPONENT,
    drawn,
    graph_page,
    population,
    rows_of,
    settle,
    shown,
    slide,
    summary,
    tap,
)

from sequela.graphs.summary import SummaryGraph


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


def test_same_page_same_picture(open_page):
    positions = (
        "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.id(), n.position('x'), n.position('y')])"
    )
    first, second = graph_page(open_page), graph_page(open_page)
    assert json.dumps(first.evaluate(positions)) == json.dumps(second.evaluate(positions))
