"""What caused each event, as columns: what all formats of logs write."""

from __future__ import annotations

import polars as pl


def annotate(events: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """Say of every event what caused it.

    Args:
        events: ``case``, ``position``, ``event`` and perhaps ``time``.
        edges: ``case`` and the columns of `InstanceGraph.edges`.

    Returns:
        The events with ``n_causes``, ``n_effects``, ``causes`` (positions, strongest first, separated by spaces; empty
        where there is none), ``main_cause`` and ``main_cause_nats`` (type and CMI of the strongest; null where none).

    Example:
        >>> events = pl.DataFrame({"case": ["a"] * 3, "position": [0, 1, 2], "event": ["x", "y", "z"]})
        >>> edges = pl.DataFrame({"case": ["a", "a"], "cause_position": [0, 1], "effect_position": [2, 2],
        ...     "cause": ["x", "y"], "cmi_nats": [0.1, 0.3]})
        >>> annotate(events, edges).select("n_causes", "n_effects", "causes", "main_cause").rows()
        [(0, 1, '', None), (0, 1, '', None), (2, 0, '1 0', 'y')]
    """
    strongest = edges.sort(
        ["case", "effect_position", "cmi_nats", "cause_position"], descending=[False, False, True, True]
    )
    causes = strongest.group_by("case", pl.col("effect_position").alias("position"), maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n_causes"),
        pl.col("cause_position").cast(pl.String).str.join(" ").alias("causes"),
        pl.col("cause").first().alias("main_cause"),
        pl.col("cmi_nats").first().alias("main_cause_nats"),
    )
    effects = edges.group_by("case", pl.col("cause_position").alias("position")).agg(
        pl.len().cast(pl.Int64).alias("n_effects")
    )
    key = ["case", "position"]
    return (
        events.join(causes, on=key, how="left", maintain_order="left")
        .join(effects, on=key, how="left", maintain_order="left")
        .with_columns(pl.col("n_causes", "n_effects").fill_null(0), pl.col("causes").fill_null(""))
        .select(*events.columns, "n_causes", "n_effects", "causes", "main_cause", "main_cause_nats")
    )
