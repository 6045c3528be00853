"""Models that earlier versions wrote, from 0.2.0 on, are still read and still say the same.

`saved/VERSION` is written once by each version: ``python tests/density/test_stored.py``, with ``tests`` on the path.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import tiny_llama, tiny_window, vocabulary_of
from sequela.density.checkpoint import load_density, save_density
from sequela.version import __version__

SAVED = Path(__file__).with_name("saved")
IDS = np.array([0, 3, 2, 4, 1, 1, 4, 0], np.int32)
TIMES = np.cumsum(np.arange(8.0))


def models():
    vocabulary = vocabulary_of(5)
    timed = {"wide": True, "n_knots": 3, "longest_seconds": 30.0, "direct": 0.7}
    return {
        "window": tiny_window(vocabulary, memory=3, embedding=4, width=4, head=0.7, **timed),
        "llama": tiny_llama(
            vocabulary, hidden_size=8, intermediate_size=8, num_hidden_layers=1, max_position_embeddings=40
        ),
    }


STORED = sorted(path for path in SAVED.glob("*/*") if path.is_dir())


@pytest.mark.parametrize("folder", STORED, ids=lambda path: f"{path.parent.name} {path.name}")
def test_models_of_earlier_versions_are_read(folder):
    density = load_density(folder, device="cpu")
    expected = json.loads(folder.with_suffix(".json").read_text())
    assert density.score(IDS, TIMES).tolist() == pytest.approx(expected["score"], abs=1e-4)
    assert density.knows_hidden
    assert dict(density.info) == {"note": "stored sample"}


def test_each_version_since_0_2_0_has_samples():
    assert {path.parent.name for path in STORED} >= {"0.2.0"}
    assert {path.name for path in STORED} == set(models())


if __name__ == "__main__":
    for name, density in models().items():
        folder = SAVED / __version__ / name
        save_density(density.with_info({"note": "stored sample"}), folder, overwrite=True)
        folder.with_suffix(".json").write_text(json.dumps({"score": density.score(IDS, TIMES).tolist()}) + "\n")
