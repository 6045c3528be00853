"""What every test must leave as it found it, and factories of tiny models.

The factories are plain functions (``from conftest import tiny_window``), because many tests are parametrised by models.
"""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import settings

import sequela  # before torch computes, so that its waiting threads sleep
from sequela.events.vocabulary import Vocabulary

collect_ignore = ["windows.py"]  # changes the process it runs in: `test_files` starts one for it

settings.register_profile("sequela", deadline=None)  # a busy machine is no error
settings.load_profile("sequela")
torch.set_num_threads(1)  # as in use: processes do not wait for each other's threads, and sums have one order


def vocabulary_of(n_types):
    """Event types ``e0``, ``e1``, …"""
    return Vocabulary(tuple(f"e{i}" for i in range(n_types)), (1,) * n_types)


def tiny_window(vocabulary, *, memory=4, embedding=16, width=32, head=None, direct=None, knows_hidden=True, **config):
    """An untrained window density; ``head`` and ``direct`` are standard deviations that make it less even."""
    from sequela.density.window.density import WindowDensity
    from sequela.density.window.network import WindowConfig, WindowNetwork

    n_types = vocabulary.n_types
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(WindowConfig(n_types, n_types + 3, memory, embedding, width, **config))
        if head is not None:
            torch.nn.init.normal_(network.head.weight, std=head)
        if direct is not None:
            torch.nn.init.normal_(network.table.weight, std=direct)
            if config.get("n_knots"):
                torch.nn.init.normal_(network.table_timing.weight, std=direct)
    return WindowDensity(network, vocabulary, knows_hidden=knows_hidden)


def tiny_llama(vocabulary, *, context=16, knows_hidden=True, **config):
    """An untrained Llama of two layers as a density."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from sequela.density.decoder.huggingface import HuggingFaceDensity

    n_types = vocabulary.n_types
    sizes = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "initializer_range": 0.3, "max_position_embeddings": max(64, 2 * context),
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=n_types + 3, **(sizes | config)))
    return HuggingFaceDensity(
        model, vocabulary, tokens=np.arange(n_types), begin_token=n_types + 1,
        hidden_token=n_types + 2 if knows_hidden else None, context=context,
    )  # fmt: skip


def timely_log(n_cases=120, length=20, seed=0):
    """After a short gap comes what the last event says, after a long one anything."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(n_cases):
        event, time = int(rng.integers(4)), 0.0
        for _ in range(length):
            rows.append((f"c{case:03}", f"e{event}", time))
            short = rng.random() < 0.5
            time += rng.uniform(1, 5) if short else rng.uniform(1000, 5000)
            event = (event + 1) % 4 if short else int(rng.integers(4))
    return sequela.read_log(pl.DataFrame(rows, schema=["case", "event", "time"], orient="row"))


RUN_ASKED = {"max_steps": 40, "folds": 2, "delta": 0.01, "seed": 3, "progress": False}
"""Arguments of the `small_run`."""


def run_world():
    """The world of the `small_run`."""
    from sequela.worlds.softmax import SoftmaxWorld

    return SoftmaxWorld.random(5, horizon=2, decay=0.3, weight_scale=10.0, seed=1)


def run_frame():
    """The log of the `small_run`."""
    return run_world().to_log(run_world().sample(80, 10, seed=2))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A whole run (`sequela.run`) of a small log; not to be changed."""
    return sequela.run(sequela.read_log(run_frame()), out=tmp_path_factory.mktemp("small") / "out", **RUN_ASKED)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for the tests of the page."""
    pytest.importorskip("playwright", reason="playwright is not installed: the page is not tested in a browser")
    from browser import find_browser, opened

    found = find_browser()
    if found is None:
        pytest.skip("no Chromium found: the page is not tested in a browser (install the package chromium)")
    with opened(found) as running:
        yield running


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page offline; fail when it logs an error or asks for anything."""
    contexts, problems = [], []

    def open_one(result, *, tab=None, settings=None, width=1300, **options):
        path = sequela.report(result, tmp_path / "page.html", **(settings or {}))
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: problems.append(request.url) if request.url[:5] not in ("file:", "blob:") else None,
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        if tab:
            page.click(f"#tab-{tab}")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(autouse=True)
def global_torch_state():
    """Fail a test after which torch is in another state than before."""

    def state():
        return {
            "threads": torch.get_num_threads(),
            "dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
        }

    before = state()
    yield
    after = state()
    torch.set_num_threads(before["threads"])  # one leak fails one test
    assert after == before
