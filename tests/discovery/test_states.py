"""A log with a state column is asked how things went, unless another question is asked."""

import numpy as np
import polars as pl

import sequela as sq


def a_log(state=None, event=("operation", "outcome")):
    rng = np.random.default_rng(0)
    rows = []
    for case in range(80):
        failed = rng.random() < 0.4
        rows.append((case, 0, "read", "error" if failed else "ok"))
        rows.append((case, 1, "parse", "ok"))
        rows.append((case, 2, "write", "error" if failed and rng.random() < 0.9 else "ok"))
    table = pl.DataFrame(rows, schema=["case", "time", "operation", "outcome"], orient="row")
    return sq.read_log(table, event=list(event), state=state)


def test_the_state_decides_where_the_log_has_one():
    log = a_log("outcome")
    density = sq.fit(log, width=16, max_steps=200, progress=False)
    found = sq.discover_log(density, log, progress=False)
    assert found.run.arguments.contrast == "state"
    links = set(found.edges.select("cause", "effect").rows())
    assert ("read|error", "write|error") in links
    assert not any(cause.startswith("parse") for cause, _ in links)  # it has one state: not tested
    assert {"presence_cmi_nats", "state_cmi_nats"} <= set(found.edges.columns)
    presence = sq.discover_log(density, log, contrast="presence", progress=False)
    assert presence.run.arguments.contrast == "presence"
    assert sq.discover_log(density, log, design="leave-one-out", progress=False).run.arguments.contrast is None


def test_a_log_without_one_is_asked_of_presence():
    log = a_log(event=("outcome", "operation"))
    density = sq.fit(log, width=16, max_steps=50, progress=False)
    assert sq.discover_log(density, log, progress=False).run.arguments.contrast is None


def test_a_last_column_called_outcome_is_asked_of_states():
    log = a_log()
    density = sq.fit(log, width=16, max_steps=20, progress=False)
    assert sq.discover_log(density, log, progress=False).run.arguments.contrast == "state"
