"""A causal language model over text whose event types are several tokens each.

The log-probability of an event is the sum over its tokens. Each token's probability is renormalised over the tokens
that can stand there (those of event types that begin alike), as that of an event of one token is over all event types:
the event types then have probabilities that sum to 1. No event type may be the beginning of another.

Whole sequences of tokens are run again for every branch: exact, and slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from sequela.density.base import Floats, Ids
from sequela.density.decoder.rerun import HuggingFaceRerunDensity
from sequela.density.rerun import Places, RerunDensity, Row
from sequela.density.runtime.devices import fingerprint_of
from sequela.density.runtime.network_density import Batches, Cost, NetworkDensity, Runtime
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

Strings = Sequence[Sequence[int]]

_ROWS = 256
"""Rows whose distributions over tokens are held at once."""


class _Node(NamedTuple):
    """A place within event types: after some tokens that several may begin with.

    Attributes:
        path: Those tokens (int32, ``[n]``), as ids of the density of tokens.
        allowed: Tokens that can follow (int32, ``[m]``).
    """

    path: Ids
    allowed: Ids


class EventTokensDensity(RerunDensity, NetworkDensity):
    """A Hugging Face causal model whose events are strings of tokens.

    Args:
        model: A causal language model.
        vocabulary: Event types.
        event_tokens: Token ids of each event type, in the order of the vocabulary.
        begin_token: Token put before the first event.
        hidden_token: Token of an event that is not shown, for a model trained with them.
        context: Most past events one event is predicted from.
        device: Where it runs.

    Raises:
        ConfigError: An event type has no token or is the beginning of another, or the model does not fit (see
            `DecoderDensity`).
    """

    backbone = "huggingface"

    def __init__(
        self,
        model: Any,
        vocabulary: Vocabulary,
        *,
        event_tokens: Strings,
        begin_token: int,
        hidden_token: int | None = None,
        context: int,
        device: str = "cpu",
    ) -> None:
        check_strings(event_tokens, vocabulary)
        self.event_tokens = [[int(token) for token in own] for own in event_tokens]
        self.vocabulary = vocabulary
        self.context = context
        self.knows_hidden = hidden_token is not None
        self.runtime = Runtime(device=device)
        if context < 2:
            raise ConfigError(f"context must be at least 2 events; got {context}")
        used = sorted({token for own in self.event_tokens for token in own})
        self.longest = max(map(len, self.event_tokens))
        self.by_token = HuggingFaceRerunDensity(
            model,
            Vocabulary(tuple(map(str, used)), (0,) * len(used)),
            tokens=np.array(used, dtype=np.int64),
            begin_token=begin_token,
            hidden_token=hidden_token,
            context=context * self.longest,
            device=device,
        )
        inner, place = self.by_token.vocabulary, {token: i for i, token in enumerate(used)}
        self._strings = [np.array([place[token] for token in own], dtype=np.int32) for own in self.event_tokens]
        marks = (inner.pad_id, inner.begin_id, inner.hidden_id)
        self._fed = [*self._strings, *(np.array([mark], dtype=np.int32) for mark in marks)]
        self._nodes, self._steps = _tree(self._strings)

    @property
    def model(self) -> Any:
        """The causal language model."""
        return self.by_token.model

    @property
    def begin_token(self) -> int:
        """Token put before the first event."""
        return self.by_token.begin_token

    @property
    def hidden_token(self) -> int | None:
        """Token of an event that is not shown."""
        return self.by_token.hidden_token

    @property
    def fingerprint(self) -> str:
        """See `Density.fingerprint`."""
        return fingerprint_of({}, self.by_token.fingerprint, self.vocabulary.fingerprint, str(self.event_tokens))

    def cost(self, longest: int, horizon: int) -> Cost:
        """See `NetworkDensity.cost`: a step runs its whole past of tokens, half of it on average, and the event."""
        events = min(longest, self.context)
        found = self.by_token.cost(events * self.longest, horizon * self.longest)
        held = 8 * _ROWS * self.longest * len(self.by_token.vocabulary.names)
        flops = self.by_token.token_flops * self.longest * (1 + events / 2)
        return Cost(found.step_bytes, found.least_bytes + held, found.most_bytes + held, flops)

    def batches_within(self, limit: int, longest: int, horizon: int) -> Batches:
        """See `NetworkDensity.batches_within`."""
        events = min(longest, self.context)
        return self.by_token.batches_within(limit, events * self.longest, horizon * self.longest)

    def _prepare(self, before: Runtime) -> None:
        """See `NetworkDensity`."""
        self.by_token = self.by_token.with_runtime(self.runtime)

    def _rows_a_call(self, n_inputs: int) -> int:
        return _ROWS

    def _target_log_probs(self, inputs: Ids, places: Places, targets: Ids) -> Floats:
        wanted = [
            (place, node, token)
            for place, event in enumerate(targets.tolist())
            for node, token in zip(self._steps[event], self._strings[event].tolist(), strict=True)
        ]
        result = np.zeros(len(targets))
        for (place, node, token), allowed in zip(
            wanted, self._allowed(inputs, places, [(place, node) for place, node, _ in wanted]), strict=True
        ):
            result[place] += allowed[np.searchsorted(self._nodes[node].allowed, token)]
        return result

    def _log_probs(self, inputs: Ids, places: Places) -> Floats:
        n_nodes, n_places = len(self._nodes), len(places[0])
        wanted = [(place, node) for place in range(n_places) for node in range(n_nodes)]
        found = self._allowed(inputs, places, wanted)
        result = np.zeros((n_places, self.vocabulary.n_types))
        for place in range(n_places):
            own = found[place * n_nodes : (place + 1) * n_nodes]
            for event, (nodes, tokens) in enumerate(zip(self._steps, self._strings, strict=True)):
                for node, token in zip(nodes, tokens.tolist(), strict=True):
                    result[place, event] += own[node][np.searchsorted(self._nodes[node].allowed, token)]
        return result

    def _allowed(self, inputs: Ids, places: Places, wanted: list[tuple[int, int]]) -> list[Floats]:
        """Return the log-probabilities of the tokens that can follow, at some nodes after some places.

        Where the tokens of a node are those that the row goes on with, the row itself is run; otherwise one that ends
        with the node.
        """
        fed = [[self._fed[event] for event in line[1:].tolist()] for line in inputs]
        whole = [np.concatenate([np.zeros(0, np.int32), *own]) for own in fed]
        starts = [np.cumsum([0, *map(len, own)]) for own in fed]
        rows: dict[bytes, tuple[Ids, list[tuple[int, int]]]] = {}
        for number, (place, node) in enumerate(wanted):
            line, start = int(places[0][place]), int(starts[places[0][place]][places[1][place]])
            path = self._nodes[node].path
            end = start + len(path)
            tokens = whole[line]
            if not np.array_equal(tokens[start:end], path):
                tokens = np.concatenate([tokens[:start], path])
            rows.setdefault(tokens.tobytes(), (tokens, []))[1].append((end, number))
        found: list[Floats] = [np.zeros(0)] * len(wanted)
        every = list(rows.values())
        for low in range(0, len(every), _ROWS):
            self._put_allowed(every[low : low + _ROWS], [node for _, node in wanted], found)
        return found

    def _put_allowed(
        self, rows: list[tuple[Ids, list[tuple[int, int]]]], node_of: list[int], found: list[Floats]
    ) -> None:
        given = []
        for tokens, ends in rows:
            seen = np.unique([end for end, _ in ends])
            given.append(Row(tokens[: seen[-1]], seen, np.zeros(0, np.int32)))
        for row, (_, ends), logs in zip(given, rows, self.by_token.distributions(given), strict=True):
            for end, number in ends:
                own = logs[np.searchsorted(row.seen, end)][self._nodes[node_of[number]].allowed]
                top = own.max()
                found[number] = own - (top + np.log(np.exp(own - top).sum()))


def check_strings(event_tokens: Strings, vocabulary: Vocabulary) -> None:
    """Raise `ConfigError` unless each event type has tokens and none is the beginning of another.

    Example:
        >>> check_strings([[3, 4], [3]], Vocabulary(("door open", "door"), (0, 0)))
        Traceback (most recent call last):
        ...
        sequela.errors.ConfigError: event_tokens: the tokens of 'door' are the beginning of those of 'door open': ...
    """
    if len(event_tokens) != vocabulary.n_types or not all(len(own) for own in event_tokens):
        raise ConfigError("event_tokens must give each event type at least one token id")
    order = sorted(range(len(event_tokens)), key=lambda i: list(event_tokens[i]))
    for first, second in pairwise(order):
        own, other = list(event_tokens[first]), list(event_tokens[second])
        if other[: len(own)] == own:
            raise ConfigError(
                f"event_tokens: the tokens of '{vocabulary.names[first]}' are the beginning of those of "
                f"'{vocabulary.names[second]}': end every event type with a token of its own, a line break for example"
            )


def _tree(strings: list[Ids]) -> tuple[list[_Node], list[list[int]]]:
    """Return the nodes of the tree of token strings, and the node before each token of each string."""
    following: dict[tuple[int, ...], set[int]] = {}
    for own in strings:
        for depth, token in enumerate(own.tolist()):
            following.setdefault(tuple(own[:depth].tolist()), set()).add(token)
    number = {path: i for i, path in enumerate(following)}
    nodes = [
        _Node(np.array(path, dtype=np.int32), np.array(sorted(allowed), dtype=np.int32))
        for path, allowed in following.items()
    ]
    return nodes, [[number[tuple(own[:depth].tolist())] for depth in range(len(own))] for own in strings]
