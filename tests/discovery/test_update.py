"""New cases in a run: the evidence is that of the whole log at once, and nothing is half done."""

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from conftest import run_frame, run_world
from sequela.cli.app import app
from sequela.discovery import update as module
from sequela.discovery.kept import KeptFolds, Sums, load_sums
from sequela.errors import ConfigError, LogFormatError, VocabularyError
from sequela.graphs.run_record import verify_results
from sequela.locks import locked

ASKED = {"max_steps": 15, "folds": 3, "delta": 0.01, "seed": 3, "progress": False}
WEIGHED = {"delta": 0.01, "control": "each", "seed": 3, "particles": 8, "progress": False}


def more_cases(n=12, seed=7):
    """Cases of the same world with names of their own."""
    return run_world().to_log(run_world().sample(n, 10, seed=seed)).with_columns(case="new-" + pl.col("case"))


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of a run that may be changed."""
    shutil.copytree(small_run.folder, tmp_path / "answer")
    return sq.load_run(tmp_path / "answer")


def cut(frame, n=56):
    names = frame["case"].unique(maintain_order=True).to_list()
    return (sq.read_log(frame.filter(pl.col("case").is_in(some))) for some in (names[:n], names[n:]))


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A run of a part of a log, cross-fitted densities of the same part, and the run after two updates."""
    old, new = cut(run_frame())
    found = sq.run(old, out=tmp_path_factory.mktemp("grown") / "answer", **ASKED)
    folds = sq.cross_fit(old, folds=3, scheme="forward", like=found.model, seed=3, progress=False)
    first, second = new.cases(new.case_names[:10]), new.cases(new.case_names[10:])
    before = found.discovery.edges
    sq.update(found, first, progress=False)
    return folds, before, sq.update(found.folder, second, progress=False)


def test_the_evidence_is_that_of_the_whole_log_to_the_last_bit(grown):
    folds, _, now = grown
    whole = sq.discover_population(folds, sq.read_log(run_frame()), **WEIGHED)
    assert now.population == whole
    assert now.population.run.counts.n_cases == whole.run.counts.n_cases
    assert len(whole) > 0


def test_edges_of_old_cases_stay_and_those_of_new_ones_are_found(grown):
    _, before, now = grown
    edges, links = now.discovery.edges, set(now.population.edges.select("cause", "effect").iter_rows())
    earlier = edges.filter(pl.col("case").is_in(before["case"].unique().implode()))
    assert earlier.drop("on_link").equals(before.drop("on_link"))
    assert edges["on_link"].to_list() == [pair in links for pair in edges.select("cause", "effect").iter_rows()]
    log = sq.read_log(run_frame())
    asked = {"fdr": 0.05, "delta": 0.002, "seed": 3, "particles": 16}
    name = log.case_names[-1]
    graph = sq.discover(now.model, log.case(name), population=now.population, **asked)
    assert now.discovery.case(name).edges.equals(graph.edges)
    counts = now.discovery.run.counts
    assert (counts.n_cases, counts.n_edges, now.record.n_cases) == (80, edges.height, 80)
    assert now.discovery.nodes["count"].sum() == now.discovery.events.height == log.n_events == now.record.n_events
    assert verify_results(now.folder)["damage"].null_count() == verify_results(now.folder).height
    assert [update.n_cases for update in now.record.updates] == [10, 14]
    assert log.case_names[-1] in now.report_path.read_text(encoding="utf-8")


def chains(n_cases, n_old):
    """Cases with chains a -> b -> c among other events, of which some share their time; g is last in new ones."""
    rng, rows = np.random.default_rng(0), []
    for case in range(n_cases):
        rows.append((f"c{case:03d}", -10.0 if case < n_old else 50.0, "g"))
        for start in range(0, 40, 10):
            events = [(start, "def"[rng.integers(3)])]
            if rng.random() < 0.6:
                events += [(start, "a"), (start + 1, "b"), (start + 2, "c")]
            rows += [(f"c{case:03d}", float(time), event) for time, event in events]
    return pl.DataFrame(rows, schema=["case", "time", "event"], orient="row")


def test_with_ties_it_equals_the_whole_log_with_the_stored_calibration_pairs_and_folds(tmp_path):
    whole = sq.read_log(chains(60, 45))
    old = whole.cases(whole.case_names[:45])
    density = sq.fit(old, max_steps=80, width=16, seed=3, progress=False)
    folds = sq.cross_fit(old, folds=3, scheme="forward", like=density, seed=3, progress=False)

    def weighed(log, densities, sums):
        given = KeptFolds(densities, folds.scheme, folds.seed, sums)
        return sq.discover_population(given, log, out=tmp_path / f"{sums.out.name}-found", **WEIGHED)

    before = weighed(old, folds.densities, Sums(tmp_path / "old"))
    stored = load_sums(tmp_path / "old")
    assert [shift.any() for shift, _ in stored.fixed] == [True, True]
    assert stored.asked.height > 0
    last = (folds.densities[-1],) * 2  # stands in for the other
    added = weighed(whole, last, Sums(tmp_path / "new", stored))
    assert added == weighed(whole, folds.densities, Sums(tmp_path / "at-once", replace(stored, passes={})))
    new_pairs = added.pairs.join(before.pairs, on=["cause", "effect"], how="anti")
    assert set(new_pairs["effect"]) == {"g"}
    # Nothing was bet on them (an e-value of 1), and their order has no evidence, so that counts have none (0).
    assert new_pairs["log10_e"].to_list() == pytest.approx([np.log10(0.5)] * new_pairs.height)
    assert not new_pairs["is_edge"].any()
    assert added != sq.discover_population(folds, whole, **WEIGHED)  # whose calibration is that of all cases
    unasked = replace(stored, passes={}, asked=stored.asked.clear())
    careful = weighed(old, folds.densities, Sums(tmp_path / "unasked", unasked))
    pairs = careful.pairs.join(stored.asked, on=["cause", "effect"], how="semi")
    assert pairs["log10_e"].max() <= 0  # what is not known without a third type is no evidence


def test_new_cases_with_ties_do_not_go_with_evidence_without(run):
    frame = more_cases().with_columns(time=pl.lit(0.0))
    old = run.folder.joinpath("run.json").read_bytes()
    with pytest.raises(ConfigError, match="share their time"):
        sq.update(run, sq.read_log(frame), progress=False)
    assert run.folder.joinpath("run.json").read_bytes() == old


@pytest.mark.parametrize("stage", ["discover_population", "discover_to", "page", "write"])
def test_an_interrupted_update_leaves_the_old_answer_and_goes_on(run, tmp_path, monkeypatch, stage):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    def again(*given, **more):
        raise AssertionError("a finished stage ran again")

    log = sq.read_log(more_cases())
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        owner = {"page": module.Stages, "write": module.RunProgress}.get(stage, module)
        patch.setattr(owner, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            sq.update(run, log, progress=False)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    stages = ("discover_population", "discover_to")
    for done in stages[: stages.index(stage) if stage in stages else 2]:
        monkeypatch.setattr(module, done, again)
    found = sq.update(run, log, progress=False)
    assert found.record.n_cases == 92
    assert [path.name for path in tmp_path.iterdir()] == ["answer"]


def test_cases_that_are_known_count_once(run):
    frame, new = run_frame(), more_cases()
    names = frame["case"].unique(maintain_order=True).to_list()
    known, changed = frame.filter(pl.col("case") == names[0]), frame.filter(pl.col("case") == names[1]).head(6)
    assert sq.update(run, sq.read_log(frame), progress=False).record.updates == []
    with pytest.raises(ConfigError, match=r"1 cases are known and have changed.*10 events before, 6 now.*grown='keep'"):
        sq.update(run, sq.read_log(pl.concat([known, changed, new])), progress=False)
    found = sq.update(run, sq.read_log(pl.concat([known, changed, new])), grown="keep", progress=False)
    added = found.record.updates[-1]
    assert (added.n_cases, added.n_known, added.n_grown) == (12, 1, 1)
    assert found.discovery.events.filter(pl.col("case") == names[1]).height == 10


def test_it_says_when_it_is_time_to_train_again(run):
    new = more_cases(40)
    calm = sq.update(run, sq.read_log(new.head(200)), progress=False)
    assert calm.record.updates[-1].advice == []
    assert next(each for each in calm.findings if each.topic == "new cases").verdict == "good"
    swapped = {"e0": "e1", "e1": "e2", "e2": "e3", "e3": "e4", "e4": "e0"}
    other = new.with_columns(event=pl.col("event").replace(swapped), case="other " + pl.col("case"))
    unknown = new.with_columns(event=pl.col("event").replace("e0", "brand new"), case="unknown " + pl.col("case"))
    (worse,) = sq.update(run, sq.read_log(other), progress=False).record.updates[-1].advice
    assert "forecasts of the new cases are worse by" in worse
    found = sq.update(run, sq.read_log(unknown), progress=False)
    assert any("of types that the model does not know" in each for each in found.record.updates[-1].advice)
    assert found.record.updates[-1].n_unknown == int((new["event"] == "e0").sum())
    with pytest.raises(VocabularyError, match="another vocabulary"):
        sq.update(run, sq.read_log(new.with_columns(event=pl.lit("x"), case="x" + pl.col("case"))), progress=False)


def test_refit_trains_the_model_further_on_all_cases(run):
    before, log = run.model, sq.read_log(more_cases())
    found = sq.update(run, log, refit=True, progress=False)
    assert found.model.vocabulary.names == before.vocabulary.names
    assert found.model.fingerprint != before.fingerprint
    assert found.record.updates[-1].refitted
    assert found.record.n_cases == found.discovery.run.counts.n_cases == 92
    again = sq.update(found, sq.read_log(more_cases(6, seed=9).with_columns(case="more " + pl.col("case"))))
    assert again.record.n_cases == 98


def test_two_writers_and_damaged_sums_are_refused(run):
    log, errors = sq.read_log(more_cases()), []

    def second():
        try:
            sq.update(run.folder, log, progress=False)
        except ConfigError as error:
            errors.append(str(error))

    with locked(run.folder):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "being written" in errors[0]
    path = run.folder / "evidence" / "0.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LogFormatError, match=r"0\.parquet has changed"):
        sq.update(run, log, progress=False)


def test_the_command_says_what_it_did(run, tmp_path):
    more_cases().write_csv(tmp_path / "new.csv")
    done = CliRunner().invoke(app, ["update", str(run.folder), str(tmp_path / "new.csv"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "added 12 cases with 120 events" in done.output
    assert "no reason to train again" in done.output
    again = CliRunner().invoke(app, ["update", str(run.folder), str(tmp_path / "new.csv"), "--quiet", "--json"])
    assert json.loads(again.output) == {"out": str(run.folder), "added": None}
