"""Plots draw what the graph says, into the axes they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from sequela.causal.discovery import discover
from sequela.reports.plots import plot_instance, plot_summary, save_figure
from sequela.worlds.softmax import SoftmaxWorld


@pytest.fixture(scope="module")
def graph():
    names = ["$a", "<b>", "c_d", "it's & more"]
    world = SoftmaxWorld.random(4, horizon=3, decay=0.2, sparsity=0.3, seed=3, names=names)
    return discover(world, world.sample(1, 20, seed=1)[0])


def arrows(axes):
    return [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]


def test_instance_has_one_arc_an_edge(graph):
    assert len(arrows(plot_instance(graph))) == len(graph) > 0


def test_instance_cut_says_so(graph):
    axes = plot_instance(graph, max_events=5)
    assert "first 5 of 20" in axes.get_title(loc="left")
    assert len(arrows(axes)) == (graph.edges["effect_position"] < 5).sum()


def test_summary_has_one_arrow_a_link_and_cuts(graph):
    summary = graph.summary()
    assert len(arrows(plot_summary(summary))) == len(summary) > 1
    axes = plot_summary(summary, max_edges=1)
    assert len(arrows(axes)) == 1
    assert "1 strongest of" in axes.get_title(loc="left")


def test_draws_into_given_axes_and_saves(graph, tmp_path):
    axes = Figure().add_subplot()
    assert plot_instance(graph, ax=axes) is axes
    save_figure(plot_summary(graph.summary()), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_empty_graphs_draw():
    world = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), decay=0.0, horizon=2)
    graph = discover(world, ["e0", "e1"])
    assert len(graph) == 0
    assert arrows(plot_instance(graph)) == arrows(plot_summary(graph.summary())) == []
