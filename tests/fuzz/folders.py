"""Folders of models, discoveries, populations, cross-fits and whole runs: as they were written, or refused in one line.

What an accident damages must be refused, since checksums cover every byte. What a stranger changes, with checksums that
fit, must be refused or be of use: no other error than our own comes out of whatever is done with it.
"""

import io
import json
from functools import partial

import numpy as np
import polars as pl
from damage import damaged, retabled, tampered
from files import refused_well
from safetensors.numpy import load, save

from conftest import tiny_window
from sequela.density.checkpoint import load_density, save_density
from sequela.density.training.crossfit import CrossFit, load_cross_fit
from sequela.discovery.population import discover_population
from sequela.discovery.run_folder import RunProgress, load_run
from sequela.discovery.stream import discover_to
from sequela.errors import SequelaError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.split import Split
from sequela.files import write_record
from sequela.graphs.saved import load_discovery, load_population
from sequela.reports.payload import page_data
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(4, horizon=2, decay=0.2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(6, (2, 6), seed=1)).with_columns(time=pl.int_range(pl.len()).cast(pl.Float64)))
IDS = np.array([0, 3, 1, 2], np.int32)


def use_density(density, whole):
    scores = density.score(IDS[: density.vocabulary.n_types], np.arange(4.0)[: density.vocabulary.n_types])
    assert scores.shape == IDS[: density.vocabulary.n_types].shape


def use_crossfit(found, whole):
    list(found.held_out(LOG))


def use_discovery(found, whole):
    found.edges, found.events, len(found), repr(found), found.run.to_dict()
    graph = found.summary()
    graph.to_networkx()
    for name in found.edges["case"].unique()[:2]:
        found.case(name).root_causes(-1)
    if whole:
        page_data(found)


def use_population(found, whole):
    found.edges, repr(found), found.run.to_dict()
    found.to_networkx()
    if whole:
        page_data(found)


def use_sequences(found, whole):
    for case in found:
        assert len(case.ids) >= 0
    found.split((0.5, 0.5))


def use_run(found, whole):
    repr(found), found.findings, found.seconds


KINDS = {
    "model": ("density.json", partial(load_density, device="cpu"), use_density),
    "discovery": ("run.json", load_discovery, use_discovery),
    "population": ("run.json", load_population, use_population),
    "crossfit": ("crossfit.json", partial(load_cross_fit, device="cpu"), use_crossfit),
    "sequences": ("sequences.json", SequenceSet.load, use_sequences),
    "run": ("run.json", load_run, use_run),
}
"""The record of a kind of folder, what loads it, and what is done with it."""


def make(folder):
    """Write one sound folder of every kind."""
    density = tiny_window(WORLD.vocabulary, memory=2, embedding=4, width=4, head=0.5)
    density = density.with_info({"split": {"seen": Split.of(LOG.case_names[:2]).to_plain()}, "note": ["a", 1.5, None]})
    save_density(density, folder / "model")
    given = {"particles": 2, "progress": False}
    discover_to(density, LOG, folder / "discovery", delta=0.001, **given)
    discover_population(density, LOG, cases="all", out=folder / "population", **given)
    CrossFit((density,)).save(folder / "crossfit")
    SequenceSet.from_log(LOG, WORLD.vocabulary).save(folder / "sequences")
    (folder / "run").mkdir()
    (folder / "run" / "report.html").write_text("x")
    RunProgress(complete=True, n_cases=6, seconds={"train": 0.5, "page": None}, skipped={"folds": "few"}).write(
        folder / "run"
    )


class Folders:
    """Sound folders, and how to put them right again."""

    def __init__(self, folder):
        self.folder = folder
        make(folder)
        self.content = {
            kind: {
                path.relative_to(folder / kind).as_posix(): path.read_bytes()
                for path in sorted((folder / kind).rglob("*"))
                if path.is_file()
            }
            for kind in KINDS
        }

    def mend(self, kind, names):
        for name in names:
            (self.folder / kind / name).write_bytes(self.content[kind][name])

    def check(self, rng, kind):
        """Change one folder and open it; return what came of it."""
        record, open_folder, use = KINDS[kind]
        forged = rng.random() < 0.25
        name = rng.choice([record, *self.content[kind]])
        (self._forge if forged else self._hurt)(rng, kind, name)
        same = (self.folder / kind / name).exists() and self._content(kind, name) == self.content[kind][name]
        try:
            found = open_folder(self.folder / kind)
            if same or forged:
                use(found, whole=rng.random() < 0.25)
        except SequelaError as error:
            refused_well(error, self.folder)
            return f"{kind} refused"
        finally:
            self.mend(kind, self.content[kind] if forged else [name])
        assert forged or same, f"{kind}: {name} is damaged, and was read"
        return f"{kind} read"

    def _content(self, kind, name):
        return (self.folder / kind / name).read_bytes()

    def _hurt(self, rng, kind, name):
        """Damage the bytes of a file, or lose it."""
        path = self.folder / kind / name
        if rng.random() < 0.05:
            path.unlink()
        else:
            path.write_bytes(damaged(rng, self.content[kind][name]))

    def _forge(self, rng, kind, name):
        """Change what a file says, and let the checksums fit."""
        record, path, content = KINDS[kind][0], self.folder / kind / name, self.content[kind][name]
        if name.endswith(".parquet") and rng.random() < 0.7:
            retabled(rng, pl.read_parquet(io.BytesIO(content))).write_parquet(path)
        elif name.endswith(".safetensors"):
            path.write_bytes(save(self._other_weights(rng, load(content)), metadata={"format": "pt"}))
        elif name.endswith(".json"):
            path.write_text(json.dumps(tampered(rng, json.loads(content))))
        else:
            path.write_bytes(damaged(rng, content))
        for folder, file in ((path.parent, "density.json"), (self.folder / kind, record)):
            self._seal(folder, file)

    def _seal(self, folder, record):
        try:
            values = json.loads((folder / record).read_bytes())
        except (OSError, ValueError):
            return
        if isinstance(values, dict):
            write_record(folder, record, values)

    def _other_weights(self, rng, tensors):
        name = rng.choice(list(tensors))
        kind, weight = rng.randrange(5), tensors[name]
        if kind == 0:
            del tensors[name]
        elif kind == 1:
            tensors[rng.choice(["x", ""])] = tensors.pop(name)
        elif kind == 2:
            tensors[name] = np.zeros([*weight.shape, 2][: rng.randrange(1, 4)], weight.dtype)
        elif kind == 3:
            tensors[name] = weight.astype(rng.choice([np.int64, np.float16, np.float64]))
        else:
            weight.reshape(-1)[0] = rng.choice([np.nan, np.inf, 1e30])
        return tensors
