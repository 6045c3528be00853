"""Take the pictures of the interactive page that the documentation shows: `make screenshots`.

The log is that of a simulated fleet of vehicles. What is shown is what `sequela run` found in it (some minutes), not
taken from the truth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from browser import find_browser, opened

import sequela as sq
from sequela.worlds.fault_codes import FaultCodes

OUT = Path(__file__).parents[1] / "docs" / "images"
WIDE, NARROW = (1440, 900), (390, 844)


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, help="folder for the run; what is there already is not computed again")
    keep = parser.parse_args().keep
    browser = find_browser()
    if browser is None:
        sys.exit("no Chromium found: install the package chromium")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, opened(browser) as running:
        folder = keep or Path(temporary) / "run"
        if not (folder / "population").is_dir():
            fleet = FaultCodes.random(seed=3).simulate(600, seed=4)
            sq.run(sq.read_log(fleet.log, **fleet.columns), out=folder)
        population = sq.load_population(folder / "population")
        page = sq.report(
            folder / "results", Path(temporary) / "page.html", population=population, title="Fault codes of a fleet"
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
