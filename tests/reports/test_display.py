"""What results show in notebooks and terminals: short, and harmless whatever the names hold."""

import io
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from sequela.cli.tables import print_frame, print_links, print_population
from sequela.display import TOP_ROWS
from sequela.effects.cmi import CMIEstimate
from sequela.events.log import read_log
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_discovery
from sequela.text import visible

BAD = ["<script>alert('x')</script>", "[bold]x[/bold]", "\x1b[2J\x1b[31m", 'a"&b', "two\nlines", "c\u202etxt", "$x_y$"]
N = len(BAD)
EVENTS = [BAD[i % N] for i in range(40)]
EDGES = pl.DataFrame(
    {
        "cause_position": range(39),
        "effect_position": range(1, 40),
        "cause": EVENTS[:-1],
        "effect": EVENTS[1:],
        "lag": [1] * 39,
        "directed": [True] * 39,
        "cmi_nats": np.linspace(0.1, 4.0, 39),
        "std_error": [0.0] * 39,
        "pointwise_nats": [0.3, -0.3, 0.1] * 13,
    }
)
INSTANCE = InstanceGraph(BAD[0], tuple(EVENTS), EDGES, n_tested=300)
CASES = EDGES.select(pl.lit(BAD[2]).alias("case"), pl.all())
DISCOVERY = Discovery(CASES, INSTANCE.summary().nodes, {})
POPULATION = PopulationGraph(
    pl.DataFrame(
        [(a, b, 5, 9, 1, 0.5, 0.1, float("inf"), -0.3, 3.0, 1e-7, True, "uncertain: " + b) for a in BAD for b in BAD],
        schema=POPULATION_SCHEMA,
        orient="row",
    ),
    DISCOVERY.nodes,
)
LOG = read_log(pl.DataFrame({"case": [BAD[i // 20] for i in range(40)], "event": EVENTS, "time": range(40)}))
SAVED = DISCOVERY.save(Path(tempfile.mkdtemp()) / "<b>folder")
SHOWN = {
    "instance": INSTANCE,
    "summary": INSTANCE.summary(),
    "population": POPULATION,
    "discovery": DISCOVERY,
    "saved": load_discovery(SAVED),
    "log": LOG,
}


@pytest.mark.parametrize("which", SHOWN)
def test_html_has_no_markup_from_names_and_few_rows(which):
    shown = SHOWN[which]
    tree = ET.fromstring(shown._repr_html_())
    assert {element.tag for element in tree.iter()} <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert {name for element in tree.iter() for name in element.attrib} <= {"style"}
    assert tree.findtext("p/b") == visible(repr(shown))
    rows = tree.findall("table/tbody/tr")
    assert 0 < len(rows) <= TOP_ROWS
    text = "".join(tree.itertext())
    assert any(visible(name) in text for name in BAD)
    assert text.isprintable()
    assert len(repr(shown)) < 200


@pytest.mark.parametrize("which", SHOWN)
def test_terminal_shows_names_as_they_are_without_control(which):
    out = io.StringIO()
    Console(file=out, width=400, force_terminal=False).print(SHOWN[which])
    text = out.getvalue()
    assert text.replace("\n", "").isprintable()
    assert "[bold]x[/bold]" in text
    assert len(text.splitlines()) < TOP_ROWS + 10


def test_strongest_edge_of_an_instance_comes_first():
    first = ET.fromstring(INSTANCE._repr_html_()).find("table/tbody/tr")
    assert [cell.text for cell in first.findall("td")][:5] == [
        "38",
        visible(EVENTS[38]),
        "39",
        visible(EVENTS[39]),
        "1",
    ]


def test_numbers_read_well():
    row = ET.fromstring(POPULATION._repr_html_()).find("table/tbody/tr")
    cells = [cell.text for cell in row.findall("td")]
    assert cells[2:] == ["5", "1", "0.500", "0.100", "∞", "rarer", "1e-07", "uncertain: " + visible(cells[1])]


def test_empty_results_show():
    empty = InstanceGraph("a", (), EDGES.clear())
    for shown in (empty, empty.summary(), Discovery(CASES.clear(), DISCOVERY.nodes, {})):
        assert "<td" not in shown._repr_html_()
        Console(file=io.StringIO()).print(shown)


def test_command_tables_are_harmless(capsys):
    print_links(INSTANCE.summary(), title="Links", truth=INSTANCE.summary())
    print_population(POPULATION)
    print_frame(DISCOVERY.nodes, title="Nodes")
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert "[bold]x[/bold]" in text


def test_estimate_prints_short():
    empty = np.full((3, 2), np.nan)
    assert repr(CMIEstimate(empty, empty, empty, empty, empty, None)) == (
        "CMIEstimate(3 positions, lags up to 2, 0 pairs tested)"
    )


def test_long_names_are_cut_in_html():
    log = read_log(pl.DataFrame({"case": ["a", "a"], "event": ["x" * 500, "y"]}))
    assert "x" * 79 + "…" in log._repr_html_()
    assert "x" * 80 not in log._repr_html_()
