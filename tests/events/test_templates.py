"""Lines of text as logs: what stands in them, templates of messages, and the same templates with a saved model."""

import json
import random

import polars as pl
import pytest
from typer.testing import CliRunner

import sequela as sq
from sequela.cli.app import app
from sequela.errors import ConfigError, LogFormatError, SequelaError
from sequela.events.readers import log_lines

PATTERN = r"(?P<time>\S+ \S+) (?P<level>\w+) \[(?P<request>\w+)\] (?P<message>.*)"
SAID = ("opened session for user {} from 10.0.0.{}", "took {}ms", "closed session for user {} after {} calls")
TYPES = ["closed session for user <*> after <*> calls", "opened session for user <*> from <*>", "took <*>ms"]


def lines(n_requests=30, seed=0):
    """Requests that open, take some time (some twice) and close a session; a stack trace now and then."""
    rng, found = random.Random(seed), []
    for i in range(n_requests):
        user = rng.choice(["ann", "bob", "eve", "root"])
        said = [
            SAID[0].format(user, i),
            *[SAID[1].format(rng.randrange(999))] * rng.choice([1, 2]),
            SAID[2].format(user, i),
        ]
        for k, text in enumerate(said):
            found.append(f"2026-01-31 10:{i:02}:{k:02},{rng.randrange(1000):03} INFO [r{i}] {text}")
        if i % 10 == 0:
            found.append("\tat java.lang.Thread.run(Thread.java:829)")
    return found


def put(folder, rows, name="app.log"):
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def test_lines_become_types(tmp_path):
    rows = lines()
    log = sq.read_log(put(tmp_path, rows), lines=PATTERN, case="request", template="message")
    assert sorted(set(log.frame["event"])) == TYPES
    assert log.n_events == len(rows) - 3
    assert log.notes == (
        f"3 of {len(rows)} lines are not as the pattern says and were left out; the first is "
        r"'\x09at java.lang.Thread.run(Thread.java:829)'",
        "3 templates of messages",
    )
    assert log.case("r7").events[0] == TYPES[1]
    assert log.frame["time"].min() > 1.7e9
    with_level = sq.read_log(
        tmp_path / "app.log", lines=PATTERN, case="request", event=["level", "message"], template="message"
    )
    assert set(with_level.frame["event"]) == {f"INFO|{name}" for name in TYPES}


def test_neither_order_nor_number_of_lines_matters(tmp_path):
    rows = lines()
    templates = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        path = put(tmp_path, rows * (seed + 1))
        templates.append(sq.Templates.of(sq.read_log(path, lines=PATTERN, case="request", template="message")).names)
    assert templates == [TYPES] * 3


def test_any_log_can_have_messages(tmp_path):
    frame = pl.DataFrame({"case": ["a"] * 3 + ["b"] * 3, "message": ["x 1", "y up", "x 22", "y down", "x 3", "y up"]})
    assert sq.read_log(frame, template="message").events == ["x <*>", "y <*>", "x <*>", "y <*>", "x <*>", "y <*>"]


def test_parameters(tmp_path):
    log = sq.read_log(put(tmp_path, lines()), lines=PATTERN, case="request", template="message")
    said = ["took 5ms", "opened session for  user zoe from 1.2.3.4:80", "nothing of the kind", ""]
    found = sq.Templates.of(log).match(said)
    assert found.rows() == [
        (said[0], "took <*>ms", ["5"]),
        (said[1], "opened session for user <*> from <*>", ["zoe", "1.2.3.4:80"]),
        (said[2], "<no template>", []),
        (said[3], "<no template>", []),
    ]
    for name in log.frame["event"].unique():  # a template is a message of its own
        assert sq.Templates.of(log).match([name])["template"].item() == name


@pytest.mark.parametrize("seed", range(4))
def test_what_was_learned_meets_its_own_messages(seed):
    """Every message that was learned from meets a template, before and after templates went through text."""
    rng = random.Random(seed)
    words = ["a", "b", "c", "on", "off", "7", "x=1", "x=2", "<*>", "ü", "0xff", "deadbeef12"]
    messages = pl.Series([" ".join(rng.choices(words, k=rng.randrange(1, 6))) for _ in range(400)])
    found = sq.Templates.learn(messages)
    again = sq.Templates(json.loads(json.dumps(found.names)))
    types = found.types(messages)
    assert "<no template>" not in types.to_list()
    assert types.equals(again.types(messages))
    shuffled = messages.shuffle(seed)
    assert sq.Templates.learn(shuffled).names == found.names
    for text, name in zip(messages, types, strict=True):
        words = name.split()
        assert len(words) == len(text.split())
        assert all("<*>" in word or word == other for word, other in zip(words, text.split(), strict=True))


def test_a_saved_model_keeps_its_templates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, lines())
    run = CliRunner()
    words = ["fit", "app.log", "--lines", PATTERN, "--case", "request", "--template", "message", "--out", "model"]
    told = run.invoke(app, [*words, "--max-steps", "2"])
    assert told.exit_code == 0, told.output
    assert "note: 3 templates of messages" in told.output
    stored = b"".join(path.read_bytes() for path in (tmp_path / "model").iterdir())
    assert b"py/object" not in stored
    new = ["2026-02-01 00:00:00 INFO [z] opened session for user mallory from 9.9.9.9",
           "2026-02-01 00:00:01 INFO [z] closed session for user mallory after 2 calls",
           "2026-02-01 00:00:02 WARN [z] the disk is full"]  # fmt: skip
    put(tmp_path, new, "new.log")
    model = sq.load_density("model")
    log = sq.read_log("new.log", like=model)
    assert log.events == [TYPES[1], TYPES[0], "<no template>"]
    assert log.notes[-1] == "1 messages meet no template that the model knows: <no template>"
    told = run.invoke(app, ["discover", "model", "new.log", "--out", "found"])
    assert told.exit_code == 0, told.output
    assert pl.read_parquet("found/events.parquet")["event"].to_list()[:2] == [TYPES[1], TYPES[0]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "say what stands in a line of text"),
        ({"lines": "("}, "must be a regular expression; got .*: unclosed group"),
        ({"lines": r"(\S+) (.*)"}, "must name what stands in a line"),
        ({"lines": r"(?P<time>\d{9})"}, "no line is as the pattern says; the first is '2026"),
        ({"lines": PATTERN, "case": "request", "event": "level", "template": "message"}, "is no event column"),
        ({"lines": PATTERN, "case": "request", "template": "text"}, "has no column 'text' for the event"),
        ({"lines": PATTERN, "file_format": "csv"}, "lines is for files of text"),
    ],
)
def test_refused(tmp_path, options, said):
    with pytest.raises(SequelaError, match=said):
        sq.read_log(put(tmp_path, lines()), **options)
    with pytest.raises(ConfigError, match="read without templates"):
        sq.Templates.of(sq.read_log(pl.DataFrame({"case": ["a", "a"], "event": ["x", "y"]})))


def test_bytes_and_long_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(log_lines, "BATCH", 3)
    path = tmp_path / "app.log"
    path.write_bytes(b"a x\xff\r\n\n  \na y\nb z\nb \xfe\nb last")
    log = sq.read_log(path, lines=r"(?P<case>\w) (?P<event>.*)")
    assert log.events == ["x\ufffd", "y", "z", "\ufffd", "last"]
    assert log.notes == ("2 lines hold bytes that are no UTF-8; they were replaced",)
    path.write_bytes(b"a" * ((1 << 20) + 1))
    with pytest.raises(LogFormatError, match="a line of more than 1 MiB"):
        sq.read_log(path, lines=r"(?P<case>\w) (?P<event>.*)")


def test_random_bytes_are_read_or_refused(tmp_path):
    rng, path = random.Random(5), tmp_path / "app.log"
    content = "\n".join(lines(6)).encode()
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 20])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            log = sq.read_log(path, lines=PATTERN, case="request", template="message")
        except SequelaError as error:
            assert str(error).isprintable()  # noqa: PT017
            continue
        said = sum(int(note.split()[0].replace(",", "")) for note in log.notes if "pattern says" in note)
        assert log.n_events + said == sum(
            bool(line.strip()) for line in path.read_bytes().decode("utf-8", "replace").split("\n")
        )
