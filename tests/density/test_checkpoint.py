"""Saved densities come back the same, and anything else is refused with a reason."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from sequela.density.checkpoint import load_density, save_density
from sequela.density.decoder.wrap import wrap_huggingface
from sequela.density.training.fit import fit
from sequela.errors import CheckpointError, ConfigError
from sequela.events.log import read_log
from sequela.files import write_record
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


def reseal(folder, change=lambda meta: None):
    """What somebody does who edits a model on purpose: the checksums fit what the folder holds."""
    path = folder / "density.json"
    meta = json.loads(path.read_text())
    change(meta)
    write_record(folder, "density.json", meta)


def refused(folder, says):
    with pytest.raises(CheckpointError, match=says) as caught:
        load_density(folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600 + len(str(folder))


def test_resealing_gives_what_was_written(saved):
    before = (saved / "density.json").read_text()
    reseal(saved)
    assert json.loads((saved / "density.json").read_text()) == json.loads(before)
    load_density(saved, device="cpu")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda m: (m / "density.json").write_text("{"), "not valid JSON"),
        (lambda m: (m / "density.json").write_text("["), "not valid JSON"),
        (lambda m: (m / "density.json").write_text("[" * 200_000), "not valid JSON"),
        (lambda m: (m / "density.json").write_text('{"format": 2, "info": ' + "[" * 200_000), "not valid JSON"),
        (lambda m: (m / "density.json").write_bytes(b"\xff\xfe\x00"), "not valid JSON"),
        (lambda m: (m / "density.json").write_text('{"format": NaN}'), "has format 'nan'"),
        (lambda m: (m / "density.json").write_text(""), "not valid JSON"),
        (lambda m: (m / "density.json").write_text("[]"), "does not describe"),
        (lambda m: (m / "density.json").write_text("null"), "does not describe"),
        (lambda m: (m / "density.json").write_text('{"format": 2}'), "missing required field"),
        (lambda m: (m / "density.json").unlink(), "no saved density"),
        (lambda m: (m / "weights.safetensors").unlink(), "'weights.safetensors' is missing"),
        (lambda m: (m / "vocabulary.json").unlink(), "'vocabulary.json' is missing"),
        (lambda m: (m / "weights.safetensors").write_bytes(b"x" * 100), "'weights.safetensors' has 100 bytes"),
        (lambda m: change(m / "vocabulary.json", names=[*"abcdef", "<rare>"]), "'vocabulary.json' has"),
        (lambda m: (m / "vocabulary.json").write_text("oh"), "'vocabulary.json' has 2 bytes"),
        (lambda m: change(m / "density.json", knows_hidden="false"), r"Expected `bool`, got `str` .*knows_hidden"),
        (lambda m: change(m / "density.json", knows_hidden=False), "density.json has changed"),
        (lambda m: change(m / "density.json", backbone="magic"), "density.json has changed"),
        (lambda m: change(m / "density.json", info={}), "density.json has changed"),
        (lambda m: change(m / "density.json", settings={"n_types": 3}), "density.json has changed"),
        (lambda m: change(m / "density.json", extra=1), "density.json has changed"),
    ],
)
def test_anything_else_is_refused(saved, damage, says):
    damage(saved)
    refused(saved, says)


KEYS = ("format", "sequela", "backbone", "knows_hidden", "settings", "vocabulary", "files", "info", "checksum")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [None, 7.5, "text", [1], {"a": None}, True, "\x1b]0;owned\x07\n" * 50])
def test_values_of_other_kinds_are_refused(saved, key, value):
    good = {"sequela": str, "info": dict, "knows_hidden": bool}.get(key)
    if good and isinstance(value, good):
        return
    if key in ("files", "checksum"):
        change(saved / "density.json", **{key: value})
    else:
        reseal(saved, lambda meta: meta.update({key: value}))
    refused(saved, "damaged|format|backbone that is not here|not the one")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_needed(saved, key):
    meta = json.loads((saved / "density.json").read_text())
    del meta[key]
    (saved / "density.json").write_text(json.dumps(meta))
    refused(saved, "does not describe" if key == "format" else f"missing required field `{key}`")


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"n_types": 3}, {"memory": None}, {"memory": "8"}, {"memory": -1}, {"memory": 10**12}, {"width": 10**9},
        {"n_types": 2**70}, {"n_component_values": 3}, {"n_knots": -1}, {"wide": "yes"}, {"n_blocks": 0},
        {"dropout": "much"}, {"n_knots": 6}, {"n_blocks": 2**31},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_even_with_good_checksums(saved, settings):
    reseal(saved, lambda meta: meta.update(settings=meta["settings"] | settings if settings else {}))
    refused(saved, "is damaged")


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens": None}, {"tokens": [1, 1, 1, 1, 1, 1]}, {"tokens": ["a"]}, {"tokens": [99, 1, 2, 3, 4, 5]},
        {"begin_token": "8"}, {"context": 0}, {"context": 1.5}, {"hidden_token": 3}, {"begin_token": 10**30},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_decoder_are_checked_too(densities, tmp_path, settings):
    save_density(densities["gpt2"], tmp_path / "m")
    reseal(tmp_path / "m", lambda meta: meta["settings"].update(settings))
    refused(tmp_path / "m", "is damaged")


def test_damage_to_files_is_refused_even_with_good_checksums(saved):
    for name, content in (
        ("vocabulary.json", b"oh"),
        ("vocabulary.json", b"[" * 200_000),
        ("vocabulary.json", b'{"names": ["a", "b"], "counts": [1, 1], "has_rare": false}'),
        ("weights.safetensors", b"x" * 100),
        ("weights.safetensors", b""),
    ):
        before = (saved / name).read_bytes()
        (saved / name).write_bytes(content)
        reseal(saved)
        refused(saved, "damaged|not the one the model was trained with")
        (saved / name).write_bytes(before)
    reseal(saved)
    load_density(saved, device="cpu")


def test_a_file_that_was_added_for_a_library_is_refused(densities, tmp_path):
    save_density(densities["gpt2"], tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    load_density(tmp_path / "m", device="cpu")
    (tmp_path / "m" / "model" / "adapter_config.json").write_text("{}")
    refused(tmp_path / "m", "'model/adapter_config.json' was added")


def test_every_byte_counts(densities, tmp_path):
    save_density(densities["gpt2"], tmp_path / "m")
    rng = np.random.default_rng(0)
    for file in sorted(path for path in (tmp_path / "m").rglob("*") if path.is_file()):
        before = file.read_bytes()
        for place in rng.integers(0, len(before), 12):
            after = bytearray(before)
            after[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(after)
            refused(tmp_path / "m", "damaged|format|no saved density")
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"format": 1, "sequela": "0.1.0"},
            r"written by sequela 0\.1\.0 .*train it again with  sequela fit LOG",
        ),
        ({"format": 3}, "format 3, of a newer sequela.*pip install --upgrade"),
        ({"format": 0}, "has format '0'"),
        ({"format": "2"}, "has format '2'"),
        ({"format": 2.0}, "format"),
    ],
)
def test_other_formats_say_what_to_do(saved, values, says):
    change(saved / "density.json", **values)
    refused(saved, says)


def test_a_model_of_0_1_0_is_refused_by_name(tmp_path):
    meta = {
        "format": 1, "sequela": "0.1.0", "backbone": "window", "knows_hidden": True, "settings": {}, "vocabulary": "",
        "weights": "", "info": {},
    }  # fmt: skip
    (tmp_path / "density.json").write_text(json.dumps(meta))
    refused(tmp_path, r"0\.1\.0")


@pytest.mark.parametrize("name", ["window", "gpt2"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(densities, name, value, tmp_path):
    density = densities[name]
    save_density(density, tmp_path / "m")
    weight = next(iter((density.network if name == "window" else density.model).parameters()))
    kept = weight.flatten()[0].item()
    weight.view(-1)[0] = value
    try:
        with pytest.raises(CheckpointError, match=r"cannot be saved: the weights .* not finite"):
            save_density(density, tmp_path / "other")
    finally:
        weight.view(-1)[0] = kept
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    file = next((tmp_path / "m").rglob("*.safetensors"))
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, file, metadata={"format": "pt"})
    reseal(tmp_path / "m")
    refused(tmp_path / "m", r"the weights .* not finite")


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), np.float32(1), {1, 2}])
def test_info_must_be_json_with_finite_numbers(densities, value, tmp_path):
    density = densities["window"].with_info({"report": {"cross_entropy": value}})
    with pytest.raises(CheckpointError, match="plain JSON with finite numbers"):
        save_density(density, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_here_is_no_damage(saved):
    with pytest.raises(ConfigError, match="device must be one that torch finds here"):
        load_density(saved, device="cuda:99")


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


@pytest.mark.parametrize(
    ("change", "weight", "what"),
    [
        ({"num_hidden_layers": 2**31}, None, "num_hidden_layers 2,147,483,648, which its weights are not enough for"),
        ({"vocab_size": 2**31}, None, "vocab_size 2,147,483,648"),
        ({"num_hidden_layers": 3}, None, "lacks the weights"),
        ({}, "lm_head.weight", r"lacks the weights lm_head.weight \(1 in all\)"),
    ],
)
def test_a_decoder_that_claims_more_than_its_weights_is_refused(tmp_path, change, weight, what):
    """The library would make up what is missing, at random."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    if weight is not None:
        weights = load_file(tmp_path / "model.safetensors")
        del weights[weight]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=what):
        wrap_huggingface(tmp_path, {"a": 0, "b": 1}, begin_token=2, device="cpu")
