"""What works without the extras, and what says which one it needs."""

import subprocess
import sys

CODE = """
import sys
sys.modules |= dict.fromkeys(("matplotlib", "transformers"))  # as if they were not installed
import pathlib, tempfile
import pytest
import sequela as sq
from sequela.worlds.softmax import SoftmaxWorld
world = SoftmaxWorld.random(4, horizon=2, seed=0)
log = sq.read_log(world.to_log(world.sample(30, 8, seed=1)))
out = pathlib.Path(tempfile.mkdtemp()) / "answer"
found = sq.run(log, out=out, max_steps=10, fast=True, progress=False)
assert found.report_path.is_file()
assert sq.explain(found, case="case-00003").explanation.position == 7
for what, extra in ((lambda: sq.plots, "plots"), (lambda: sq.fit(log, backbone="llama", max_steps=1), "decoders")):
    with pytest.raises(sq.errors.MissingExtraError, match=rf"sequela\\[{extra}\\]"):
        what()
"""


def test_the_main_path_needs_neither_matplotlib_nor_transformers():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
