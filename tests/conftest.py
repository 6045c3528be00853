"""What every test must leave as it found it."""

import pytest


@pytest.fixture(autouse=True)
def global_torch_state():
    """Fail a test after which torch is in another state than before."""
    import torch

    import sequela  # noqa: F401 - before torch, so that its waiting threads sleep

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
