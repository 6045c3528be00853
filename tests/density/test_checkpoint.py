"""Saved densities come back the same, and anything else is refused with a reason."""

import json

import numpy as np
import pytest

from sequela.density.checkpoint import load_density, save_density
from sequela.density.decoder.huggingface import wrap_huggingface
from sequela.density.training.fit import fit
from sequela.errors import CheckpointError, ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(30, 12, seed=1)))
IDS = np.array([0, 3, 2, 5, 1, 1, 4], np.int32)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=9, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=8, eos_token_id=8, pad_token_id=8
    )
    return wrap_huggingface(GPT2LMHeadModel(config), {f"e{i}": 7 - i for i in range(6)}, device="cpu")


@pytest.fixture(scope="module")
def densities():
    return {
        "window": fit(LOG, max_steps=5, progress=False, device="cpu"),
        "llama": fit(LOG, backbone="llama", max_steps=3, progress=False, device="cpu"),
        "gpt2": gpt2(),
    }


@pytest.mark.parametrize("name", ["window", "llama", "gpt2"])
def test_round_trip(densities, name, tmp_path):
    density = densities[name]
    save_density(density, tmp_path / "m")
    again = load_density(tmp_path / "m", device="cpu")
    assert np.array_equal(again.score(IDS), density.score(IDS))
    assert again.vocabulary == density.vocabulary
    assert again.knows_hidden == density.knows_hidden
    assert json.dumps(dict(again.info)) == json.dumps(dict(density.info))
    kinds = {path.suffix for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.fixture
def saved(densities, tmp_path):
    save_density(densities["window"], tmp_path / "m")
    return tmp_path / "m"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda m: change(m / "density.json", format=0, sequela="0.0.1"), r"format 0 .*0\.0\.1.*reads format 1"),
        (lambda m: change(m / "density.json", format=2), "format 2"),
        (lambda m: (m / "density.json").write_text("{"), "not valid JSON"),
        (lambda m: (m / "density.json").write_text("[]"), "does not describe"),
        (lambda m: (m / "density.json").write_text('{"format": 1}'), "lacks"),
        (lambda m: change(m / "density.json", settings={"n_types": 3}), "damaged"),
        (lambda m: change(m / "density.json", backbone="magic"), "unknown backbone 'magic'"),
        (lambda m: (m / "density.json").unlink(), "no saved density"),
        (lambda m: (m / "weights.safetensors").unlink(), "weights are missing"),
        (lambda m: (m / "weights.safetensors").write_bytes(b"x" * 100), "have changed"),
        (
            lambda m: (m / "weights.safetensors").write_bytes(
                (m / "weights.safetensors").read_bytes()[:-9] + b"123456789"
            ),
            "have changed",
        ),
        (
            lambda m: change(m / "vocabulary.json", names=[*"abcdef", "<rare>"]),
            "not the one the model was trained with",
        ),
        (lambda m: (m / "vocabulary.json").write_text("oh"), "not a vocabulary"),
    ],
)
def test_anything_else_is_refused(saved, damage, says):
    damage(saved)
    with pytest.raises(CheckpointError, match=says):
        load_density(saved)


def test_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="sequela fit"):
        load_density(tmp_path / "nowhere")


def test_overwriting_is_asked_for_and_foreign_folders_are_safe(densities, saved, tmp_path):
    with pytest.raises(ConfigError, match="overwrite"):
        save_density(densities["window"], saved)
    save_density(densities["window"], saved, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="other files"):
        save_density(densities["window"], tmp_path / "other", overwrite=True)


def test_worlds_cannot_be_saved_and_leave_nothing(tmp_path):
    with pytest.raises(ConfigError, match="SoftmaxWorld"):
        save_density(WORLD, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
