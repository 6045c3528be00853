"""A Llama with times: branches and scores against whole forwards of its weights, training, checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import timely_log, tiny_llama
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.density.checkpoint import load_density, save_density
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.llama import LlamaTiles
from sequela.density.decoder.timing import Timing
from sequela.density.runtime.network_density import Batches
from sequela.density.training import loop as training
from sequela.density.training.fit import fit, fit_further
from sequela.errors import CheckpointError, ConfigError
from sequela.events.vocabulary import Vocabulary

V, LENGTH = 7, 30
VOCABULARY = Vocabulary(tuple(f"e{i}" for i in range(V)), (1,) * V)
RNG = np.random.default_rng(3)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)
TIMES = np.cumsum(RNG.choice([0.0, 1.0, 40.0, 5000.0], LENGTH)) + 100


def timed(context):
    model = tiny_llama(VOCABULARY, context=40).model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        timing = Timing(32, 0.5, 1e4, n_knots=5)
        torch.nn.init.normal_(timing.knots.weight, std=0.5)
    return HuggingFaceDensity(
        model, VOCABULARY, timing=timing, tokens=np.arange(V), begin_token=V + 1, hidden_token=V + 2, context=context
    )


DENSITIES = {"one block": timed(40), "many blocks": timed(12)}


@pytest.fixture(params=DENSITIES)
def density(request):
    return DENSITIES[request.param]


def by_hand(density, past, times, target):
    """One plain forward of the weights over a whole past; each row knows the gap to the event that it predicts."""
    (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
    tokens = [V + 1] + [V + 2 if i == VOCABULARY.hidden_id else int(i) for i in past[block.begin :]]
    gaps = [0.0] + [times[i + 1] - times[i] for i in range(block.begin, len(past))]
    rows = []
    for token, gap in zip(tokens, gaps, strict=True):
        place = min(np.log1p(gap / 0.5) / np.log1p(1e4 / 0.5), 1.0) * 4
        knots = torch.tensor([max(0.0, 1 - abs(place - k)) for k in range(5)], dtype=torch.float32)
        rows.append(density.model.model.embed_tokens.weight[token] + density.timing.knots.weight @ knots)
    with torch.inference_mode():
        logits = density.model(inputs_embeds=torch.stack(rows)[None], use_cache=False).logits[0, -1]
    return float(logits[:V].double().log_softmax(0)[target])


def branches(n=25, steps=5, length=LENGTH):
    tails = RNG.integers(0, V, (n, steps)).astype(np.int32)
    tails[::3, 0] = VOCABULARY.hidden_id
    return Branches(IDS[:length], RNG.integers(0, length, n), tails, TIMES[:length])


@pytest.mark.parametrize("fast", [True, False])
def test_scores_and_branches_equal_whole_forwards(density, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(LlamaTiles, "fits", lambda model: False)
        density = timed(density.context)
    score, whole = density.score(IDS, TIMES), density.conditional(IDS, np.arange(LENGTH), TIMES)
    for q in range(LENGTH):
        expected = by_hand(density, IDS[:q], TIMES, IDS[q])
        assert score[q] == pytest.approx(expected, abs=1e-5)
        assert whole[q, IDS[q]] == pytest.approx(expected, abs=1e-5)
    beyond = np.append(TIMES, TIMES[-1] + 3.0)
    found = density.conditional(IDS, np.array([LENGTH]), beyond)[0, 2]
    assert found == pytest.approx(by_hand(density, IDS, beyond, 2), abs=1e-5)
    task = branches()
    scores = density.score_branches(*task)
    for k, start in enumerate(task.starts):
        for step in range(task.tails.shape[1]):
            q = start + step + 1
            if q >= LENGTH:
                assert np.isnan(scores[k, step])
                continue
            past = np.concatenate([IDS[:start], task.tails[k, : step + 1]])
            assert scores[k, step] == pytest.approx(by_hand(density, past, TIMES, IDS[q]), abs=1e-5)


def test_company_does_not_change_a_bit_nor_batches_the_result(density):
    tasks = [branches(n, length=length) for n, length in ((1, 4), (7, 30), (30, 11))]
    observed, scores = density.score_both(tasks)
    for task, own, found in zip(tasks, observed, scores, strict=True):
        assert np.array_equal(density.score_branches(*task), found, equal_nan=True)
        assert np.array_equal(density.score(task.ids, task.times), own)
    runtime = replace(density.runtime, batches=Batches(n_tokens=16, n_held=16, n_rows=16))
    small = density.with_runtime(runtime).score_branches_many(tasks)
    for found, expected in zip(small, scores, strict=True):
        assert np.allclose(found, expected, atol=1e-5, equal_nan=True)


def test_gaps_count_and_the_clock_does_not(density):
    assert np.array_equal(density.score(IDS, TIMES), density.score(IDS, TIMES + 1e6))
    assert np.abs(density.score(IDS, TIMES) - density.score(IDS, TIMES * 7)).max() > 0.01
    half = density.with_runtime(replace(density.runtime, precision="bfloat16"))
    assert np.abs(half.score(IDS, TIMES) - density.score(IDS, TIMES)).max() < 0.2
    with pytest.raises(ConfigError, match="times=False"):
        density.score(IDS)
    with pytest.raises(ConfigError, match="trained with times"):
        density.conditional(IDS, np.array([LENGTH]), TIMES)


def test_a_checkpoint_holds_the_timing(tmp_path, density):
    save_density(density, tmp_path / "m")
    again = load_density(tmp_path / "m", device="cpu")
    assert again.uses_times
    assert again.fingerprint == density.fingerprint
    assert np.array_equal(again.score(IDS, TIMES), density.score(IDS, TIMES))
    other = timed(density.context)
    other.timing.scale[1] *= 2
    assert other.fingerprint != density.fingerprint
    other.timing.scale[1] = 0.1
    save_density(other, tmp_path / "other")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_density(tmp_path / "other", device="cpu")


LOG = timely_log()
QUICK = {"backbone": "llama", "memory": 6, "width": 32, "n_blocks": 1, "progress": False, "device": "cpu"}


def test_training_learns_what_the_gap_tells():
    density = fit(LOG, max_steps=200, learning_rate=5e-3, **QUICK)
    assert density.uses_times
    # Half of the events are certain given the gap, the others are one of four.
    assert density.info["report"]["cross_entropy"] == pytest.approx(0.5 * np.log(4), abs=0.08)


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    quick = QUICK | {"max_steps": 30}
    whole = fit(LOG, **quick)
    assert not fit(LOG, **(quick | {"times": False, "max_steps": 2})).uses_times
    real, calls = training._save_state, []

    def save_then_die(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(LOG, out=tmp_path / "m", **quick)
    monkeypatch.undo()
    assert fit(LOG, out=tmp_path / "m", **quick).fingerprint == whole.fingerprint
    further = fit_further(whole, LOG, device="cpu", progress=False)
    assert further.uses_times
    assert further.timing.scale.tolist() == whole.timing.scale.tolist()
    assert further.info["report"]["cross_entropy"] < whole.info["report"]["cross_entropy"]
