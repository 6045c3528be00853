"""The page in a real browser for everyone: dark, printed, narrow, by contrast and by axe; and the tab of outcomes."""

from pathlib import Path

import polars as pl
import pytest
from page_driver import NASTY, discovery, graph_page, settle, summary

from sequela.graphs.outcomes import OutcomeGraph
from sequela.graphs.schemas import OUTCOME_CAUSES, OUTCOME_PAIRS, OUTCOME_SETS

AXE = Path(__file__).parents[2] / ".cache/axe.min.js"


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
