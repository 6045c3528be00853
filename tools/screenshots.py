"""Take the pictures of the interactive page that the documentation shows: `make screenshots`.

The log is that of a simulated fleet of vehicles. What is shown was found in it with densities trained on it (some
minutes), not taken from the truth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from browser import find_browser, opened

import sequela as sq
from sequela.discovery.stream import discover_to
from sequela.graphs.saved import load_population
from sequela.worlds.fault_codes import FaultCodes

OUT = Path(__file__).parents[1] / "docs" / "images"
WIDE, NARROW = (1440, 900), (390, 844)


def analyse(folder: Path) -> None:
    """Write the discovery and the population of the fleet."""
    fleet = FaultCodes.random(seed=1).simulate(600, seed=2)
    log = sq.read_log(fleet.log, **fleet.columns)
    population = sq.discover_population(sq.cross_fit(log, folds=3, seed=0), log)
    discover_to(sq.fit(log, seed=0), log, folder / "found", population=population)
    population.save(folder / "population")


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="folder for the results; what is there already is not computed again")
    keep = parser.parse_args().keep
    browser = find_browser()
    if browser is None:
        sys.exit("no Chromium found: install the package chromium")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, opened(browser) as running:
        folder = keep or Path(temporary)
        if not (folder / "population").is_dir():
            analyse(folder)
        population = load_population(folder / "population")
        page = sq.report(
            folder / "found", Path(temporary) / "page.html", population=population, title="Fault codes of a fleet"
        )

        def shoot(name: str, *steps: str, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
            context = running.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]")
            for selector in steps:
                tab.click(selector)
                tab.wait_for_timeout(300)
            tab.mouse.move(1, 1)
            tab.evaluate("scrollTo(0, 0)")
            tab.screenshot(path=OUT / f"report-{name}.png")
            print(f"report-{name}.png")
            context.close()

        shoot("findings")
        shoot("graph", "#tab-types")
        shoot("focus", ".show-graph")
        shoot("case", ".show-case")
        shoot("dark", scheme="dark")
        shoot("narrow", size=NARROW)


if __name__ == "__main__":
    main()
