"""seq2cause (the authors' package of TRACE): train a small Llama on the log, then find edges between events.

    python run_seq2cause.py LOG.csv --out edges.csv [--threshold 0.05] [--strategy full]

Its own unsupervised threshold, with all defaults and fitted once on the scores of all cases as its command line
does it, decides the edges of --out. With --threshold T the edges that score above T nats are written as well, under
the name of --out with "-T" before the suffix. Every case gets a begin token, which serves as seq2cause's fixed
context; so every event can be a cause (its command line fixes the first 4 events instead).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from exchange import Log, parser, read_log
from seq2cause.adapters import HFModelAdapter
from seq2cause.diagnostics import compute_cmi_matrix
from seq2cause.threshold import AdaptiveThreshold
from transformers import LlamaConfig, LlamaForCausalLM

IGNORED = -100  # label that the loss leaves out
CHECK_STEPS = 50


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--train", type=Path, help="log to train on; LOG itself by default")
    options.add_argument("--threshold", type=float, help="also write the edges above this many nats")
    options.add_argument("--strategy", choices=["atomic", "full"], default="atomic")
    options.add_argument("--n-particles", type=int, default=32)
    options.add_argument("--context-len", type=int, default=1, help="fixed positions, the begin token included")
    options.add_argument("--max-length", type=int, default=200, help="later events of a case are left out")
    options.add_argument("--max-steps", type=int, default=1500)
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    torch.manual_seed(arguments.seed)
    log = read_log(arguments.log, arguments.max_events)
    training = read_log(arguments.train, arguments.max_events) if arguments.train else log
    types = sorted(set(log.types) | set(training.types))

    started = time.perf_counter()
    model = train(sequences(training, types, arguments.max_length), len(types), arguments.max_steps, arguments.seed)
    print(f"trained in {time.perf_counter() - started:.0f} s")

    started = time.perf_counter()
    adapter = HFModelAdapter(model, vocab_size=len(types))  # not the begin token: it is no replacement of an event
    cases = sequences(log, types, arguments.max_length)
    matrices = []
    for case in cases:
        if len(case) <= arguments.context_len:
            matrices.append(torch.zeros(0, 0))
            continue
        matrices.append(
            compute_cmi_matrix(
                adapter,
                case,
                context_len=arguments.context_len,
                n_particles=arguments.n_particles,
                strategy=arguments.strategy,
            )
        )
    print(f"scored {len(cases)} cases in {time.perf_counter() - started:.0f} s")

    first = arguments.context_len - 1  # position in the case of the first row of a matrix
    threshold = AdaptiveThreshold()
    lags = [torch.arange(len(m))[None, :] - torch.arange(len(m))[:, None] for m in matrices]
    scores = torch.cat([m[lag > 0] for m, lag in zip(matrices, lags, strict=True)])
    pooled_lags = torch.cat([lag[lag > 0] for lag in lags])
    tau = threshold.tau_by_lag(scores, pooled_lags, max_lag=int(pooled_lags.max()))
    print(f"its threshold: {tau[1]:.4f} nats at lag 1, {tau[max(tau)]:.4f} at lag {max(tau)}")
    graphs = [threshold.apply_tau_by_lag(m, tau) if len(m) else m.bool() for m in matrices]
    write(log, matrices, graphs, first, arguments.out)
    if arguments.threshold is not None:
        out = arguments.out.with_name(f"{arguments.out.stem}-{arguments.threshold:g}{arguments.out.suffix}")
        above = [(m > arguments.threshold) & (lag > 0) for m, lag in zip(matrices, lags, strict=True)]
        write(log, matrices, above, first, out)


def sequences(log: Log, types: list[str], max_length: int) -> list[torch.Tensor]:
    """Return token ids of every case behind a begin token (``len(types)``)."""
    token = np.array([types.index(name) for name in log.types])
    if cut := sum(len(ids) > max_length for ids in log.ids):
        print(f"{cut} cases are cut to their first {max_length} events")
    return [torch.tensor([len(types), *token[ids[:max_length]]], dtype=torch.long) for ids in log.ids]


def train(cases: list[torch.Tensor], n_types: int, max_steps: int, seed: int) -> LlamaForCausalLM:
    """Train on 9 of 10 cases; keep the weights that predict the others best."""
    tokens = torch.nn.utils.rnn.pad_sequence(cases, batch_first=True, padding_value=n_types)
    labels = torch.nn.utils.rnn.pad_sequence(cases, batch_first=True, padding_value=IGNORED)
    config = LlamaConfig(
        vocab_size=n_types + 1,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokens.shape[1] + 8,
        bos_token_id=n_types,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=max_steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(cases), generator=generator)
    held_out, rest = order[: max(1, len(cases) // 10)], order[max(1, len(cases) // 10) :]
    if not len(rest):
        raise SystemExit("training needs at least 2 cases")
    best, best_state, best_step = float("inf"), None, 0
    for step in range(1, max_steps + 1):
        model.train()
        rows = rest[torch.randint(len(rest), (32,), generator=generator)]
        loss = model(input_ids=tokens[rows], labels=labels[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % CHECK_STEPS == 0 or step == max_steps:
            model.eval()
            with torch.no_grad():
                nats = float(model(input_ids=tokens[held_out], labels=labels[held_out]).loss)
            if nats < best:
                best, best_step = nats, step
                best_state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)
    print(f"held out: {best:.4f} nats an event after step {best_step} of {max_steps}")
    return model.eval()


def write(log: Log, matrices: list[torch.Tensor], graphs: list[torch.Tensor], first: int, path: Path) -> None:
    """Write instance edges; row and column 0 of a matrix are position `first` of its case."""
    names = np.array(log.types, dtype=object)
    parts = []
    for case, ids, matrix, graph in zip(log.cases, log.ids, matrices, graphs, strict=True):
        causes, effects = (index.numpy() for index in torch.nonzero(graph, as_tuple=True))
        columns = {
            "case": [case] * len(causes),
            "cause_position": causes + first,
            "effect_position": effects + first,
            "lag": effects - causes,
            "cause": names[ids[causes + first]].tolist(),
            "effect": names[ids[effects + first]].tolist(),
            "score": matrix[causes, effects].double().numpy(),
        }
        parts.append(
            pl.DataFrame(columns, schema_overrides={"case": pl.String, "cause": pl.String, "effect": pl.String})
        )
    edges = pl.concat(parts)
    edges.write_csv(path)
    print(f"{edges.height} edges between events -> {path}")


if __name__ == "__main__":
    main()
