"""Take the pictures of the interactive page that the documentation shows: `make screenshots`.

The graphs are those of simulated vehicle logs, found with the exact density (no training): anyone gets the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl
from browser import find_browser, opened

import sequela as sq
from sequela.worlds.catalogue import make_world

OUT = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"small": (40, 30), "500": (420, 330), "2000": (1500, 1500)}
"""Event types and cases."""


def found(n_types: int, n_cases: int) -> sq.Discovery:
    """Discover a simulated log whose event types have three parts."""
    world = make_world("diagnostic_log", seed=1, n_types=n_types)
    table = world.simulate(n_cases, (30, 60), seed=2, delta=0.05, with_truth=False).log
    log = sq.read_log(table, case="case", event="event", time="time")
    result = sq.discover_log(world, log, particles=8)

    def parted(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
        return frame.with_columns(pl.col(*columns).str.replace_all(".", "|", literal=True))

    record = result.run.to_dict()
    run = record | {"log": record["log"] | {"source": "Workshop log (simulated)"}}
    events = None if result.events is None else parted(result.events, "event")
    return sq.Discovery(parted(result.edges, "cause", "effect"), parted(result.nodes, "event"), run, events)


def longest_chain(result: sq.Discovery) -> int:
    """Return the event at the end of the longest chain of causes, in the case that the page opens first."""
    counts = result.edges.group_by("case").len().sort(["len", "case"], descending=[True, False])
    case = result.case(counts["case"][0])
    return max(range(len(case.events)), key=lambda at: (sq.root_causes(case, at)["n_steps"].max(), -at))


def main() -> None:
    """Write all pictures."""
    browser = find_browser()
    if browser is None:
        sys.exit("no Chromium found: install the package chromium")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, opened(browser) as running:
        results = {name: found(*size) for name, size in SIZES.items()}
        pages = {name: sq.report(result, Path(folder) / f"{name}.html") for name, result in results.items()}

        def shoot(name: str, page: str, *steps: str, scheme: str = "light", trust: bool = False) -> None:
            context = running.new_context(viewport={"width": 1360, "height": 940}, color_scheme=scheme)
            tab = context.new_page()
            tab.goto(pages[page].as_uri())
            tab.wait_for_selector("html[data-ready]")
            for step in (*(() if trust else ("document.getElementById('trust').open = false",)), *steps):
                tab.evaluate(f"() => {{ {step} }}")
                tab.wait_for_timeout(600)
            tab.screenshot(path=OUT / f"report-{name}.png")
            print(f"report-{name}.png: {tab.inner_text('#counts')}")
            context.close()

        changed = "dispatchEvent(new Event('{}', {bubbles: true}))"
        draw_all = f"const i = document.getElementById('limit'); i.value = 5000; i.{changed.replace('{}', 'input')}"
        collapse = f"const s = document.getElementById('level'); s.value = 1; s.{changed.replace('{}', 'change')}"
        arrange = "document.getElementById('arrange').click()"
        pick = "document.querySelector('#links tbody tr:nth-child(4) button').click()"
        middle = "document.querySelector('#details .buttons button:nth-child(2)').click()"
        event = f"document.querySelector('.event[data-position=\"{longest_chain(results['small'])}\"]')"
        chain = f"{event}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
        shoot("summary", "small", trust=True)
        shoot("summary-500", "500", draw_all, arrange)
        shoot("summary-2000", "2000", draw_all, arrange)
        shoot("components", "500", collapse)
        shoot("focus", "500", pick, middle, "document.getElementById('focus').click()")
        shoot("case", "small", "document.getElementById('tab-cases').click()", chain)
        shoot("dark", "small", pick, scheme="dark")


if __name__ == "__main__":
    main()
