"""What scoring costs with each architecture of docs/howto/hugging-face.md, relative to a Llama of the same sizes.

    python benchmarks/architectures.py [--repeats 3] [--only "Llama 4" Bamba]

Untrained models of two layers, width 64, 60 event types, one case of 60 events; one `estimate` with 32 particles and
horizon 6. One process, one thread, medians of processor time. ``vs_brute_force`` is the largest difference of the
scores of some branches from the model's own plain forward over each whole past. With ``--only`` the other rows stay as
they were; Llama is measured beside.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers

from sequela import estimate, wrap_huggingface
from sequela.density.base import Density
from sequela.events.sequences import Case

N_TYPES, LENGTH, WIDTH, PARTICLES, HORIZON = 60, 60, 64, 32, 6
RESULTS = Path(__file__).parent / "results" / "architectures.csv"
WAYS = {
    "HuggingFaceDensity": "shared prefix",
    "HuggingFaceStepDensity": "copies of the state, one event at a time",
    "HuggingFaceRerunDensity": "whole sequences again",
}
_BODY = {"hidden_size": WIDTH, "num_hidden_layers": 2}
_HEADS = _BODY | {"num_attention_heads": 2, "intermediate_size": 4 * WIDTH, "max_position_embeddings": 128}
_ROPE = _HEADS | {"num_key_value_heads": 2, "head_dim": WIDTH // 2}
_SLIDING = {"sliding_window": 16}
_MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
_GPT = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 128}
_MOE = {"moe_intermediate_size": WIDTH}
_EXPERTS = {"num_local_experts": 2}
_ROUTED = {"n_routed_experts": 2, "num_experts_per_tok": 1, **_MOE}
_MAMBA = {
    "mamba_n_heads": 4, "mamba_d_head": WIDTH // 2, "mamba_n_groups": 1, "mamba_d_state": 16, "mamba_chunk_size": 16,
}  # fmt: skip
_DELTA = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": WIDTH // 2, "linear_value_head_dim": WIDTH // 2,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", _ROPE),
    "GPT-2": ("GPT2LMHeadModel", _GPT),
    "GPT-NeoX": ("GPTNeoXForCausalLM", _HEADS),
    "Qwen2": ("Qwen2ForCausalLM", {key: value for key, value in _ROPE.items() if key != "head_dim"}),
    "OPT": ("OPTForCausalLM", _HEADS | {"ffn_dim": 4 * WIDTH, "word_embed_proj_dim": WIDTH}),
    "Mistral": ("MistralForCausalLM", _ROPE | _SLIDING),
    "Gemma 3": ("Gemma3ForCausalLM", _ROPE | _SLIDING | _MIXED),
    "GPT-Neo": (
        "GPTNeoForCausalLM",
        {
            "hidden_size": WIDTH, "num_layers": 2, "num_heads": 2, "window_size": 16, "max_position_embeddings": 128,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    "Bloom": ("BloomForCausalLM", {"hidden_size": WIDTH, "n_layer": 2, "n_head": 2}),
    "Mamba": ("MambaForCausalLM", _BODY | {"state_size": 16}),
    "Mamba-2": (
        "Mamba2ForCausalLM",
        _BODY | {"state_size": 16, "num_heads": 4, "head_dim": 2 * WIDTH // 4, "n_groups": 1, "chunk_size": 16},
    ),
    "RWKV": ("RwkvForCausalLM", _BODY | {"attention_hidden_size": WIDTH, "context_length": 128}),
    "xLSTM": ("xLSTMForCausalLM", _BODY | {"num_heads": 4, "chunk_size": 16, "mode": "inference"}),
    "GPT-OSS": ("GptOssForCausalLM", _ROPE | _SLIDING | _MIXED | _EXPERTS | {"num_experts_per_tok": 1}),
    "Olmo 3": ("Olmo3ForCausalLM", _ROPE | _SLIDING | _MIXED | {"pad_token_id": 0}),
    "Gemma 4": ("Gemma4ForCausalLM", _ROPE | _SLIDING | _MIXED | {"global_head_dim": WIDTH // 2}),
    "MiMo-V2-Flash": (
        "MiMoV2FlashForCausalLM",
        _ROPE | _SLIDING | _MIXED | _ROUTED | {"v_head_dim": WIDTH // 2, "num_key_value_heads": 1},
    ),
    "DeepSeek-V3": (
        "DeepseekV3ForCausalLM",
        _HEADS | _ROUTED | {
            "num_key_value_heads": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 32, "kv_lora_rank": 32,
            "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": WIDTH // 2, "first_k_dense_replace": 1,
        },
    ),
    "Qwen3-MoE": ("Qwen3MoeForCausalLM", _ROPE | {"num_experts": 2, "num_experts_per_tok": 1, **_MOE}),
    "MPT": ("MptForCausalLM", {"d_model": WIDTH, "n_heads": 2, "n_layers": 2, "max_seq_len": 128}),
    "Llama 4": (
        "Llama4ForCausalLM",
        _ROPE | _EXPERTS | {
            "num_experts_per_tok": 1, "intermediate_size_mlp": 4 * WIDTH, "attention_chunk_size": 16,
            "layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0], "pad_token_id": 0,
        },
    ),
    "Falcon-H1": ("FalconH1ForCausalLM", _ROPE | _MAMBA | {"mamba_d_ssm": 2 * WIDTH}),
    "Granite 4": (
        "GraniteMoeHybridForCausalLM",
        _ROPE | _MAMBA | _EXPERTS | {
            "layer_types": ["mamba", "attention"], "num_experts_per_tok": 1, "shared_intermediate_size": WIDTH,
        },
    ),
    "LFM2": ("Lfm2ForCausalLM", _ROPE | {"layer_types": ["conv", "full_attention"]}),
    "Qwen3-Next": (
        "Qwen3NextForCausalLM",
        _ROPE | _MOE | _DELTA | {
            "num_experts": 2, "num_experts_per_tok": 1, "shared_expert_intermediate_size": WIDTH,
        },
    ),
    "Olmo Hybrid": ("OlmoHybridForCausalLM", _ROPE | _DELTA | {"pad_token_id": 0}),
    "Zamba 2": (
        "Zamba2ForCausalLM",
        _ROPE | {
            "mamba_d_state": 16, "n_mamba_heads": 4, "mamba_ngroups": 1, "chunk_size": 16, "num_mem_blocks": 1,
            "layers_block_type": ["mamba", "hybrid"], "use_mem_rope": True, "adapter_rank": 4,
        },
    ),
    "Jamba": (
        "JambaForCausalLM",
        _ROPE | {
            "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
            "num_experts": 2, "num_experts_per_tok": 1, "use_mamba_kernels": False, "mamba_d_state": 16,
            "mamba_dt_rank": 4,
        },
    ),
    "Bamba": ("BambaForCausalLM", _ROPE | _MAMBA | {"attn_layer_indices": [1]}),
}  # fmt: skip


def model_of(name: str) -> Any:
    """Return an untrained model."""
    kind, sizes = MODELS[name]
    model_class = getattr(importlib.import_module("transformers"), kind)
    torch.manual_seed(0)
    config = model_class.config_class(vocab_size=N_TYPES + 1, bos_token_id=N_TYPES, eos_token_id=0, **sizes)
    return model_class(config)


def gru() -> Density:
    """Return an untrained recurrent density of our own."""
    from sequela.density.recurrent.density import RecurrentDensity
    from sequela.density.recurrent.network import RecurrentConfig, RecurrentNetwork
    from sequela.events.vocabulary import Vocabulary

    torch.manual_seed(0)
    vocabulary = Vocabulary(tuple(f"e{i}" for i in range(N_TYPES)), (1,) * N_TYPES)
    config = RecurrentConfig(N_TYPES, vocabulary.n_inputs, 127, WIDTH, 2)
    return RecurrentDensity(RecurrentNetwork(config), vocabulary)


def furthest_from_brute_force(density: Any, ids: np.ndarray[Any, Any]) -> float:
    """Return the largest difference of branch scores from plain forwards of the model over each whole past."""
    rng = np.random.default_rng(1)
    starts = np.array([0, 7, LENGTH // 2, LENGTH - 5])
    tails = rng.integers(0, N_TYPES, (len(starts), 4)).astype(np.int32)
    found, worst = density.score_branches(ids, starts, tails), 0.0
    for row, start in enumerate(starts.tolist()):
        for step in range(4):
            past = np.concatenate([ids[:start], tails[row, : step + 1]])
            expected = density.plain_log_probs(past)[-1, ids[start + step + 1]]
            worst = max(worst, abs(float(found[row, step]) - float(expected)))
    return worst


def seconds_of(density: Density, ids: np.ndarray[Any, Any], repeats: int) -> float:
    """Return the median processor time of one `estimate`."""
    case, seconds = Case("case", ids, None), []
    for _ in range(repeats + 1):  # the first warms up
        started = time.process_time()
        estimate(density, case, particles=PARTICLES, horizon=HORIZON)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


OURS = "gru (of our own)"


def main(repeats: int, only: list[str]) -> pl.DataFrame:
    """Measure all, or some and Llama."""
    ids = np.random.default_rng(0).integers(0, N_TYPES, LENGTH).astype(np.int32)
    tokens = {f"e{i}": i for i in range(N_TYPES)}
    rows: list[dict[str, Any]] = []
    for name in [*MODELS, OURS]:
        if only and name not in ("Llama", *only):
            continue
        if name in MODELS:
            density: Any = wrap_huggingface(model_of(name), tokens, context=96, device="cpu")
            worst = furthest_from_brute_force(density, ids)
        else:
            density, worst = gru(), None
        took = seconds_of(density, ids, repeats)
        rows.append(
            {
                "architecture": name,
                "branches": WAYS.get(type(density).__name__, "copies of the state"),
                "cpu_seconds": round(took, 3),
                "relative_to_llama": round(took / (rows[0]["cpu_seconds"] if rows else took), 1),
                "vs_brute_force": worst,
                "transformers": transformers.__version__,
            }
        )
        print(rows[-1], file=sys.stderr)
    return pl.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[*MODELS, OURS], default=[])
    torch.set_num_threads(1)
    asked = parser.parse_args()
    table = main(asked.repeats, asked.only)
    RESULTS.parent.mkdir(exist_ok=True)
    if asked.only and RESULTS.is_file():
        table = table.filter(pl.col("architecture") != "Llama")
        kept = pl.read_csv(RESULTS, schema=table.schema).join(table, on="architecture", how="anti")
        order = pl.DataFrame({"architecture": [*MODELS, OURS]})
        table = order.join(pl.concat([kept, table]), on="architecture", maintain_order="left")
    table.write_csv(RESULTS)
    with pl.Config(tbl_rows=-1, tbl_cols=-1):
        print(table)
