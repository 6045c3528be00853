"""XES: the standard's structure, read as a stream to its end, against the reader of another project."""

import gzip
import tracemalloc

import pytest

from sequela.errors import LogFormatError
from sequela.events.log import read_log
from sequela.events.readers import read_table, xes

EVENT = (
    '<event><string key="concept:name" value="{}"/>'
    '<date key="time:timestamp" value="2026-01-01T00:{:02d}:00Z"/></event>'
)


def document(n_traces=3, n_events=4, head="", tail=""):
    traces = "".join(
        f'<trace><string key="concept:name" value="t{t}"/>'
        + "".join(EVENT.format(f"e{i % 3}", i % 60) for i in range(n_events))
        + "</trace>\n"
        for t in range(n_traces)
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<log xes.version="1.0">\n{traces}</log>{tail}\n'


def put(folder, text, name="log.xes"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def test_the_same_as_another_reader(tmp_path, monkeypatch):
    r4pm = pytest.importorskip("r4pm")
    monkeypatch.setattr(xes, "BATCH", 5)
    path = put(tmp_path, document())
    theirs = r4pm.df.import_xes(str(path))[0]
    log = read_log(path)
    assert log.n_events == len(theirs) == 12
    table = read_table(path)
    ours = table.frame.collect()
    for column in ("case:concept:name", "concept:name"):
        assert ours[column].to_list() == theirs[column].to_list()
    times = [time.timestamp() for time in theirs["time:timestamp"].dt.replace_time_zone("UTC")]
    assert log.frame["time"].to_list() == times


def test_the_structure_of_the_standard(tmp_path):
    path = put(
        tmp_path,
        """<?xml version="1.0"?>
        <x:log xmlns:x="http://www.xes-standard.org/">
          <!-- <event> in a comment --><x:extension name="Concept" prefix="concept" uri="u"/>
          <x:global scope="event"><x:string key="concept:name" value="default"/></x:global>
          <x:classifier name="c" keys="concept:name"/>
          <x:string key="source" value="of the log"/>
          <x:trace>
            <x:string key="concept:name" value="&lt;a&gt;"/>
            <x:event><x:string key="concept:name" value="x"><x:string key="inner" value="hidden"/></x:string>
              <x:list key="l"><x:string key="concept:name" value="in a list"/></x:list>
              <x:int key="cost" value="3"/></x:event>
            <x:event><x:string key="concept:name" value="y"/></x:event>
          </x:trace>
          <x:event><x:string key="concept:name" value="alone"/></x:event>
        </x:log>""",
    )
    table = read_table(path)
    assert table.n_rows == 3
    assert table.frame.collect().to_dict(as_series=False) == {
        "case:concept:name": ["<a>", "<a>", None],
        "concept:name": ["x", "y", "alone"],
        "cost": ["3", None, None],
    }
    with pytest.raises(LogFormatError, match=r"row 3 .*'case:concept:name' is empty"):
        read_log(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(encoding, tmp_path):
    text = document().replace("UTF-8", encoding).replace("e0", "é0")
    assert "é0" in read_log(put(tmp_path, text.encode(encoding))).events


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document().replace("</log>", "<!-- </log> -->"), "no element found"),
        (document().replace("</log>", "<!-- </log>"), "unclosed token"),
        (document(tail="<log></log>"), "junk after document element"),
        (document(1).replace("</trace>", ""), "mismatched tag"),
        (document(head='<!DOCTYPE log [<!ENTITY a "aaaa">]>'), "declares an entity"),
        (document(head='<!DOCTYPE log [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "declares an entity"),
        (document(0), "holds no event"),
        (document(2, 0), "holds no event"),
        ("<html><body/></html>", "first element is <html>"),
        ("<log><trace><event><event/></event></trace></log>", "an <event> stands neither"),
        ("<log><x><event/></x></log>", "an <event> stands neither"),
        ("<log><trace><trace/></trace></log>", "a <trace> stands outside"),
        ("<log><trace><event/></trace></log>", "no attributes"),
        ('<log><trace><event><string key="a"/></event></trace></log>', "no key or no value"),
        (document().replace("<date", '<string key="concept:name" value="other"/><date', 1), "has two values"),
        (document().replace("<date", '<string key="case:concept:name" value="o"/><date', 1), "name of a trace's"),
        ("<log>" * 100_000, "no element found"),
        ("case,event\n", "syntax error|not well-formed"),
        ("", "0 bytes"),
    ],
)
def test_what_is_not_whole_or_not_xes_is_refused_in_one_line(text, says, tmp_path):
    with pytest.raises(LogFormatError, match=says) as caught:
        read_log(put(tmp_path, text))
    assert str(caught.value).isprintable()


def test_no_cut_of_a_compressed_log_is_read(tmp_path):
    """One cut by 40 bytes gave 216 of 240 events once."""
    whole = gzip.compress(document(20, 12).encode())
    path = put(tmp_path, whole, "log.xes.gz")
    assert read_log(path).n_events == 240
    for cut in (1, 4, 8, 9, 40, 100, len(whole) - 20):
        path.write_bytes(whole[:-cut])
        with pytest.raises(LogFormatError, match="cut or damaged"):
            read_log(path)


def test_memory_does_not_grow_with_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(xes, "BATCH", 500)

    def peak(n_traces):
        path = put(tmp_path, document(n_traces, 20), f"{n_traces}.xes")
        tracemalloc.start()
        table = read_table(path)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert table.n_rows == 20 * n_traces
        return found

    assert peak(1000) < 2 * peak(100)


def test_attributes_after_events(tmp_path, monkeypatch):
    late = (
        '<log><trace><event><string key="concept:name" value="x"/></event>{}'
        '<string key="concept:name" value="t"/></trace></log>'
    )
    event = '<event><string key="concept:name" value="y"/></event>'
    assert read_log(put(tmp_path, late.format(event))).case("t").events == ["x", "y"]
    monkeypatch.setattr(xes, "BATCH", 2)
    with pytest.raises(LogFormatError, match="must come before"):
        read_log(put(tmp_path, late.format(event)))
