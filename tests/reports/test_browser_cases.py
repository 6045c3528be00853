"""Findings and cases of the page in a real browser: stories, roots and times against the library."""

import numpy as np
import polars as pl
import pytest
from page_driver import NAMES, case_graph, discovery, shown

import sequela as sq
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph


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
