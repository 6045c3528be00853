"""The benchmark for GPUs: its rows run on a processor, and what breaks is stored beside what was measured."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def gpu():
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import gpu

        yield gpu
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("row", ["precision", "compiled", "discovery", "training", "peer"])
def test_rows_run_on_a_processor(gpu, row):
    found = gpu.measure(row, gpu.quick(gpu.Sizes("cpu")))
    assert not (found["measure"] == "broke").any(), found["broke"].to_list()
    assert (found["measure"] == "skipped").any() == (row in ("compiled", "peer"))
    kept = found.filter(found["measure"] != "skipped")
    assert (kept["value"] >= 0).all()
    if row == "precision":
        moved = kept.filter(kept["measure"] == "moved_nats")["value"].to_list()
        assert moved[0] == 0 < moved[1] < 0.05


def test_what_broke_is_stored_beside_what_was_measured(gpu, monkeypatch, tmp_path):
    def breaks(sizes):
        yield "window", "cases_a_second", 2.0
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(gpu.ROWS, "discovery", breaks)
    out = tmp_path / "gpu.csv"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--device", "cpu", "--only", "discovery", "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert stop.value.code == 1
    assert [line.split(",")[4] for line in out.read_text().splitlines()] == ["measure", "cases_a_second", "broke"]
    assert "RuntimeError: no kernel image" in out.read_text()
