"""Every architecture of the table in docs/howto/hugging-face.md gives the scores of its own plain forward."""

import copy
import functools
import importlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import sequela as sq
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.density.checkpoint import load_density, save_density
from sequela.density.decoder import huggingface, probe, state
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.probe import probe_length
from sequela.density.decoder.rerun import HuggingFaceRerunDensity
from sequela.density.decoder.state import HuggingFaceStateDensity, HuggingFaceStepDensity
from sequela.density.decoder.windows import windows_of
from sequela.density.decoder.wrap import quiet_transformers, wrap_huggingface
from sequela.density.runtime.network_density import Batches
from sequela.discovery.plan import plan_discovery
from sequela.errors import ConfigError

V, LENGTH, BEGIN, HIDDEN = 7, 20, 7, 8
N_TOKENS = 12
_LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_ROPE = _LAYERS | {"intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 64}
_WINDOWED = {"sliding_window": 8}
_MIXED = ["sliding_attention", "full_attention"]

_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}

CONFIGS = {
    "llama": ("Llama", _ROPE),
    "gpt2": ("GPT2", _GPT),
    "gpt-neox": ("GPTNeoX", _LAYERS | {"intermediate_size": 32, "max_position_embeddings": 64}),
    "qwen2": ("Qwen2", _ROPE),
    "opt": ("OPT", _LAYERS | {"ffn_dim": 32, "word_embed_proj_dim": 16, "max_position_embeddings": 64}),
    "mistral": ("Mistral", _ROPE | _WINDOWED | {"head_dim": 8}),
    "qwen2, window": ("Qwen2", _ROPE | _WINDOWED | {"use_sliding_window": True, "layer_types": _MIXED}),
    "gemma3": ("Gemma3Text", _ROPE | _WINDOWED | {"head_dim": 8, "layer_types": _MIXED, "query_pre_attn_scalar": 8}),
    "gpt-neo": (
        "GPTNeo",
        {
            "hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
            "window_size": 8, "max_position_embeddings": 64,
        },
    ),
    "bloom": ("Bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "mamba": ("Mamba", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}),
    "mamba2": (
        "Mamba2",
        {
            "hidden_size": 16, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4, "head_dim": 8, "expand": 2,
            "n_groups": 1, "chunk_size": 8,
        },
    ),
    "rwkv": ("Rwkv", {"hidden_size": 16, "attention_hidden_size": 16, "num_hidden_layers": 2, "context_length": 64}),
    "xlstm": (
        "xLSTM",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 4, "chunk_size": 16, "mode": "inference"},
    ),
}  # fmt: skip
_MAMBA = {
    "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
}  # fmt: skip
_ROUTED = {"n_routed_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
_LATENT = {
    "n_group": 1, "topk_group": 1, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4,
    "v_head_dim": 8, "num_key_value_heads": 2,
}  # fmt: skip
_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
MORE = {
    "gemma2": ("Gemma2", HuggingFaceDensity, _ROPE | _WINDOWED | {"head_dim": 8}),
    "cohere2": ("Cohere2", HuggingFaceDensity, _ROPE | _WINDOWED | {"head_dim": 8, "layer_types": _MIXED}),
    "gpt-j": ("GPTJ", HuggingFaceDensity, _GPT | {"rotary_dim": 4}),
    "gpt-bigcode": ("GPTBigCode", HuggingFaceDensity, _GPT),
    "phi3": ("Phi3", HuggingFaceDensity, _ROPE | _WINDOWED | {"pad_token_id": 0}),
    "mixtral": ("Mixtral", HuggingFaceDensity, _ROPE | _WINDOWED | _EXPERTS),
    "gpt-oss": ("GptOss", HuggingFaceDensity, _ROPE | _WINDOWED | _EXPERTS | {"head_dim": 8, "layer_types": _MIXED}),
    "falcon": ("Falcon", HuggingFaceStateDensity, _LAYERS | {"alibi": True}),
    "mpt": ("Mpt", HuggingFaceStateDensity, {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 64}),
    "falcon-h1": ("FalconH1", HuggingFaceStateDensity, _ROPE | _MAMBA | {"mamba_d_ssm": 32, "head_dim": 8}),
    "lfm2": ("Lfm2", HuggingFaceStateDensity, _ROPE | {"layer_types": ["conv", "full_attention"]}),
    "jamba": (
        "Jamba", HuggingFaceStepDensity, _ROPE | {
            "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
            "num_experts": 2, "num_experts_per_tok": 1, "use_mamba_kernels": False, "mamba_d_state": 4,
            "mamba_dt_rank": 4,
        },
    ),
    "bamba": ("Bamba", HuggingFaceRerunDensity, _ROPE | _MAMBA | {"attn_layer_indices": [1]}),
    "recurrent-gemma": (
        "RecurrentGemma", HuggingFaceRerunDensity, _LAYERS | {
            "num_hidden_layers": 3, "intermediate_size": 32, "lru_width": 16, "attention_window_size": 8,
        },
    ),
    "nemotron-h": (
        "NemotronH", HuggingFaceRerunDensity, _ROPE | {
            "head_dim": 8, "hybrid_override_pattern": "M*", "mamba_num_heads": 4, "mamba_head_dim": 8,
            "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8,
        },
    ),
    "olmo3": ("Olmo3", HuggingFaceDensity, _ROPE | _WINDOWED | {"layer_types": _MIXED}),
    "mimo-v2-flash": (
        "MiMoV2Flash", HuggingFaceDensity, _ROPE | _WINDOWED | _ROUTED | {
            "head_dim": 8, "v_head_dim": 8, "layer_types": _MIXED,
        },
    ),
    "gemma4": ("Gemma4", HuggingFaceDensity, _ROPE | _WINDOWED | {"head_dim": 8, "layer_types": _MIXED}),
    "deepseek-v3": ("DeepseekV3", HuggingFaceDensity, _ROPE | _ROUTED | _LATENT | {"first_k_dense_replace": 1}),
    "llama4": (
        "Llama4", HuggingFaceStateDensity, _ROPE | _EXPERTS | {
            "head_dim": 8, "intermediate_size_mlp": 32, "attention_chunk_size": 8, "no_rope_layers": [1, 0],
            "layer_types": ["chunked_attention", "full_attention"], "pad_token_id": 0,
        },
    ),
    "granite4": (
        "GraniteMoeHybrid", HuggingFaceStateDensity, _ROPE | _MAMBA | _EXPERTS | {
            "layer_types": ["mamba", "attention"], "shared_intermediate_size": 16,
        },
    ),
    "olmo-hybrid": (
        "OlmoHybrid", HuggingFaceStateDensity, _ROPE | {
            "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2,
            "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "pad_token_id": 0,
        },
    ),
    "zamba2": (
        "Zamba2", HuggingFaceStateDensity, _ROPE | {
            "mamba_d_state": 8, "n_mamba_heads": 4, "mamba_ngroups": 1, "chunk_size": 8, "num_mem_blocks": 1,
            "layers_block_type": ["mamba", "hybrid"], "use_mem_rope": True, "adapter_rank": 4,
        },
    ),
    "falcon-mamba": (
        "FalconMamba", HuggingFaceStepDensity, {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    ),
    "minimax": (
        "MiniMax", HuggingFaceRerunDensity, _ROPE | _EXPERTS | {
            "head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "block_size": 8,
        },
    ),
    "reformer": (
        "Reformer", HuggingFaceRerunDensity, {
            "hidden_size": 16, "is_decoder": True, "axial_pos_embds": False, "max_position_embeddings": 64,
            "num_attention_heads": 2, "attention_head_size": 8, "feed_forward_size": 32,
            "attn_layers": ["local", "local"], "local_attn_chunk_length": 8,
        },
    ),
}  # fmt: skip
"""Architectures that are tried once, by `make test-slow` but for two of them."""
LOOKS_AHEAD = {
    "deepseek-v3.2": (
        "DeepseekV32", _ROPE | _ROUTED | _LATENT | {
            "first_k_dense_replace": 1, "index_topk": 4, "index_n_heads": 2, "index_head_dim": 8,
        },
    ),
}  # fmt: skip
"""It picks the past events that it attends to, and in a short sequence sometimes one that is still to come."""
_QUICK = ("falcon", "falcon-h1", "nemotron-h")
_CLASSES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM", "Reformer": "ReformerModelWithLMHead"}
_CONFIGS = {"Gemma4": "Gemma4TextConfig", "Llama4": "Llama4TextConfig"}
SHARED = ["llama", "gpt2", "gpt-neox", "qwen2", "opt", "mistral", "qwen2, window", "gemma3"]
STATE = ["gpt-neo", "bloom", "mamba2", "rwkv"]
STEP = ["mamba"]
RERUN = ["xlstm"]
WAYS = {
    **dict.fromkeys(SHARED, HuggingFaceDensity),
    **dict.fromkeys(STATE, HuggingFaceStateDensity),
    **dict.fromkeys(STEP, HuggingFaceStepDensity),
    **dict.fromkeys(RERUN, HuggingFaceRerunDensity),
}


@functools.cache
def model_of(name):
    """A model of two layers with weights large enough that what it sees matters."""
    transformers = importlib.import_module("transformers")
    kind, sizes = MORE[name][::2] if name in MORE else (CONFIGS | LOOKS_AHEAD)[name]
    config_class = getattr(transformers, _CONFIGS.get(kind, f"{kind}Config"))
    config = config_class(vocab_size=N_TOKENS, bos_token_id=BEGIN, eos_token_id=0, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = getattr(transformers, _CLASSES.get(kind, f"{kind}ForCausalLM"))(config)
        for weight in model.parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, std=0.3)
    return model.eval()


@functools.cache
def density_of(name, context=None):
    tokens = {f"e{i}": (i * 3) % V for i in range(V)}
    limited = hasattr(model_of(name).config, "max_position_embeddings")
    context = context or (None if limited else 40)
    return wrap_huggingface(model_of(name), tokens, hidden_token=HIDDEN, context=context, device="cpu")


RNG = np.random.default_rng(5)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)


def brute_force(density, past):
    """One plain forward over one whole past: log-probabilities of all event types."""
    (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
    tokens = dict(enumerate(density.tokens.tolist())) | {density.vocabulary.hidden_id: HIDDEN}
    seen = [BEGIN] + [tokens[int(i)] for i in past[block.begin :]]
    with torch.inference_mode():
        logits = density.model(input_ids=torch.tensor([seen]), use_cache=False).logits[0, -1]
    return logits[torch.from_numpy(density.tokens)].double().log_softmax(0).numpy()


def task(n=12, steps=4):
    rng = np.random.default_rng(6)
    tails = rng.integers(0, V, (n, steps)).astype(np.int32)
    tails[::3, 0] = V + 2  # hidden
    return Branches(IDS, rng.integers(0, LENGTH, n), tails)


def check(density):
    assert 0 < density.cost(LENGTH, 4).least_bytes <= density.cost(LENGTH, 4).most_bytes
    score, whole = density.score(IDS), density.conditional(IDS, np.arange(LENGTH + 1))
    for position in range(LENGTH):
        expected = brute_force(density, IDS[:position])
        assert score[position] == pytest.approx(expected[IDS[position]], abs=1e-5)
        assert np.allclose(whole[position], expected, atol=1e-5)
    assert np.allclose(whole[LENGTH], brute_force(density, IDS), atol=1e-5)
    one = task()
    found = density.score_branches(*one)
    for k, start in enumerate(one.starts):
        for step in range(one.tails.shape[1]):
            target = start + step + 1
            if target >= LENGTH:
                assert np.isnan(found[k, step])
                continue
            past = np.concatenate([IDS[:start], one.tails[k, : step + 1]])
            assert found[k, step] == pytest.approx(brute_force(density, past)[IDS[target]], abs=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_are_those_of_the_plain_forward(name):
    check(density_of(name))


@pytest.mark.parametrize("name", CONFIGS)
def test_scores_over_several_blocks(name):
    check(density_of(name, context=12))


@pytest.mark.parametrize("name", CONFIGS)
def test_how_branches_are_scored_is_as_documented(name):
    density = density_of(name)
    assert type(density) is WAYS[name]
    assert density.reruns == (name in RERUN)
    tried = [kind.__name__ for kind in (HuggingFaceDensity, HuggingFaceStateDensity, HuggingFaceStepDensity)]
    faster = tried.index(type(density).__name__) if name not in RERUN else 3
    assert [said.partition(":")[0] for said in density.tried] == tried[:faster]
    assert all(len(said.partition(":")[2]) > 10 and "\n" not in said for said in density.tried)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in _QUICK else pytest.mark.slow) for n in MORE])
def test_other_architectures_find_a_way_and_are_exact(name):
    density = density_of(name)
    assert type(density) is MORE[name][1]
    check(density)


def test_a_model_that_looks_ahead_at_some_places_is_refused():
    with pytest.raises(ConfigError, match="at 12 events a later token moves the score of an earlier one"):
        density_of("deepseek-v3.2", context=12)


def test_a_state_that_is_not_honoured_is_found_where_the_past_matters_little():
    transformers = importlib.import_module("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BambaConfig(vocab_size=N_TOKENS, bos_token_id=BEGIN, eos_token_id=0, **MORE["bamba"][2])
        model = transformers.BambaForCausalLM(config).eval()  # first weights: what is far back hardly matters
    found = wrap_huggingface(model, {f"e{i}": i for i in range(V)}, hidden_token=HIDDEN, device="cpu")
    assert type(found) is HuggingFaceRerunDensity


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "mamba2", "rwkv"])
def test_whole_sequences_can_always_be_run_again(name):
    density = density_of(name)
    settings = {"tokens": density.tokens, "begin_token": BEGIN, "hidden_token": HIDDEN, "context": 12}
    with quiet_transformers():
        check(HuggingFaceRerunDensity(model_of(name), density.vocabulary, **settings))


@pytest.mark.parametrize("name", [*STATE, *STEP, *RERUN])
def test_company_and_batches_do_not_move_scores(name):
    density, one = density_of(name), task()
    alone, score = density.score_branches(*one), density.score(IDS)
    other = task(3, 2)
    again = density.score_branches_many([other, one, other])[1]
    assert np.allclose(alone, again, atol=1e-6, equal_nan=True)
    runtime = replace(density.runtime, batches=Batches(n_tokens=16, n_held=0, n_rows=16))
    small = density.with_runtime(runtime)
    assert np.allclose(small.score_branches(*one), alone, atol=1e-6, equal_nan=True)
    assert np.allclose(small.score(IDS), score, atol=1e-6)
    cost = density.cost(LENGTH, 4)
    assert cost.least_bytes <= cost.most_bytes
    assert density.batches_within(cost.least_bytes, LENGTH, 4).n_tokens <= density._fastest_batches().n_tokens


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_window_that_is_not_honoured_is_found_by_the_probe(name, monkeypatch):
    kinds = set(windows_of(model_of(name).config))
    monkeypatch.setattr(huggingface, "windows_of", lambda config: dict.fromkeys(kinds))
    found = wrap_huggingface(model_of(name), {f"e{i}": i for i in range(V)}, device="cpu")
    assert type(found) is HuggingFaceStateDensity


def test_copies_that_are_not_copies_are_found_by_the_probe(monkeypatch):
    monkeypatch.setattr(state, "_copied", lambda own, n, device: own)
    assert type(wrap_huggingface(model_of("bloom"), {f"e{i}": i for i in range(V)}, context=40, device="cpu")) is (
        HuggingFaceRerunDensity
    )


def wrapped_with(monkeypatch, change):
    """Wrap a Llama whose plain forward is changed; what it gives is refused in one sentence."""
    model = copy.deepcopy(model_of("llama"))
    forward = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda *args, **kwargs: change(forward, *args, **kwargs))
    return wrap_huggingface(model, {f"e{i}": i for i in range(V)}, context=30, device="cpu")


def both_ways(forward, *args, **kwargs):
    found = forward(*args, **kwargs)
    found.last_hidden_state = found.last_hidden_state + 0.1 * found.last_hidden_state.mean(1, keepdim=True)
    return found


def noisy(forward, *args, **kwargs):
    found = forward(*args, **kwargs)
    found.last_hidden_state = found.last_hidden_state + 0.1 * torch.randn_like(found.last_hidden_state)
    return found


def broken(forward, *args, **kwargs):
    found = forward(*args, **kwargs)
    found.last_hidden_state = found.last_hidden_state * torch.nan
    return found


def falls_over(forward, *args, **kwargs):
    raise RuntimeError("matC_old has wrong shape\nand more")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (both_ways, "a later token moves"),
        (noisy, "other log-probabilities each time"),
        (broken, "not finite"),
        (falls_over, "cannot be run on 30 events after a begin token: matC_old has wrong shape$"),
    ],
)
def test_what_is_no_model_of_the_next_event_is_refused(change, says, monkeypatch):
    with pytest.raises(ConfigError, match=says):
        wrapped_with(monkeypatch, change)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo"])
def test_a_model_whose_positions_are_no_round_number(name):
    model = copy.deepcopy(model_of(name))
    model.transformer.wpe = torch.nn.Embedding.from_pretrained(model.transformer.wpe.weight[: LENGTH + 1])
    tokens = {f"e{i}": (i * 3) % V for i in range(V)}
    density = wrap_huggingface(model, tokens, hidden_token=HIDDEN, context=LENGTH + 1, device="cpu")
    assert type(density) is WAYS[name]
    check(density)


def test_a_context_beyond_the_model_is_refused():
    with pytest.raises(ConfigError, match="GPT2LMHeadModel cannot be run on 90 events"):
        wrap_huggingface(model_of("gpt2"), {"a": 0, "b": 1}, context=90, device="cpu")


@pytest.mark.parametrize("name", ["bloom", "xlstm", "mistral"])
def test_a_model_is_saved_and_loaded(name, tmp_path):
    density = density_of(name)
    save_density(density, tmp_path / "model")
    again = load_density(tmp_path / "model", device="cpu")
    assert type(again) is WAYS[name]
    assert again.fingerprint == density.fingerprint
    assert np.allclose(again.score(IDS), density.score(IDS), atol=1e-6)


@pytest.mark.parametrize(("name", "setting", "value"), [("mistral", "sliding_window", 9), ("bloom", "n_head", 1)])
def test_what_the_configuration_says_is_in_the_fingerprint(name, setting, value):
    model = copy.deepcopy(model_of(name))
    setattr(model.config, setting, value)
    tokens = {f"e{i}": (i * 3) % V for i in range(V)}
    other = wrap_huggingface(model, tokens, hidden_token=HIDDEN, device="cpu")
    assert other.fingerprint != density_of(name).fingerprint


def test_how_long_the_probe_is(monkeypatch):
    density = density_of("mistral")
    assert probe_length(density) == 2 * (density.context // 2) > density.model.config.sliding_window
    monkeypatch.setattr(probe, "_FLOPS", density.token_flops)  # affords one token: still past the window of 8
    assert probe_length(density) == 32
    monkeypatch.setattr(density.model.config, "sliding_window", 19)
    monkeypatch.setattr(probe, "_FLOPS", 10 * density.token_flops)
    assert probe_length(density) == 19 + 32
    monkeypatch.setattr(probe, "_FLOPS", 1e12)
    monkeypatch.setattr(probe, "_NUMBERS", 40 * V)
    assert probe_length(density) == 19 + 32


def test_plan_says_that_whole_sequences_are_run_again():
    log = sq.read_log(pl.DataFrame({"case": [1] * 6, "event": ["e0", "e1", "e2", "e0", "e4", "e1"]}))
    for name, says in (("xlstm", True), ("mamba", False)):
        plan = plan_discovery(density_of(name), log, particles=2, calibrate=False)
        assert plan.reruns == says
        assert any("whole sequences again" in line for line in plan.lines()) == says
