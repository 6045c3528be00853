"""The demonstration, in small: its pieces fit together and its scores come from the exact truth."""

import json

import polars as pl
import pytest

from sequela.evaluation import demo
from sequela.events.log import read_log


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(demo, "_N_CASES", 150)
    patch.setattr(demo, "_N_SCORED", 8)
    out = tmp_path_factory.mktemp("demo") / "demo"
    found = demo.run_demo(out, progress=False)
    patch.undo()
    return found


def test_files_are_there(result):
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "log.csv", "new-cases.csv", "model", "edges.parquet", "instance.png", "report.html", "summary.png", "demo.json",
    }  # fmt: skip
    record = json.loads((result.folder / "demo.json").read_text())
    assert record["scores"]["sequela"]["f1"] == pytest.approx(result.scores["sequela"].f1)


def test_scores_agree_with_the_files(result):
    world = demo.demo_world()
    log = read_log(result.folder / "new-cases.csv")
    true = set()
    for name in log.case_names:
        ids, _ = world.vocabulary.encode(pl.Series(log.case(name).events))
        for cause, column in zip(*(world.truth(ids) > demo.DELTA).nonzero(), strict=True):
            true.add((name, int(cause), int(cause + column + 1)))
    edges = pl.read_parquet(result.folder / "edges.parquet")
    found = set(edges.select("case", "cause_position", "effect_position").iter_rows())
    score = result.scores["sequela"]
    assert (score.n_true, score.n_predicted, score.n_correct) == (len(true), len(found), len(true & found))
    assert score.f1 > result.scores["adjacent pairs"].f1


def test_foreign_folder_is_not_replaced(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="other files"):
        demo.run_demo(tmp_path, progress=False)
    assert (tmp_path / "mine.txt").read_text() == "keep"
