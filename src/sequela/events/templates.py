"""Messages as event types: the constant part of a message, its template, found by Drain (He et al., ICWS 2017; Drain3).

Words that change stand as ``<*>`` in a template; what they were are the parameters of a message. Templates are kept as
text and nothing else, so that the same messages meet the same templates with a saved model; files of Drain3 are never
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from sequela.errors import ConfigError, MissingExtraError

ANY = "<*>"
NONE = "<no template>"
"""Event type of messages that meet no template of the log that was learned from."""
_MASKS = (
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
    r"\b0[xX][0-9a-fA-F]+\b",
    r"\b[0-9a-fA-F]*\d[0-9a-fA-F]{7,}\b",
    r"-?\b\d+(?:[.,:]\d+)*",
)
"""What changes in any case: identifiers, addresses, numbers. None of them holds white space: words stay words."""
_SIMILARITY = 0.5
_DEPTH = 4


class Templates:
    """Templates of messages.

    Attributes:
        names: The templates, sorted.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(set(names))
        self._drain = _drain()
        cluster = _module().LogCluster
        for number, name in enumerate(self.names):
            made = cluster(name.split(), number)
            self._drain.id_to_cluster[number] = made
            self._drain.add_seq_to_prefix_tree(self._drain.root_node, made)

    @classmethod
    def learn(cls, messages: pl.Series) -> Templates:
        """Find the templates of messages; neither their order nor how often they occur matters.

        Example:
            >>> said = pl.Series(["door 3 opened by ann", "door 14 opened by bob", "door 3 opened by eve", "power off"])
            >>> Templates.learn(said).names
            ['door <*> opened by <*>', 'power off']
        """
        drain = _drain()
        for text in _masked(messages).unique().sort():
            drain.add_log_message(text)
        return cls(each.get_template() for each in drain.clusters)

    @classmethod
    def of(cls, source: Any) -> Templates:
        """Return the templates that a log, or the log of a model, was read with.

        Raises:
            ConfigError: It was read without.
        """
        columns = getattr(source, "columns", None) or source.info["log"]["columns"]
        learned: Mapping[str, Any] = columns.get("learned", {})
        if "templates" not in learned:
            raise ConfigError("this log was read without templates (template=…, --template)")
        return cls(learned["templates"])

    def match(self, messages: pl.Series | list[str]) -> pl.DataFrame:
        """Return ``message``, ``template`` (`NONE` where none fits) and ``parameters``, one row a message, in order.

        Example:
            >>> Templates(["door <*> opened by <*>"]).match(["door 7 opened by ann", "on fire"]).rows()
            [('door 7 opened by ann', 'door <*> opened by <*>', ['7', 'ann']), ('on fire', '<no template>', [])]
        """
        series = pl.Series("message", messages, dtype=pl.String)
        names = self.types(series)
        parameters = [parameters_of(name, text) for name, text in zip(names.to_list(), series.to_list(), strict=True)]
        return pl.DataFrame(
            [series, names.alias("template"), pl.Series("parameters", parameters, dtype=pl.List(pl.String))]
        )

    def types(self, messages: pl.Series) -> pl.Series:
        """Return the template of each message."""
        masked = _masked(messages)
        distinct = masked.unique().sort()
        found = [self._drain.match(text, full_search_strategy="fallback") for text in distinct]
        names = [NONE if each is None else each.get_template() for each in found]
        return masked.replace_strict(distinct, pl.Series(names, dtype=pl.String), return_dtype=pl.String)


def parameters_of(template: str, message: str) -> list[str]:
    """Return what stands in a message where its template says ``<*>``.

    Example:
        >>> parameters_of("took <*>ms at <*>", "took 17ms at 10.0.0.1:80")
        ['17', '10.0.0.1:80']
    """
    found: list[str] = []
    for part, word in zip(template.split(), message.split(), strict=False):
        if ANY in part:
            pattern = "(.*?)".join(re.escape(each) for each in part.split(ANY))
            match = re.fullmatch(pattern, word)
            found += match.groups() if match else [word]
    return found


def _masked(messages: pl.Series) -> pl.Series:
    """Return messages with one space between words, and ``<*>`` for what changes in any case."""
    text = messages.str.strip_chars().str.replace_all(r"\s+", " ")
    for mask in _MASKS:
        text = text.str.replace_all(mask, ANY)
    return text


def _module() -> Any:
    try:
        from drain3 import drain
    except ImportError as error:
        raise MissingExtraError("templates of messages", "lines") from error
    return drain


def _drain() -> Any:
    return _module().Drain(depth=_DEPTH, sim_th=_SIMILARITY, param_str=ANY, parametrize_numeric_tokens=True)
