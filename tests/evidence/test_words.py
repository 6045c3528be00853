"""Links in words: every part of the sentence, and its borders."""

import math

import pytest

from sequela.evidence.words import link_sentence

ROW = {
    "cause": "a", "effect": "b", "support_cases": 41, "log10_e": math.log10(2349), "share_first": 0.75,
    "pointwise_nats": math.log(3), "is_edge": True, "mark": None,
}  # fmt: skip


def test_a_link_in_words():
    assert link_sentence(ROW) == (
        "a makes b 3.0 times as likely: seen in 41 cases; a fair bet on the link grew 2,300-fold; "
        "three times as often before as after."
    )


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"support_cases": 1}, "seen in 1 case;"),
        ({"pointwise_nats": -math.log(2)}, "a makes b 2.0 times less likely"),
        ({"pointwise_nats": 9.0}, "more than 100 times as likely"),
        ({"pointwise_nats": -1e300}, "more than 100 times less likely"),
        ({"share_first": math.nan}, "grew 2,300-fold."),
        ({"share_first": 1e-320}, "times as often after as before"),
        ({"log10_e": 0.2}, "a fair bet on the link won nothing"),
        ({"log10_e": -30.0}, "a fair bet on the link won nothing"),
        ({"log10_e": 1.5}, "grew 32-fold"),
        ({"log10_e": 40.0}, "more than a million-fold"),
        ({"share_first": 1.0}, "always before it"),
        ({"share_first": 0.0}, "always after it"),
        ({"share_first": 0.5}, "about as often before as after"),
        ({"share_first": 0.2}, "four times as often after as before"),
        ({"share_first": 0.6}, "1.5 times as often before as after"),
        ({"share_first": 0.99}, "99.0 times as often before as after"),
        ({"mark": "uncertain: x"}, "; uncertain: x."),
        ({"is_edge": False}, "a is not linked to b by this evidence: seen"),
    ],
)
def test_each_part_says_what_the_number_says(changed, wanted):
    assert wanted in link_sentence(ROW | changed)


def test_tables_of_earlier_versions_have_no_order():
    row = {name: value for name, value in ROW.items() if name != "share_first"}
    assert "before" not in link_sentence(row)
    assert "before" not in link_sentence(ROW | {"share_first": None})
