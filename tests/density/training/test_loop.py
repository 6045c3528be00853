"""Training: exact repetition and resumption, early stopping, honest comparison."""

import numpy as np
import polars as pl
import pytest
import torch

from sequela.density.objectives import hide_some
from sequela.density.training import loop as training
from sequela.density.training.fit import fit
from sequela.density.training.loop import TrainingConfig
from sequela.density.window.objective import WindowTask
from sequela.errors import ConfigError, DensityError, LogFormatError, VocabularyError
from sequela.events.log import EventLog, read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=2, decay=0.2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, (1, 15), seed=1)))
QUICK = {"max_steps": 40, "progress": False, "device": "cpu"}


class Lines:
    """A reporter that remembers."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    def bar(self, title, total):
        from sequela.progress import Silent

        return Silent().bar(title, total)


def weights(density):
    return density.state() if hasattr(density, "state") else density.model.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_same_seed_same_weights_and_no_trace_in_global_state(backbone):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = fit(LOG, backbone=backbone, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(weights(one), weights(fit(LOG, backbone=backbone, **QUICK)))
    assert not same(weights(one), weights(fit(LOG, backbone=backbone, seed=1, **QUICK)))


@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_interrupted_training_goes_on_to_the_same_weights(backbone, tmp_path, monkeypatch):
    whole = fit(LOG, backbone=backbone, **QUICK)
    real, calls = training._save_state, []

    def save_then_die(*arguments):
        real(*arguments)
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(LOG, backbone=backbone, out=tmp_path / "m", **QUICK)
    assert not (tmp_path / "m").exists()
    monkeypatch.undo()
    tell = Lines()
    resumed = fit(LOG, backbone=backbone, out=tmp_path / "m", **(QUICK | {"progress": tell}))
    assert f"taking up the interrupted training at step {calls[-1]}" in tell.lines
    assert same(weights(whole), weights(resumed))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_state_with_other_settings_is_not_taken_up(tmp_path, monkeypatch):
    real = training._save_state

    def save_then_die(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(LOG, out=tmp_path / "m", **QUICK)
    monkeypatch.undo()
    tell = Lines()
    other = fit(LOG, out=tmp_path / "m", **(QUICK | {"progress": tell, "seed": 3}))
    assert any("starting anew" in line for line in tell.lines)
    assert same(weights(other), weights(fit(LOG, seed=3, **QUICK)))


@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_a_cycle_is_learned(backbone):
    frame = pl.DataFrame({"case": [f"c{i // 12}" for i in range(1200)], "event": list("abc") * 400})
    density = fit(read_log(frame), backbone=backbone, max_steps=200, progress=False, hide=0.0)
    report = density.info["report"]
    assert report["cross_entropy"] < 0.1 < report["unigram"]


def test_noise_is_not_sold_as_structure():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"case": [f"c{i // 10}" for i in range(3000)], "event": rng.integers(0, 8, 3000)})
    tell = Lines()
    density = fit(read_log(frame), progress=tell, device="cpu", max_steps=300)
    assert density.info["report"]["cross_entropy"] > 2.0
    assert "does NOT predict" in tell.lines[-1] or "less than the noise" in tell.lines[-1]


def test_early_stopping_keeps_the_best():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"case": [f"c{i // 10}" for i in range(400)], "event": rng.integers(0, 8, 400)})
    settings = {"max_steps": 3000, "patience": 3, "dropout": 0.0, "hide": 0.0, "width": 64}
    info = fit(read_log(frame), device="cpu", progress=False, **settings).info
    history = info["history"]
    assert history[-1][0] < 3000
    assert info["training"]["validation_loss"] == min(loss for _, _, loss in history)
    assert len(history) - 1 - [step for step, _, _ in history].index(info["training"]["best_step"]) == 3


def test_choices_are_said():
    tell = Lines()
    fit(LOG, **(QUICK | {"progress": tell}))
    text = "\n".join(tell.lines)
    for part in ("events of 6 types in", "split by case", "window backbone, memory", "unigram", "trigram"):
        assert part in text


def test_few_cases_are_cut_by_time():
    frame = pl.DataFrame({"case": ["one"] * 200, "event": list("abcd") * 50})
    info = fit(read_log(frame), **QUICK).info
    assert info["split"]["n_events"] == [160, 20, 20]


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"backbone": "lama"}, ConfigError, "did you mean 'llama'"),
        ({"hide": 2}, ConfigError, "hide must be .* at most 0.9; got 2"),
        ({"memory": 1}, ConfigError, "memory"),
        ({"max_steps": -4}, ConfigError, "max_steps"),
        ({"min_count": 10**6}, VocabularyError, "min_count"),
    ],
)
def test_bad_arguments(arguments, kind, says):
    with pytest.raises(kind, match=says):
        fit(LOG, **(QUICK | arguments))


@pytest.mark.parametrize("times", [[5e-324 * i for i in range(60)], [0.0] * 60])
def test_extreme_times_give_finite_losses(times):
    frame = pl.DataFrame({"case": [f"c{i // 12}" for i in range(60)], "event": list("abc") * 20})
    log = read_log(frame)
    timed = EventLog(log.frame.with_columns(time=pl.Series(times)), log.source, 0, log.columns)
    info = fit(timed, times=True, width=8, **QUICK).info
    assert np.isfinite(np.array(info["history"])).all()
    assert np.isfinite(info["report"]["cross_entropy"])


def test_too_few_events_are_refused_and_named():
    frame = pl.DataFrame({"case": ["one"] * 4, "event": list("abab")})
    with pytest.raises(LogFormatError, match="of 4 events in 1 cases, 3 would train it"):
        fit(read_log(frame), **QUICK)


def test_a_loss_that_is_no_number_stops_training(monkeypatch, tmp_path):
    real = WindowTask.loss
    monkeypatch.setattr(WindowTask, "loss", lambda *arguments: real(*arguments) * float("nan"))
    with pytest.raises(DensityError, match="lower learning_rate"):
        fit(LOG, width=8, out=tmp_path / "m", **QUICK)
    assert not (tmp_path / "m").exists()
    monkeypatch.undo()
    assert np.isfinite(fit(LOG, width=8, out=tmp_path / "m", **QUICK).info["training"]["validation_loss"])


def test_batches_are_one_permutation_an_epoch_and_start_anywhere():
    config = TrainingConfig(max_steps=100, batch_size=7, learning_rate=1e-3, seed=3)
    batches = training._batches(50, config, 0)
    first = [next(batches) for _ in range(20)]
    epoch = np.concatenate(first[:7])
    assert len(np.unique(epoch)) == len(epoch) == 49
    later = training._batches(50, config, 9)
    assert all(np.array_equal(next(later), batch) for batch in first[9:])


def test_hiding():
    rng = np.random.default_rng(0)
    inputs = np.tile(np.array([9, 0, 1, 2, 3, 0, 1, 2], np.int32), (4000, 1))
    hide_some(inputs, hidden_id=10, n_types=8, hide=0.5, rng=rng)
    assert (inputs[:, 0] == 9).all()  # the begin mark is not an event
    share = (inputs[:, 1:] == 10).mean(axis=1)
    assert 0.5 < (share == 0).mean() < 0.65
    assert 0.1 < share.mean() < 0.15


def test_bfloat16_training_ends_near_float32():
    world = SoftmaxWorld.random(8, horizon=2, sparsity=0.7, seed=3)
    log = read_log(world.to_log(world.sample(80, 20, seed=4)))
    losses = {
        precision: fit(log, max_steps=150, precision=precision, progress=False).info["training"]["validation_loss"]
        for precision in ("float32", "bfloat16")
    }
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.03)
    assert losses["bfloat16"] != losses["float32"]  # it did make a difference
