"""Who was trained on what, as plain text and back."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequela.errors import ConfigError
from sequela.events.split import Split

NAMES = st.lists(st.text(max_size=4), max_size=12)


@given(NAMES, NAMES, NAMES)
def test_it_is_a_set_of_names(some, more, asked):
    split = Split.from_plain(json.loads(json.dumps((Split.of(some) | Split.of(more)).to_plain())))
    assert split.has_seen(asked).tolist() == [name in {*some, *more} for name in asked]


def test_order_and_repetition_of_names_do_not_matter():
    assert Split.of(["a", "b", "a"]).to_plain() == Split.of(["b", "a"]).to_plain()


def test_it_takes_eleven_characters_a_case():
    assert len(Split.of(map(str, range(3000))).to_plain()) <= 11 * 3000


@pytest.mark.parametrize("text", [None, 3, "not base64!", "AAAA", "ä", ["a"], {"a": 1}])
def test_what_is_damaged_is_refused(text):
    with pytest.raises(ConfigError, match="damaged"):
        Split.from_plain(text)


def test_hashes_that_do_not_rise_are_refused():
    falling = base64.b64encode(np.array([2, 1], dtype="<u8").tobytes()).decode()
    with pytest.raises(ConfigError, match="damaged"):
        Split.from_plain(falling)
