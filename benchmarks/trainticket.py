"""Which service began it? One recipe on every fault window of a folder of spans, log lines and `faults.csv`.

    python benchmarks/trainticket.py --data FOLDER [--normal FOLDER]
    python benchmarks/trainticket.py --data FOLDER --halves    (settings chosen on one half, scored on the other)
    python benchmarks/trainticket.py --data FOLDER --stress    (less to go by: one kind of rows, fewer requests)
    python benchmarks/trainticket.py --data FOLDER --model     (also a next-event model, alone and as one more kind)

The folder holds `spans.parquet` and `logs.parquet` (one of them may be missing, as may be the rows of a window) with a
column `window`, and `faults.csv` with `window` and `service`. Normal operation is every window called `normal-…` of the
folder, or of `--normal` where it has none. The recipe is `sq.explain_incident` with its defaults, for
every window alike.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sequela.discovery.incident import IncidentSettings, explain_incident
from sequela.discovery.surprise import KINDS
from sequela.errors import SequelaError
from sequela.events.trace_files import read_folder, read_normal_and_window
from sequela.events.traces import TraceColumns, Traces, template

Pair = tuple[pl.DataFrame | None, pl.DataFrame | None]
UNRANKED = 1_000_000
GRID = {"time_drift": (0.1, 0.2, 0.3, 0.5), "behaviour_drift": (0.5, 1.0, 2.0), "call_drift": (2.0, 3.0, 4.0)}
"""What is tried on one half; 0.2, 1 and 3 are the defaults."""


def some_rows(pair: Pair, window: pl.Expr) -> Pair:
    spans, logs = (None if table is None else table.filter(window) for table in pair)
    return spans, logs


def normal_rows(data: Pair, other: Path | None) -> Pair:
    is_normal = pl.col("window").str.starts_with("normal")
    found = [some_rows(pair, is_normal) for pair in (data, *([] if other is None else [read_folder(other)]))]
    kinds = [sum(table is not None and table.height > 0 for table in pair) for pair in found]
    if max(kinds):
        return found[kinds.index(max(kinds))]  # the folder's own, unless it has only spans or only log lines
    sys.exit("error: no window is called normal-…: give a folder that has some with --normal FOLDER")


class Fault:
    """One window, read once for all rankings; one without any row that can be compared is a miss."""

    def __init__(self, row: dict[str, str], data: Pair, normal: Pair) -> None:
        self.window, self.root, self.kind = row["window"], row["service"], row.get("kind", "")
        self.day = row.get("injected_at", "")[:10]
        self.rows = some_rows(data, pl.col("window") == self.window)
        self.normal_rows = normal
        self.scores: dict[str, float] = {}
        self.note = ""
        start = time.perf_counter()
        try:
            self.normal, self.traces = read_normal_and_window(normal, self.rows)
            self.scores = self.ranking(IncidentSettings())
            self.note = "; ".join(note for note in self.traces.notes if "judged without" in note)
        except SequelaError as error:
            self.note = f"not ranked: {error}"
        self.seconds = time.perf_counter() - start

    def ranking(self, settings: IncidentSettings) -> dict[str, float]:
        found = explain_incident(self.normal, self.traces, settings=settings)
        return {suspect.service: suspect.score for suspect in found.suspects}

    def line(self) -> str:
        place = rank(self.scores, self.root)
        top = ", ".join(f"{name} {score:.1f}" for name, score in list(self.scores.items())[:3])
        told = f"{self.window} {self.kind:15} {self.root:30} rank {'-' if place == UNRANKED else place}"
        return f"{told}  ({top})  {self.seconds:.2f} s{'  ' + self.note if self.note else ''}"


def rank(scores: dict[str, float], root: str) -> int:
    """Return the place of the root; a tie is the last of its places, a root without evidence has none."""
    own = scores.get(root, 0.0)
    return 1 + sum(score >= own for service, score in scores.items() if service != root) if own > 0 else UNRANKED


# -- simple rules ------------------------------------------------------------------------------------------------------


def by_service(table: pl.DataFrame, value: str) -> dict[str, float]:
    return dict(table.drop_nulls(value).group_by("service").agg(pl.col(value).mean()).iter_rows())


def risen(normal: dict[str, float], window: dict[str, float]) -> dict[str, float]:
    return {service: value - normal.get(service, 0.0) for service, value in window.items()}


def excess_of_client_time(fault: Fault) -> dict[str, float]:
    def excess(traces: Traces) -> dict[str, float]:
        return by_service(traces.calls.filter(pl.col("caller") != pl.col("service")), "transport")

    return risen(excess(fault.normal), excess(fault.traces))


def rise_of_self_time(fault: Fault) -> dict[str, float]:
    def own(traces: Traces) -> dict[str, float]:
        calls = traces.calls.group_by("service").len()
        total = traces.work.group_by("service").agg(pl.col("own").sum()).join(calls, on="service")
        return dict(total.select("service", pl.col("own") / pl.col("len")).iter_rows())

    return risen(own(fault.normal), own(fault.traces))


def log_lines(pair: Pair) -> pl.DataFrame:
    columns, lines = TraceColumns(), pair[1]
    if lines is None:
        return pl.DataFrame(schema={"service": pl.String, "line": pl.String, "error": pl.Boolean, "trace": pl.String})
    message = pl.col(columns.message).fill_null("")
    service = pl.col(columns.instance).str.replace(columns.instance_suffix, "")
    lines = lines.unique()
    return lines.select(
        service=service, line=template(message), error=message.str.contains(r"\bERROR\b"), trace=columns.trace
    )


def change_of_log_lines(fault: Fault) -> dict[str, float]:
    """Largest change of the lines of one template for each request, as a ratio: the best of 18 ways that were tried."""

    def rates(pair: Pair) -> pl.DataFrame:
        lines = log_lines(pair)
        return lines.group_by("service", "line").agg(rate=0.01 + pl.len() / max(1, lines["trace"].n_unique()))

    before, after = rates(fault.normal_rows), rates(fault.rows)
    both = before.join(after, on=["service", "line"], how="full", coalesce=True).fill_null(0.01)
    change = both.group_by("service").agg((pl.col("rate_right") / pl.col("rate")).log().abs().max())
    return dict(change.iter_rows())


def most_error_lines(fault: Fault) -> dict[str, float]:
    return dict(log_lines(fault.rows).group_by("service").agg(pl.col("error").sum().cast(pl.Float64)).iter_rows())


RULES: dict[str, Callable[[Fault], dict[str, float]]] = {
    "rule: excess of client time over server time": excess_of_client_time,
    "rule: change of log lines": change_of_log_lines,
    "rule: most error lines": most_error_lines,
    "rule: rise of self time": rise_of_self_time,
}


# -- tables ------------------------------------------------------------------------------------------------------------


def counted(ranks: list[int]) -> tuple[int, int]:
    return sum(each == 1 for each in ranks), sum(each <= 3 for each in ranks)


def line(name: str, ranks: list[int]) -> None:
    first, three = counted(ranks)
    print(f"{name:58}{first:3} of {len(ranks)}   {three:3} of {len(ranks)}", flush=True)


def rankings(faults: list[Fault]) -> Iterator[tuple[str, list[dict[str, float]]]]:
    for left_out in KINDS:
        settings = IncidentSettings(kinds=tuple(kind for kind in KINDS if kind != left_out))
        yield f"without {left_out}", [fault.ranking(settings) for fault in faults]
    for kind in KINDS:
        yield f"only {kind}", [fault.ranking(IncidentSettings(kinds=(kind,))) for fault in faults]


def compare(faults: list[Fault]) -> None:
    print(f"\n{'':58}first      among three")
    line("recipe: all five kinds", [rank(fault.scores, fault.root) for fault in faults])
    for name, scores in rankings(faults):
        line(f"  {name}", [rank(score, fault.root) for score, fault in zip(scores, faults, strict=True)])
    best = [sys.maxsize] * len(faults)
    for name, rule in RULES.items():
        ranks = [rank(rule(fault), fault.root) for fault in faults]
        best = [min(pair) for pair in zip(best, ranks, strict=True)]
        line(name, ranks)
    line("whichever of the four rules is right", best)


def halves(faults: list[Fault]) -> None:
    """Choose the settings on one half (alternate faults of each kind) and score the other; then the other way round."""
    parts: list[list[Fault]] = [[], []]
    for number, fault in enumerate(sorted(faults, key=lambda fault: (fault.kind, fault.window))):
        parts[number % 2].append(fault)
    grid = [IncidentSettings(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())]
    tried = {fault.window: [fault.ranking(settings) for settings in grid] for fault in faults}
    print("\nsettings chosen on one half, scored on the other")
    for chosen_on, scored_on in ((0, 1), (1, 0)):
        best = max(range(len(grid)), key=lambda at: quality([(tried[f.window][at], f.root) for f in parts[chosen_on]]))
        chosen = ", ".join(f"{name} {getattr(grid[best], name):g}" for name in GRID)
        ranks = [rank(tried[fault.window][best], fault.root) for fault in parts[scored_on]]
        line(f"  half {'AB'[scored_on]} ({chosen})", ranks)
    for at, settings in enumerate(grid):
        first = counted([rank(tried[fault.window][at], fault.root) for fault in faults])
        print("  grid:", ", ".join(f"{name} {getattr(settings, name):g}" for name in GRID), *first)


def stress(faults: list[Fault], normal: Pair) -> None:
    """Score the recipe with less to go by."""

    def some_requests(pair: Pair, share: int) -> Pair:
        spans, logs = (None if each is None else each.filter(pl.col("TraceID").hash(0) % share == 0) for each in pair)
        return spans, logs

    def of_day(pair: Pair, window: str, same: bool) -> Pair:
        day = pl.col("window").str.tail(10)
        return some_rows(pair, (day == window) if same else (day != window))

    ways: dict[str, Callable[[Fault], tuple[Pair, Pair]]] = {
        "spans only": lambda fault: ((normal[0], None), (fault.rows[0], None)),
        "log lines only": lambda fault: ((None, normal[1]), (None, fault.rows[1])),
        "half of the requests of the window": lambda fault: (normal, some_requests(fault.rows, 2)),
        "a quarter of them": lambda fault: (normal, some_requests(fault.rows, 4)),
        "a tenth of them": lambda fault: (normal, some_requests(fault.rows, 10)),
        "half of the requests of normal operation": lambda fault: (some_requests(normal, 2), fault.rows),
        "a quarter of those": lambda fault: (some_requests(normal, 4), fault.rows),
        "normal operation of the same day only": lambda fault: (of_day(normal, fault.day, True), fault.rows),
        "normal operation of the other day only": lambda fault: (of_day(normal, fault.day, False), fault.rows),
    }
    print("\nthe recipe with less to go by")
    for name, way in ways.items():
        ranks = []
        for fault in faults:
            try:
                found = explain_incident(*read_normal_and_window(*way(fault)))
            except SequelaError:
                ranks.append(UNRANKED)
                continue
            ranks.append(rank({each.service: each.score for each in found.suspects}, fault.root))
        line(f"  {name}", ranks)


def quality(results: list[tuple[dict[str, float], str]]) -> tuple[int, float]:
    """Count roots in the first place; then by how much they lead, up to a factor of 2 each."""
    first, lead = 0, 0.0
    for scores, root in results:
        rest = max((score for service, score in scores.items() if service != root), default=0.0)
        own = scores.get(root, 0.0)
        first += own > rest
        lead += math.log(min(2.0, max(0.5, own / max(rest, 1e-9))))
    return first, lead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--normal", type=Path, default=None)
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--stress", action="store_true")
    parser.add_argument("--model", action="store_true")
    args = parser.parse_args()
    if not (args.data / "faults.csv").is_file():
        sys.exit(f"error: '{args.data}' holds no faults.csv")
    data = read_folder(args.data)
    normal = normal_rows(data, args.normal)
    rows = pl.read_csv(args.data / "faults.csv", infer_schema=False).to_dicts()
    if not rows or not {"window", "service"} <= set(rows[0]):
        sys.exit(f"error: '{args.data / 'faults.csv'}' must have rows, and the columns window and service")
    faults = [Fault(row, data, normal) for row in rows]
    ranks = [rank(fault.scores, fault.root) for fault in faults]
    for fault in faults:
        print(fault.line())
    judged = [fault for fault in faults if fault.scores]
    compare(judged)
    if args.halves:
        halves(judged)
    if args.stress:
        stress(judged, normal)
    if args.model:
        from trainticket_model import with_model

        for name, scores in with_model(judged):
            line(name, [rank(score, fault.root) for score, fault in zip(scores, judged, strict=True)])
    first, three = counted(ranks)
    print(f"\nslowest incident {max(fault.seconds for fault in faults):.2f} s")
    print(f"first {first} of {len(ranks)}, among three {three} of {len(ranks)}")


if __name__ == "__main__":
    main()
