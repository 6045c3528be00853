"""Event types of several tokens: the score of an event is the sum over its tokens, against single plain forwards."""

import functools

import numpy as np
import pytest
import torch

import sequela as sq
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.density.checkpoint import load_density, save_density
from sequela.density.runtime.network_density import within_memory
from sequela.errors import ConfigError

LINES = ["door open", "door shut", "door shut hard", "fan on", "fan off", "stop"]
BEGIN, HIDDEN, V, LENGTH = 0, 1, len(LINES), 14


@functools.cache
def made():
    """A tokenizer learnt from the lines, the tokens of each with a line break, and a model of that many tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=30, special_tokens=["<begin>", "<hidden>"])
    tokenizer.train_from_iterator([line + "\n" for line in LINES], trainer)
    tokens = {line: tokenizer.encode(line + "\n").ids for line in LINES}
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, bos_token_id=BEGIN, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return model.eval(), tokens


@functools.cache
def density_of(context):
    model, tokens = made()
    return sq.wrap_huggingface(model, event_tokens=tokens, hidden_token=HIDDEN, context=context, device="cpu")


IDS = np.random.default_rng(0).integers(0, V, LENGTH).astype(np.int32)


@torch.inference_mode()
def brute_force(density, past, event):
    model, tokens = made()
    (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
    strings = [tokens[line] for line in LINES]
    seen = [BEGIN]
    for each in past[block.begin :]:
        seen += [HIDDEN] if each == V + 2 else strings[each]
    total = 0.0
    for place, token in enumerate(strings[event]):
        logits = model(input_ids=torch.tensor([seen + strings[event][:place]]), use_cache=False).logits[0, -1].double()
        alike = {own[place] for own in strings if len(own) > place and own[:place] == strings[event][:place]}
        total += float(logits[token] - logits[sorted(alike)].logsumexp(0))
    return total


def test_the_example_has_strings_that_begin_alike_and_of_several_lengths():
    _, tokens = made()
    assert len({len(own) for own in tokens.values()}) > 1
    assert tokens["door shut"][0] == tokens["door shut hard"][0]
    assert max(map(len, tokens.values())) > 2


@pytest.mark.parametrize("context", [40, 6])
def test_scores_are_sums_over_tokens(context):
    density = density_of(context)
    score, whole = density.score(IDS), density.conditional(IDS, np.arange(LENGTH + 1))
    assert np.allclose(np.exp(whole).sum(axis=1), 1)
    for position in range(LENGTH):
        assert score[position] == pytest.approx(brute_force(density, IDS[:position], IDS[position]), abs=1e-5)
        assert whole[position, IDS[position]] == pytest.approx(score[position], abs=1e-5)
    for event in range(V):
        assert whole[5, event] == pytest.approx(brute_force(density, IDS[:5], event), abs=1e-5)
    rng = np.random.default_rng(1)
    tails = rng.integers(0, V, (6, 3)).astype(np.int32)
    tails[::2, 0] = density.vocabulary.hidden_id
    one = Branches(IDS, np.array([0, 2, 5, 8, LENGTH - 2, LENGTH - 1]), tails)
    found = density.score_branches(*one)
    for k, start in enumerate(one.starts):
        for step in range(3):
            target = start + step + 1
            if target >= LENGTH:
                assert np.isnan(found[k, step])
                continue
            past = np.concatenate([IDS[:start], tails[k, : step + 1]])
            assert found[k, step] == pytest.approx(brute_force(density, past, IDS[target]), abs=1e-5)


def test_one_token_each_is_the_same_as_tokens():
    model, _ = made()
    one = sq.wrap_huggingface(model, {"a": 3, "b": 5, "c": 7}, context=20, device="cpu")
    other = sq.wrap_huggingface(model, event_tokens={"a": [3], "b": [5], "c": [7]}, context=20, device="cpu")
    ids = np.array([0, 2, 1, 1, 0], np.int32)
    assert np.allclose(one.score(ids), other.score(ids), atol=1e-5)
    assert np.allclose(one.conditional(ids, np.arange(6)), other.conditional(ids, np.arange(6)), atol=1e-5)
    assert (one.reruns, other.reruns) == (False, True)


def test_it_is_saved_loaded_fits_memory_and_finds_a_graph(tmp_path):
    density = density_of(40)
    save_density(density, tmp_path / "m")
    again = load_density(tmp_path / "m", device="cpu")
    assert again.fingerprint == density.fingerprint
    assert np.allclose(again.score(IDS), density.score(IDS), atol=1e-6)
    small = within_memory(density, 1, longest=LENGTH, horizon=2)
    assert np.allclose(small.score(IDS), density.score(IDS), atol=1e-5)
    graph = sq.discover(density, [LINES[i] for i in IDS[:6]], horizon=2, particles=4, delta=1e-4)
    assert len(graph) > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"event_tokens": {"a": [3], "b": [3, 4]}}, "tokens of 'a' are the beginning of those of 'b'"),
        ({"event_tokens": {"a": [3], "b": [3]}}, "are the beginning"),
        ({"event_tokens": {"a": [3], "b": []}}, "at least one token"),
        ({"event_tokens": {"a": [3], "b": [400]}}, "token ids must lie in"),
        ({"event_tokens": {"a": [3], "b": 4}}, "a list of token ids"),
        ({"event_tokens": {"a": [3], "b": "text"}}, "a list of token ids"),
        ({"tokens": {"a": 3, "b": [4, 5]}}, "event_tokens"),
        ({"tokens": {"a": [3], "b": [4]}}, "lists of several go into event_tokens"),
        ({"tokens": {"a": 3, "b": 4}, "event_tokens": {"a": [3], "b": [4]}}, "give either"),
        ({}, "give either"),
        ({"event_tokens": {"a": [3], "b": [4]}, "context": 1}, "at least 2 events"),
        ({"tokens": {"a": 3, "b": 4}, "context": 1}, "at least 2 events"),
    ],
)
def test_what_does_not_fit_is_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        sq.wrap_huggingface(made()[0], device="cpu", **given)


@pytest.mark.parametrize("model", [object(), 3, torch.nn.Linear(2, 2)], ids=["object", "number", "module"])
def test_what_is_no_model_is_refused_by_its_kind(model):
    with pytest.raises(ConfigError, match=r"must be a causal model of Hugging Face"):
        sq.wrap_huggingface(model, {"a": 0, "b": 1})
