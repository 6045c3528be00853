"""Opening result folders: every table is checked for its columns before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from sequela.arguments import PATH, checks, public
from sequela.errors import LogFormatError
from sequela.events.readers.parquet import check_table, read_table
from sequela.graphs.population import PopulationGraph
from sequela.graphs.records import MARKER, check_same_run, load_knowledge, read_run
from sequela.graphs.results import FILES, Discovery
from sequela.graphs.schemas import LAGS, NODES, PLACES, POPULATION, SUMMARY, Table, check_types
from sequela.graphs.summary import SummaryGraph
from sequela.text import quoted, visible


@public(checks(path=PATH))
def load_discovery(path: str | Path) -> Discovery:
    """Open a folder that `discover_to` (``sequela discover``) or `Discovery.save` wrote.

    Args:
        path: The folder, or that of a whole run (``sequela run``).

    Returns:
        The result: its summary is read, edges and events stay on disk until they are asked for.

    Raises:
        LogFormatError: It is not such a folder, is damaged, or of another version.
    """
    folder = inside(path, "results")
    run = read_run(folder, kind="discovery", command="discover")
    with _as_format_errors(folder, "discovery"):
        nodes = _read(folder, "nodes", NODES)
        pairs = _read(folder, "summary", SUMMARY)
        check_types(pairs, nodes, f"'{folder / 'summary.parquet'}'")
        for name, table in FILES.items():
            file = folder / f"{name}.parquet"
            if name == "edges" or file.exists():
                _check_on_disk(file, table)
        n_rows = pl.scan_parquet(folder / "edges.parquet").select(pl.len()).collect().item()
        if n_rows != run.counts.n_edges:
            raise LogFormatError(f"edges.parquet has {n_rows:,} rows, and run.json says {run.counts.n_edges:,}")
        if (folder / "events.parquet").exists():
            _check_events(folder, nodes)
    check_same_run(folder, run)
    return Discovery.on_disk(folder, SummaryGraph(pairs, nodes), run)


@public(checks(path=PATH))
def load_population(path: str | Path) -> PopulationGraph:
    """Open a folder that `PopulationGraph.save` (``sequela population``) wrote.

    Args:
        path: The folder, or that of a whole run (``sequela run``).

    Returns:
        The graph with all its pairs.

    Raises:
        LogFormatError: It is not such a folder, is damaged, or of another version.
    """
    folder = inside(path, "population")
    run = read_run(folder, kind="population", command="population")
    with _as_format_errors(folder, "population"):
        nodes, pairs, lags = (
            _read(folder, name, table) for name, table in (("nodes", NODES), ("population", POPULATION), ("lags", LAGS))
        )
        for name, table in (("population", pairs), ("lags", lags)):
            check_types(table, nodes, f"'{folder / name}.parquet'")
        known = load_knowledge(folder) if run.arguments.knowledge is not None else None
        places = _read(folder, "places", PLACES) if (folder / "places.parquet").is_file() else None
    check_same_run(folder, run)
    return PopulationGraph(pairs, nodes, run, lags.select(list(LAGS.schema)), known, places)


def load_results(path: str | Path) -> Discovery | PopulationGraph:
    """Open a folder that ``sequela discover`` or ``sequela population`` wrote, whichever it is.

    Raises:
        LogFormatError: It is neither, is damaged, or of another version.
    """
    return load_population(path) if (Path(path) / "population.parquet").is_file() else load_discovery(path)


def inside(path: str | Path, name: str) -> Path:
    """Return the folder of one kind of results: the one that is named, or that inside the folder of a whole run."""
    folder = Path(path)
    return folder / name if (folder / name / MARKER).is_file() else folder


def _read(folder: Path, name: str, table: Table) -> pl.DataFrame:
    return table.check(read_table(folder / f"{name}.parquet"), f"'{folder / name}.parquet'")


def _check_on_disk(file: Path, table: Table) -> None:
    """Check columns and missing values without reading more of a large file than needed."""
    check_table(file)
    schema = pl.read_parquet_schema(file)
    table.check_schema(schema, f"'{file}'")
    whole = [name for name in schema if name in table.columns and not table.columns[name].nullable]
    missing = pl.scan_parquet(file).select(pl.col(whole).null_count()).collect().row(0, named=True)
    for name, number in missing.items():
        if number:
            raise LogFormatError(f"'{file}': the column '{name}' lacks {number:,} values")


def _check_events(folder: Path, nodes: pl.DataFrame) -> None:
    """Raise `LogFormatError` unless events are of known types and numbered from 0, and edges between events."""
    position, known = pl.col("position"), nodes["event"].implode()
    events = pl.scan_parquet(folder / "events.parquet")
    odd = ~pl.col("event").is_in(known)
    if "time" in events.collect_schema():
        odd |= ~pl.col("time").is_finite()
    cases = events.group_by("case").agg(
        n=pl.len(), odd=odd.any(), gap=(position.min() != 0) | (position.max() + 1 != pl.len())
    )
    ends = [pl.col(f"{end}_position").is_between(0, pl.col("n"), closed="left") for end in ("cause", "effect")]
    kinds = [pl.col(end).is_in(known) for end in ("cause", "effect")]
    edges = pl.scan_parquet(folder / "edges.parquet").join(cases, on="case", how="left")
    for rows, what in (
        (
            cases.filter("odd"),
            "events.parquet: the case {} has an event of unknown type, or without a time",
        ),
        (cases.filter("gap"), "events.parquet: the positions of the case {} do not count from 0 on"),
        (
            edges.filter(~pl.all_horizontal(*ends, *kinds).fill_null(False)),
            "edges.parquet: an edge of the case {} is not between two of its events",
        ),
    ):
        found = rows.select("case").head(1).collect(engine="streaming")
        if found.height:
            raise LogFormatError(what.format(f"'{visible(found.item(), longest=60)}'"))


@contextmanager
def _as_format_errors(folder: Path, kind: str) -> Iterator[None]:
    """Turn what reading a damaged file raises into one line."""
    what = f"'{folder}' is not a folder of {kind} results"
    try:
        yield
    except LogFormatError as error:
        raise LogFormatError(f"{what}: {error}") from None
    except OSError as error:
        raise LogFormatError(f"{what}: {error.strerror or error}: {Path(str(error.filename or '')).name}") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError) as error:
        raise LogFormatError(f"{what}: a table is damaged: {quoted(error)}") from None
