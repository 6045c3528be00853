"""Results that earlier versions wrote, from 0.2.0 on, are still read and still say the same; newer ones are refused.

`stored/VERSION` is written once by each version: ``python tests/graphs/test_stored_results.py``, with ``tests`` on the
path. Models have the like in `tests/density/test_stored.py`.
"""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from conftest import tiny_window
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.errors import LogFormatError
from sequela.events.log import read_log
from sequela.files import write_record
from sequela.graphs.population import PopulationGraph
from sequela.graphs.run_record import verify_results
from sequela.graphs.saved import load_results
from sequela.version import __version__
from sequela.worlds.softmax import SoftmaxWorld

STORED = Path(__file__).with_name("stored")
FOLDERS = sorted(path for path in STORED.glob("*/*") if path.is_dir())


def said(found):
    """What a result says, as plain values."""
    pairs = found.pairs if isinstance(found, PopulationGraph) else found.summary().edges
    strength = "cmi_nats" if isinstance(found, PopulationGraph) else "cmi_nats_total"
    rows = pairs.sort("cause", "effect").select("cause", "effect", pl.col(strength).round(9)).rows()
    return {"rows": [list(row) for row in rows], "n": len(found), "cases": found.run.counts.n_cases}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name} {path.name}")
def test_results_of_earlier_versions_are_read(folder):
    assert said(load_results(folder)) == json.loads(folder.with_suffix(".json").read_text())
    assert verify_results(folder)["damage"].null_count() == verify_results(folder).height


@pytest.mark.parametrize("name", ["discovery", "population"])
def test_each_version_has_samples_and_a_newer_one_is_refused(name, tmp_path):
    assert STORED / "0.2.0" / name in FOLDERS
    folder = shutil.copytree(STORED / "0.2.0" / name, tmp_path / name)
    for version, says in ((3, "made by a newer Sequela .*update it"), (1, r"made by Sequela 0\.1\.0 .*make it again")):
        write_record(folder, "run.json", json.loads((folder / "run.json").read_text()) | {"format": version})
        with pytest.raises(LogFormatError, match=says):
            load_results(folder)


if __name__ == "__main__":
    world = SoftmaxWorld.random(4, horizon=2, decay=0.2, seed=0)
    log = read_log(world.to_log(world.sample(8, (2, 6), seed=1)))
    density = tiny_window(world.vocabulary, memory=2, embedding=8, width=8, head=0.7)
    target = STORED / __version__
    discover_to(density, log, target / "discovery", delta=0.001, overwrite=True, progress=False)
    discover_population(density, log, cases="all", out=target / "population", overwrite=True, progress=False)
    for each in ("discovery", "population"):
        (target / f"{each}.json").write_text(json.dumps(said(load_results(target / each))) + "\n")
