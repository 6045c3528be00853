"""How long the interactive page takes to open and to answer, in a headless browser.

    python benchmarks/page.py [--repeats 5]

Open: from the address to the findings. Graph: from the tab to the drawn picture and the filled table. Answer: from a
move of the support slider to the new picture, table and counts. All without a graphics card.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from browser import find_browser, opened

import sequela as sq

RESULTS = Path(__file__).parent / "results" / "page.csv"
SIZES = ((30, 60), (500, 2_000), (3_000, 20_000))
"""Event types and links."""


def graph(n_types: int, n_links: int) -> sq.SummaryGraph:
    """Return a random graph: components of 15 types, six of ten links inside one, frequencies by Zipf."""
    rng = np.random.default_rng(0)
    names = [f"unit{i // 15:03d}|{i:05d}|warning" for i in range(n_types)]
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < n_links:
        cause = int(rng.integers(n_types))
        near = min(n_types - 1, cause // 15 * 15 + int(rng.integers(15)))
        effect = near if rng.random() < 0.6 else min(n_types - 1, int(rng.zipf(1.6)))
        if cause != effect:
            pairs[cause, effect] = None
    cause, effect = np.array(list(pairs)).T
    n_edges = rng.zipf(1.5, n_links).clip(1, 5_000)
    nats = rng.lognormal(-2, 0.7, n_links)
    edges = pl.DataFrame(
        {
            "cause": [names[i] for i in cause],
            "effect": [names[i] for i in effect],
            "n_edges": n_edges,
            "n_cases": np.minimum(n_edges, rng.integers(1, 300, n_links)),
            "mean_lag": 1 + rng.exponential(2, n_links),
            "cmi_nats": nats,
            "cmi_nats_total": nats * n_edges,
            "pointwise_nats": rng.normal(0.5, 0.7, n_links),
        }
    ).sort("cmi_nats_total", descending=True)
    counts = (2e5 / (1 + np.arange(n_types)) ** 1.1).astype(np.int64) + 5
    return sq.SummaryGraph(edges, pl.DataFrame({"event": names, "count": counts}))


ANSWER = """() => new Promise(done => {
    const start = performance.now();
    const slider = document.getElementById("support");
    const before = document.getElementById("counts").textContent;
    new MutationObserver((_, watcher) => {
        if (document.getElementById("counts").textContent === before) return;
        watcher.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
    }).observe(document.getElementById("counts"), { childList: true });
    slider.value = 180;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
})"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    browser = find_browser()
    if browser is None:
        sys.exit("no Chromium found: install the package chromium")
    rows = []
    with tempfile.TemporaryDirectory() as folder, opened(browser) as running:
        for n_types, n_links in SIZES:
            path = sq.report(graph(n_types, n_links), Path(folder) / "page.html")
            opening, drawing, answering = [], [], []
            for _ in range(repeats):
                context = running.new_context(viewport={"width": 1300, "height": 900})
                page = context.new_page()
                started = time.monotonic()
                page.goto(path.as_uri())
                page.wait_for_selector("html[data-ready]")
                opening.append(time.monotonic() - started)
                started = time.monotonic()
                page.click("#tab-types")
                page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
                drawing.append(time.monotonic() - started)
                answering.append(page.evaluate(ANSWER) / 1000)
                context.close()
            rows.append(
                {
                    "n_types": n_types,
                    "n_links": n_links,
                    "megabytes": path.stat().st_size / 1e6,
                    "open_seconds": statistics.median(opening),
                    "graph_seconds": statistics.median(drawing),
                    "answer_seconds": statistics.median(answering),
                    "repeats": repeats,
                    "machine": f"{platform.machine()}, {running.version}",
                }
            )
            print(rows[-1])
    pl.DataFrame(rows).write_csv(RESULTS)


if __name__ == "__main__":
    main()
