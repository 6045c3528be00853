"""What reads text and plain values, in memory, with odd ones: an answer that fits, or one of our own errors."""

import base64
import copy
import csv
import io
import json
import math
from types import SimpleNamespace

from damage import JUNK, damaged, tampered
from files import refused_well, rows

from formats import as_csv
from sequela.errors import SequelaError
from sequela.events.log import event_at_level, event_components, joined_components
from sequela.events.readers.csv import count_records
from sequela.events.split import Split
from sequela.events.times import parse_duration
from sequela.execution.memory import parse_bytes
from sequela.graphs.records import RunRecord
from sequela.reports.words import trust
from sequela.text import quoted, visible

PIECES = ["a", "b", ",", '"', "\n", "\r", "\r\n", "é", "\t", ";", " ", "\x1b", "|", "\\", "\u202e", "\ud800", "漢"]


def some_text(rng):
    return "".join(rng.choices(PIECES, k=rng.randrange(12)))


def table(rng):
    """Records of a text table, whatever blocks it comes in: as many as Python's own reader finds."""
    separator = rng.choice(",;\t")
    content = as_csv(rows(rng), separator)
    if rng.random() < 0.5:
        content = damaged(rng, content)
    if rng.random() < 0.2:
        content = "".join(rng.choices('ab",\r\n ', [9, 9, 2, 3, 1, 3, 1], k=rng.randrange(1, 40))).encode()
    size = rng.choice([1, 3, 7, 50, 10_000])
    source = SimpleNamespace(
        name="x", blocks=lambda: iter([content[low : low + size] for low in range(0, len(content), size)])
    )
    shape = count_records(source, separator)
    text = io.StringIO(content.decode("utf-8", "replace"), newline="")
    assert shape.n_records == len(list(csv.reader(text, delimiter=separator))), (separator, content)


def record(rng, whole):
    """The record of a run: its sentences can be said."""
    values = tampered(rng, copy.deepcopy(whole))
    trust(RunRecord.of(values).to_dict())


def words(rng):
    """Names are shown harmlessly, and components come back as they went in."""
    text = some_text(rng)
    assert visible(text).isprintable()
    assert len(visible(text, longest=5)) <= 5
    assert quoted(ValueError(text)).isprintable()
    parts = [some_text(rng) for _ in range(rng.randrange(1, 4))]
    name = joined_components(parts)
    assert event_components(name) == parts
    assert event_components(event_at_level(name, 1)) == parts[:1]


def amounts(rng):
    """Sizes and lengths of time are positive numbers."""
    unit = rng.choice(["", "s", "ms", "GB", "kib", "h", "x", " d"])
    value = rng.choice([*JUNK, f"{rng.random() * 100:.3g}{unit}", f"{rng.randrange(1000)}{unit}", some_text(rng)])
    for found in (parse_bytes(value), parse_duration("x", value)):
        assert found > 0
        assert math.isfinite(found)


def split(rng):
    """Who was trained on what."""
    text = rng.choice([*JUNK, base64.b64encode(rng.randbytes(rng.randrange(40))).decode(), some_text(rng)])
    Split.from_plain(text).has_seen(["a"])


class Parsers:
    """The record of a discovery, changed again and again."""

    def __init__(self, folder):
        self.record = json.loads((folder / "run.json").read_bytes())

    def check(self, rng, kind):
        try:
            if kind == "record":
                record(rng, self.record)
            else:
                {"text table": table, "words": words, "amounts": amounts, "split": split}[kind](rng)
        except SequelaError as error:
            refused_well(error, "")
            return f"{kind} refused"
        return f"{kind} read"
