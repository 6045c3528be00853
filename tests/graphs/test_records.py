"""Records of runs: typed, checked once, plain in JSON."""

import json

import msgspec
import pytest

from sequela.errors import LogFormatError
from sequela.graphs.records import Arguments, DensityRecord, LogRecord, RunRecord


def test_nothing_known_says_nothing_and_sections_stand_where_known():
    assert RunRecord().to_dict() == {}
    known = RunRecord(format=2, arguments=Arguments(fdr=0.1, population="x"), log=LogRecord(source="a.csv"))
    values = known.to_dict()
    assert set(values) == {"format", "arguments", "log"}
    assert values["arguments"]["fdr"] == 0.1
    assert "hierarchy_level" not in values["arguments"]  # played no part
    assert RunRecord.of(values) == known
    assert RunRecord.of(known) is known


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"counts": {"n_edges": "many"}}, "counts.n_edges"),
        ({"arguments": {"horizon": 2.5}}, "arguments.horizon"),
        ({"log": None}, "log"),
        ({"seconds": "long"}, "seconds"),
    ],
)
def test_values_of_the_wrong_type_are_named(values, says):
    with pytest.raises(LogFormatError, match=says):
        RunRecord.of(values)


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    record = RunRecord(format=2, density=DensityRecord(report={"gain": float("nan"), "nested": [float("inf"), 1.0]}))
    written = record.write(tmp_path)
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text)["density"]["report"] == {"gain": None, "nested": [None, 1.0]}
    assert "NaN" not in text
    assert msgspec.json.decode(text.encode(), type=RunRecord) == written


def test_the_share_of_chance_edges_is_that_of_the_rule():
    assert Arguments().chance == 0.05
    assert Arguments(threshold={"rule": "EffectSize", "confidence_level": 0.9}).chance == pytest.approx(0.1)
    assert Arguments(threshold={"rule": "Otsu"}).chance == pytest.approx(0.05)
    assert Arguments(threshold={"rule": "EffectSize", "confidence_level": 1.0}).chance == 0.05
    assert Arguments(population="x", fdr=0.2, threshold={"confidence_level": 0.95}).chance == 0.2
