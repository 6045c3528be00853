"""Plots draw what the results say, into the axes they are given, with names as plain text."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import ArrowStyle, FancyArrowPatch, Rectangle
from matplotlib.text import Text

import sequela as sq
from sequela.density.quality.report import calibration
from sequela.effects.cmi import CMIEstimate
from sequela.effects.thresholds import sweep
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
from sequela.graphs.results import Discovery
from sequela.reports.plots import (
    LESS_LIKELY,
    MORE_LIKELY,
    plot_calibration,
    plot_cmi,
    plot_instance,
    plot_lags,
    plot_strength,
    plot_summary,
    plot_thresholds,
    plot_training,
    save_figure,
)
from sequela.text import visible
from sequela.worlds.softmax import SoftmaxWorld

NAMES = ["$a", "<b>", "c_d$", "it's & more\x1b[0m\n"]
WORLD = SoftmaxWorld.random(4, horizon=3, decay=0.2, sparsity=0.3, seed=3, names=NAMES)
CASE = WORLD.sample(1, 20, seed=1)[0]
GRAPH = sq.discover(WORLD, CASE)
ESTIMATE = sq.estimate(WORLD, CASE)
POPULATION = PopulationGraph(
    pl.DataFrame(
        [
            (NAMES[0], NAMES[1], 9, 20, 1, 0.5, 0.1, float("inf"), -0.3, 3.0, 0.001, True, None),
            (NAMES[1], NAMES[0], 4, 8, 3, 0.4, 0.2, 0.6, 0.3, 2.0, 0.01, True, None),
            (NAMES[2], NAMES[3], 1, 2, 2, 0.0, 0.0, 0.1, 0.3, -2.0, 1.0, False, None),
        ],
        schema=POPULATION_SCHEMA,
        orient="row",
    ),
    pl.DataFrame({"event": NAMES, "count": [5, 3, 2, 1]}),
    {"arguments": {"delta": 0.05}},
)


@pytest.fixture(scope="module")
def density():
    log = sq.read_log(pl.DataFrame({"case": [i // 4 for i in range(120)], "event": list("abac") * 30}))
    return sq.fit(log, max_steps=12, progress=False), log


def arrows(axes):
    return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def colour(patch):
    return "#" + "".join(f"{round(255 * part):02x}" for part in patch.get_facecolor()[:3])


def every_plot(density):
    model, log = density
    return {
        "instance": lambda **k: plot_instance(GRAPH, **k),
        "summary": lambda **k: plot_summary(GRAPH.summary(), **k),
        "summary of a population": lambda **k: plot_summary(POPULATION, **k),
        "cmi": lambda **k: plot_cmi(ESTIMATE, graph=GRAPH, **k),
        "strength": lambda **k: plot_strength(GRAPH.summary(), **k),
        "strength of a population": lambda **k: plot_strength(POPULATION, **k),
        "lags": lambda **k: plot_lags(GRAPH, **k),
        "thresholds": lambda **k: plot_thresholds(ESTIMATE, labels=[ESTIMATE.cmi > 0.1], tau=0.05, **k),
        "training": lambda **k: plot_training(model, **k),
        "calibration": lambda **k: plot_calibration(model, log, **k),
    }


PLOTS = list(every_plot((None, None)))


@pytest.mark.parametrize("which", PLOTS)
def test_every_plot_draws_into_given_axes_or_its_own_names_are_text_and_pyplot_is_not_touched(which, density, tmp_path):
    draw = every_plot(density)[which]
    axes = Figure().add_subplot()
    assert draw(ax=axes) is axes
    own = draw()
    assert own.figure is not axes.figure
    assert own.get_title(loc="left") == axes.get_title(loc="left") != ""
    save_figure(own, tmp_path / "x.png")  # mathtext of a lone $ would fail here
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    for text in own.figure.findobj(Text):
        assert text.get_text().replace("\n", "").isprintable()
        if "$a" in text.get_text():
            assert not text.get_parse_math()
    if "summary" not in which and which != "instance":
        assert own.get_xlabel()
        assert own.get_ylabel()


def test_lazily_loaded_and_without_pyplot():
    code = (
        "import sys, sequela as sq; assert not any(m.startswith('matplotlib') for m in sys.modules);"
        "from sequela.worlds.softmax import SoftmaxWorld;"
        "g = sq.discover(SoftmaxWorld.random(4, horizon=2, seed=0), ['e0', 'e1', 'e2']);"
        "sq.plots.plot_instance(g); sq.plots.plot_lags(g); sq.plots.plot_strength(g.summary());"
        "assert 'plots' in dir(sq); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_instance_has_one_arc_an_edge_and_a_cut_says_so():
    assert len(arrows(plot_instance(GRAPH))) == len(GRAPH) > 0
    axes = plot_instance(GRAPH, max_events=5)
    assert "first 5 of 20" in axes.get_title(loc="left")
    assert len(arrows(axes)) == (GRAPH.edges["effect_position"] < 5).sum()


def test_summary_has_one_arrow_a_link_and_cuts():
    summary = GRAPH.summary()
    assert len(arrows(plot_summary(summary))) == len(summary) > 1
    axes = plot_summary(summary, max_edges=1)
    assert len(arrows(axes)) == 1
    assert "1 strongest of" in axes.get_title(loc="left")


def test_the_two_ways_between_a_pair_do_not_lie_on_each_other():
    paths = [arrow.get_path().vertices for arrow in arrows(plot_summary(POPULATION))]
    assert len(paths) == 2
    there, back = (path[len(path) // 2] for path in paths)
    assert np.abs(there - back).max() > 0.05


def test_cmi_has_every_cell_and_leaves_out_what_was_not_tested():
    axes = plot_cmi(ESTIMATE, graph=GRAPH)
    shown = axes.images[0].get_array()
    assert shown.shape == (3, 20)
    assert (shown.mask == np.isnan(ESTIMATE.cmi.T)).all()
    assert shown.mask.any()
    assert np.allclose(shown.compressed(), ESTIMATE.cmi.T[np.isfinite(ESTIMATE.cmi.T)])
    outlined = {p.get_xy() for p in axes.patches if isinstance(p, Rectangle) and not p.get_fill()}
    cells = GRAPH.edges.select("cause_position", "lag").iter_rows()
    assert outlined == {(cause - 0.5, lag - 0.5) for cause, lag in cells}
    assert "not tested" in [text.get_text() for text in axes.get_legend().get_texts()]
    cut = plot_cmi(ESTIMATE, max_events=5)
    assert cut.images[0].get_array().shape == (3, 5)
    assert "first 5 of 20" in cut.get_title(loc="left")
    with pytest.raises(ConfigError, match="not one sequence"):
        plot_cmi(ESTIMATE, graph=sq.discover(WORLD, NAMES))


def test_strength_has_a_point_a_link_and_names_the_strongest():
    summary = GRAPH.summary()
    axes = plot_strength(summary, n_named=2)
    (points,) = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets()) > 0]
    assert sorted(points.get_offsets()[:, 1]) == pytest.approx(sorted(summary.edges["cmi_nats"]))
    keys = [text.get_text() for text in axes.get_legend().get_texts()][2:]
    assert [key[0] for key in keys] == ["1", "2"]
    best = summary.edges.sort("cmi_nats", descending=True).row(0, named=True)
    assert visible(best["cause"]) in keys[0]


def test_strength_of_a_population_shows_pairs_intervals_and_the_floor():
    axes = plot_strength(POPULATION)
    rest, lines, links = axes.collections
    assert rest.get_offsets().tolist() == [[1.0, 1e-4]]
    assert links.get_offsets().tolist() == [[9.0, 0.5], [4.0, 0.4]]
    assert isinstance(lines, LineCollection)
    assert [segment.tolist() for segment in lines.get_segments()] == [[[4.0, 0.2], [4.0, 0.6]]]  # not the infinite one
    assert "below 0.0001 drawn there" in axes.get_ylabel()
    assert axes.lines[0].get_ydata()[0] == 0.05


def test_lags_count_by_sign_and_have_the_median():
    edges = pl.DataFrame(
        {
            "lag": [1, 1, 1, 3],
            "pointwise_nats": [0.1, 0.2, -0.1, -0.5],
            "cmi_nats": [0.1, 0.3, 0.2, 0.7],
        }
    )
    axes = plot_lags(Discovery(edges, POPULATION.nodes, {}))
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_y(), bar.get_height(), colour(bar)) for bar in axes.patches]
    assert [(round(x), y, h, c) for x, y, h, c in bars] == [
        (1, 0, 2, MORE_LIKELY), (3, 0, 0, MORE_LIKELY), (1, 2, 1, LESS_LIKELY), (3, 0, 1, LESS_LIKELY),
    ]  # fmt: skip
    (right,) = [other for other in axes.figure.axes if other is not axes]
    assert right.lines[0].get_xydata().tolist() == [[1, 0.2], [3, 0.7]]


def test_axes_of_positions_lags_and_counts_have_whole_ticks():
    for n_events in (2, 3, 4, 6, 11):
        axes = plot_cmi(sq.estimate(WORLD, [WORLD.vocabulary.names[0]] * n_events))
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
    rows = [("1", 0, lag, "a", "b", lag, True, 0.1, 0.01, 1.0) for lag in (1, 1, 2)]
    for n_rows in (1, 2, 3):
        edges = pl.DataFrame(rows[:n_rows], schema={"case": pl.String, **INSTANCE_SCHEMA}, orient="row")
        axes = plot_lags(Discovery(edges, POPULATION.nodes, {}))
        for ticks, (low, high) in ((axes.get_xticks(), axes.get_xlim()), (axes.get_yticks(), axes.get_ylim())):
            assert all(tick == round(tick) for tick in ticks if low <= tick <= high)


def test_an_undirected_edge_has_no_arrow_head():
    table = GRAPH.edges.with_columns(pl.Series("directed", [False] + [True] * (len(GRAPH) - 1)))
    axes = plot_instance(InstanceGraph(GRAPH.case, GRAPH.events, table))
    heads = [not isinstance(patch.get_arrowstyle(), ArrowStyle.Curve) for patch in axes.patches]
    assert heads == [False] + [True] * (len(GRAPH) - 1)


def test_thresholds_draw_the_sweep():
    labels = [ESTIMATE.cmi > 0.1]
    table = sweep([ESTIMATE], labels)
    axes = plot_thresholds(ESTIMATE, labels=labels)
    assert axes.lines[0].get_ydata().tolist() == table["n_edges"].to_list()
    (right,) = [other for other in axes.figure.axes if other is not axes]
    for line, name in zip(right.lines, ("precision", "recall", "f1"), strict=True):
        assert np.array_equal(line.get_ydata(), table[name].to_numpy(), equal_nan=True)


def test_training_draws_the_history_and_the_kept_step(density):
    model, _ = density
    axes = plot_training(model)
    steps, training, validation = zip(*model.info["history"], strict=True)
    assert axes.lines[0].get_xydata().tolist() == [list(row) for row in zip(steps, training, strict=True)]
    assert axes.lines[1].get_ydata().tolist() == list(validation)
    assert axes.lines[2].get_xydata().tolist() == [[model.info["training"]["best_step"], min(validation)]]
    with pytest.raises(ConfigError, match="no training history"):
        plot_training(WORLD)


def test_training_of_a_saved_density_is_the_same(density, tmp_path):
    from sequela.density.checkpoint import save_density

    save_density(density[0], tmp_path / "model")
    again = plot_training(sq.load_density(tmp_path / "model"))
    assert again.lines[1].get_ydata().tolist() == plot_training(density[0]).lines[1].get_ydata().tolist()


def test_calibration_draws_the_table_and_says_how_many_cases():
    log = sq.read_log(WORLD.to_log(WORLD.sample(12, 10, seed=5)))
    axes = plot_calibration(WORLD, log, cases="all", max_events=55)
    assert "5 cases" in axes.get_title(loc="left")
    table = calibration(WORLD, SequenceSet.from_log(log, WORLD.vocabulary).take(range(5)))
    seen = table.filter(pl.col("observed") > 0)
    assert axes.lines[1].get_xydata().tolist() == seen.select("predicted", "observed").to_numpy().tolist()
    with pytest.raises(ConfigError, match="cases must be one of"):
        plot_calibration(WORLD, log, cases="some")


def test_empty_graphs_draw(tmp_path):
    world = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), decay=0.0, horizon=2)
    graph = sq.discover(world, ["e0", "e1"])
    assert len(graph) == 0
    assert arrows(plot_instance(graph)) == arrows(plot_summary(graph.summary())) == []
    nothing = np.full((2, 1), np.nan)
    for axes in (
        plot_lags(graph),
        plot_strength(graph.summary()),
        plot_cmi(sq.estimate(world, ["e0", "e1"]), graph=graph),
        plot_thresholds(CMIEstimate(nothing, nothing, nothing, nothing, nothing, None)),
        plot_thresholds([], labels=[]),
    ):
        save_figure(axes, tmp_path / "x.png")
