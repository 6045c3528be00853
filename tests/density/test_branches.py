"""Branch scoring equals re-running whole sequences, alone or in company, in one chunk or many."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import tiny_llama, tiny_window
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.density.decoder import huggingface
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.llama import LlamaTiles
from sequela.density.decoder.wrap import wrap_huggingface
from sequela.density.output_head import target_log_prob
from sequela.density.runtime.network_density import Batches
from sequela.density.window.density import WindowDensity
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

V, LENGTH = 9, 30
VOCABULARY = Vocabulary(tuple(f"e{i}" for i in range(V)), (1,) * V)


def make():
    from transformers import GPT2Config, GPT2LMHeadModel

    window = tiny_window(VOCABULARY, memory=6)
    llama = tiny_llama(VOCABULARY, context=40, intermediate_size=32, initializer_range=0.2).model
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, weight in llama.named_parameters():
            if "norm" in name:
                torch.nn.init.uniform_(weight, 0.5, 1.5)
        grouped = type(llama)(type(llama.config)(**(llama.config.to_dict() | {"num_key_value_heads": 1})))
        gpt2 = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=V + 4,
                n_embd=32,
                n_layer=2,
                n_head=2,
                n_positions=64,
                bos_token_id=V + 3,
                eos_token_id=V + 3,
                initializer_range=0.2,
            )
        )
    known = {"tokens": np.arange(V), "begin_token": V + 1, "hidden_token": V + 2}
    return {
        "window": window,
        "llama": HuggingFaceDensity(llama, VOCABULARY, context=40, **known),
        "llama, short context": HuggingFaceDensity(llama, VOCABULARY, context=12, **known),
        "llama, grouped heads": HuggingFaceDensity(grouped, VOCABULARY, context=40, **known),
        "gpt2": wrap_huggingface(gpt2, {f"e{i}": V - i for i in range(V)}, hidden_token=0, device="cpu"),
    }


DENSITIES = make()
RNG = np.random.default_rng(1)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)


def branches(n=25, steps=6):
    tails = RNG.integers(0, V, (n, steps)).astype(np.int32)
    tails[::3, 0] = VOCABULARY.hidden_id
    return Branches(IDS, RNG.integers(0, LENGTH, n), tails)


def whole_log_prob(density, past, target):
    """The twin: one plain forward over a whole past, no cache and no mask of ours."""
    if isinstance(density, WindowDensity):
        window = ([VOCABULARY.begin_id] * density.memory + list(past))[-density.memory :]
        logits = density.network(torch.tensor([window]))[0]
        return float(logits.double().log_softmax(0)[target])
    (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
    tokens = {VOCABULARY.hidden_id: density.hidden_token} | dict(enumerate(density.tokens.tolist()))
    seen = [density.begin_token] + [tokens[int(i)] for i in past[block.begin :]]
    with torch.inference_mode():
        logits = density.model(input_ids=torch.tensor([seen]), use_cache=False).logits[0, -1]
    return float(logits[torch.from_numpy(density.tokens)].double().log_softmax(0)[target])


@pytest.mark.parametrize("name", DENSITIES)
def test_branches_equal_brute_force(name):
    density, task = DENSITIES[name], branches()
    found = density.score_branches(*task)
    for k, start in enumerate(task.starts):
        for step in range(task.tails.shape[1]):
            target = start + step + 1
            if target >= LENGTH:
                assert np.isnan(found[k, step])
                continue
            past = np.concatenate([IDS[:start], task.tails[k, : step + 1]])
            assert found[k, step] == pytest.approx(whole_log_prob(density, past, IDS[target]), abs=1e-5)


@pytest.mark.parametrize("name", DENSITIES)
def test_wanted_steps_are_those_of_all_steps_and_others_need_not_be_scored(name):
    density, task = DENSITIES[name], branches(40)
    every = density.score_branches(*task)
    for share in (0.3, 0.05):
        wanted = np.random.default_rng(2).random(task.tails.shape) < share
        found = density.score_branches(*task._replace(wanted=wanted))
        assert np.allclose(found[wanted], every[wanted], atol=1e-5, equal_nan=True)
        assert np.isnan(found[~wanted]).all()
    none = density.score_branches(*task._replace(wanted=np.zeros_like(wanted)))
    assert np.isnan(none).all()


@pytest.mark.parametrize("name", DENSITIES)
def test_score_equals_brute_force_and_conditional_and_observed_branches(name):
    density = DENSITIES[name]
    score = density.score(IDS)
    whole = density.conditional(IDS, np.arange(LENGTH))
    assert np.allclose(np.exp(whole).sum(axis=1), 1)
    assert np.allclose(score, whole[np.arange(LENGTH), IDS], atol=1e-5)
    for position in range(LENGTH):
        assert score[position] == pytest.approx(whole_log_prob(density, IDS[:position], IDS[position]), abs=1e-5)
    starts = np.arange(LENGTH - 5)
    observed = density.score_branches(IDS, starts, IDS[starts[:, None] + np.arange(5)])
    assert np.allclose(observed, score[starts[:, None] + 1 + np.arange(5)], atol=1e-5)


@pytest.mark.parametrize("name", DENSITIES)
def test_company_does_not_change_a_bit(name):
    density = DENSITIES[name]
    tasks = [branches(n) for n in (1, 7, 30)]
    tasks.append(Branches(IDS[:4], np.array([0, 3]), IDS[:4].reshape(2, 2)))
    together = density.score_branches_many(tasks)
    for task, found in zip(tasks, together, strict=True):
        assert np.array_equal(density.score_branches(*task), found, equal_nan=True)
    sequences = [IDS, IDS[:1], IDS[5:20]]
    for ids, found in zip(sequences, density.score_many(sequences), strict=True):
        assert np.array_equal(density.score(ids), found)


@pytest.mark.parametrize("name", DENSITIES)
def test_batch_sizes_do_not_matter(name):
    density, task = DENSITIES[name], branches()
    before, score, runtime = density.score_branches(*task), density.score(IDS), density.runtime
    small = density.with_runtime(replace(runtime, batches=Batches(n_tokens=16, n_held=16, n_rows=16)))
    assert np.allclose(small.score_branches(*task), before, atol=1e-5, equal_nan=True)
    assert np.allclose(small.score(IDS), score, atol=1e-5)
    assert small.fingerprint == density.fingerprint
    assert density.runtime == runtime


@pytest.mark.parametrize("name", ["window", "llama"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"starts": np.array([LENGTH])}, "starts must lie in"),
        ({"tails": np.array([[V + 1]], np.int32)}, "tails must hold event types"),
        ({"tails": np.zeros((2, 3), np.int32)}, "starts must be"),
        ({"wanted": np.zeros((1, 2), bool)}, "wanted must have the shape"),
        ({"ids": np.array([0, V], np.int32)}, "event types"),
        ({"ids": np.zeros((2, 2), np.int32)}, "one sequence"),
    ],
)
def test_bad_branches_are_refused(name, change, says):
    task = {"ids": IDS, "starts": np.array([1]), "tails": np.array([[0]], np.int32)} | change
    with pytest.raises(ConfigError, match=says):
        DENSITIES[name].score_branches(**task)


def test_tails_longer_than_half_the_context_are_refused():
    with pytest.raises(ConfigError, match="lower horizon"):
        DENSITIES["llama, short context"].score_branches(IDS, np.array([0]), np.zeros((1, 7), np.int32))


def test_a_model_that_ignores_the_mask_is_refused(monkeypatch):
    model = DENSITIES["llama, grouped heads"].model
    deaf = type(model)(model.config).eval()
    forward = deaf.model.forward
    monkeypatch.setattr(deaf.model, "forward", lambda attention_mask=None, **kwargs: forward(**kwargs))
    with pytest.raises(ConfigError, match="does not honour"):
        HuggingFaceDensity(deaf, VOCABULARY, tokens=np.arange(V), begin_token=V + 1, context=40)


def test_fast_layers_equal_those_of_hugging_face(monkeypatch):
    density, task = DENSITIES["llama"], branches(200)
    asked, own = [], LlamaTiles.hidden
    monkeypatch.setattr(LlamaTiles, "hidden", lambda *arguments: asked.append(1) or own(*arguments))
    found = density.score_branches(*task)
    assert asked
    asked.clear()
    monkeypatch.setattr(LlamaTiles, "fits", lambda model: False)
    plain = HuggingFaceDensity(
        density.model, VOCABULARY, tokens=np.arange(V), begin_token=V + 1, hidden_token=V + 2, context=40
    )
    assert np.nanmax(np.abs(plain.score_branches(*task) - found)) < 1e-5
    assert not asked


def test_only_a_plain_llama_has_fast_layers():
    fits = {name: LlamaTiles.fits(one.model) for name, one in DENSITIES.items() if name != "window"}
    assert fits == {"llama": True, "llama, short context": True, "llama, grouped heads": False, "gpt2": False}
    model = DENSITIES["llama"].model
    assert not LlamaTiles.fits(copy.deepcopy(model).to(torch.bfloat16))
    for change in (
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"hidden_size": 256, "head_dim": 128},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    ):
        assert not LlamaTiles.fits(
            type(model)(type(model.config)(**(model.config.to_dict() | {"rope_parameters": None} | change)))
        )


@given(st.integers(1, 200), st.integers(2, 40))
def test_blocks_cover_every_event_once_within_the_context(length, context):
    covered = []
    for block in blocks(length, context):
        assert 0 <= block.begin <= block.low < block.high
        assert block.high - block.begin <= context
        covered += range(block.low, block.high)
    assert covered == list(range(length))


def test_target_log_prob_is_exact_where_the_target_is_nearly_certain():
    logits = torch.tensor([[0.0, 30.0, -5.0], [1.0, 2.0, 3.0]])
    expected = logits.double().log_softmax(1)
    found = target_log_prob(logits.clone(), torch.tensor([1, 0]))
    assert float(found[0]) == pytest.approx(-np.exp(-30.0) * (1 + np.exp(-5.0)), rel=1e-5)
    assert float(found[1]) == pytest.approx(float(expected[1, 0]), abs=1e-6)


def test_not_a_checkpoint(tmp_path):
    with pytest.raises(ConfigError, match="not a local Hugging Face"):
        wrap_huggingface(tmp_path, {"a": 0, "b": 1})
    assert huggingface.__doc__


class OnlyFloat32(TorchDispatchMode):
    """Fails where torch makes float64, which Apple devices do not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            raise AssertionError(f"{func} gives float64")
        return found


@pytest.mark.parametrize("name", DENSITIES)
def test_branches_are_scored_without_float64(name):
    density = DENSITIES[name]
    with OnlyFloat32():
        found = density.score_branches(IDS, np.array([2, 5]), IDS[:6].reshape(2, 3))
    assert np.isfinite(found).all()
    with pytest.raises(AssertionError, match="float64"), OnlyFloat32():
        torch.ones(2).double().exp()
