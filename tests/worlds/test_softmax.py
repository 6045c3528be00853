"""A softmax world: its formula, the density contract, and that it samples what it says."""

import numpy as np
import polars as pl
import pytest

from sequela.errors import ConfigError, VocabularyError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.worlds.softmax import SoftmaxWorld

CHAIN = np.array([[2, 1, 1], [1, 1, 2], [1, 6, 1]])


@pytest.fixture
def chain():
    return SoftmaxWorld(np.log([2, 1, 1]), np.log(CHAIN / [2, 1, 1]), horizon=1)


@pytest.fixture(params=[0.0, 1.5], ids=["linear", "nonlinear"])
def world(request):
    return SoftmaxWorld.random(7, horizon=3, decay=0.5, sparsity=0.4, weight_scale=2.0, nonlinear=request.param, seed=5)


def windows_of(world, n, seed=0):
    generator = np.random.default_rng(seed)
    allowed = [*range(world.vocabulary.n_types), world.vocabulary.begin_id, world.vocabulary.hidden_id]
    return generator.choice(np.array(allowed, np.int32), size=(n, world.memory))


def test_formula_by_a_plain_loop(world):
    n_types = world.vocabulary.n_types
    for window in windows_of(world, 30):
        logits = world.bias.copy()
        for lag in range(1, world.memory + 1):
            event = window[-lag]
            if event < n_types:
                logits += np.exp(-0.5 * (lag - 1)) * world.weights.toarray()[event]
        if world.nonlinear:
            zero = np.zeros(world.embedding.shape[1])
            past = np.concatenate([world.embedding[e] if e < n_types else zero for e in window])
            hidden = np.maximum(past @ world.hidden_weights, 0)
            logits += world.nonlinear * hidden @ world.output_weights
        expected = logits - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(world.window_conditional(window[None])[0], expected, rtol=1e-12)


def test_probabilities_sum_to_one(world):
    log_p = world.window_conditional(windows_of(world, 200))
    assert log_p.dtype == np.float64
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0, rtol=1e-13)


def test_a_row_does_not_depend_on_the_others(world):
    windows = windows_of(world, 150)
    targets = (np.arange(150) % world.vocabulary.n_types).astype(np.int32)
    together = world.window_conditional(windows)
    alone = np.concatenate([world.window_conditional(window[None]) for window in windows])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[3:77], world.window_conditional(windows[3:77]))
    np.testing.assert_array_equal(world.window_log_prob(windows, targets), together[np.arange(150), targets])


def test_large_vocabulary_in_chunks():
    world = SoftmaxWorld.random(300, horizon=2, seed=0)
    windows = windows_of(world, 1000)
    targets = (np.arange(1000) % 300).astype(np.int32)
    expected = world.window_conditional(windows)[np.arange(1000), targets]
    np.testing.assert_array_equal(world.window_log_prob(windows, targets), expected)


def test_branches_equal_whole_sequences(world):
    ids = world.sample(1, 9, seed=0)[0].ids
    starts = np.array([0, 2, 5, 7, 8])
    tails = np.random.default_rng(1).integers(7, size=(5, 4)).astype(np.int32)
    tails[1, 2] = world.vocabulary.hidden_id
    scores = world.score_branches(ids, starts, tails)
    for branch, start in enumerate(starts):
        for step in range(4):
            position = start + step + 1
            if position >= 9:
                assert np.isnan(scores[branch, step])
                continue
            changed = np.concatenate([ids[:start], tails[branch, : step + 1]])
            whole = world.conditional(changed, np.array([position]))[0]
            assert scores[branch, step] == whole[ids[position]]


def test_score_equals_conditional(world):
    ids = world.sample(1, 9, seed=0)[0].ids
    np.testing.assert_array_equal(world.score(ids), world.conditional(ids, np.arange(9))[np.arange(9), ids])


def test_begin_and_hidden_contribute_nothing(world):
    vocabulary = world.vocabulary
    empty = np.full((1, world.memory), vocabulary.begin_id, np.int32)
    expected = world.bias - np.log(np.exp(world.bias).sum())
    np.testing.assert_allclose(world.window_conditional(empty)[0], expected, rtol=1e-12)
    windows = windows_of(world, 50)
    swapped = np.where(windows == vocabulary.hidden_id, vocabulary.begin_id, windows)
    np.testing.assert_array_equal(world.window_conditional(windows), world.window_conditional(swapped))
    assert not world.knows_hidden


def test_same_seed_same_sample(world):
    one, two = (world.sample(20, (3, 9), seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.offsets, two.offsets)
    assert one.case_names.to_list() == [f"case-{i:05d}" for i in range(20)]
    assert one.times is None
    assert one.ids.dtype == np.int32
    assert one.offsets.dtype == np.int64
    assert world.sample(20, (3, 9), seed=5).ids[:30].tolist() != one.ids[:30].tolist()
    # More cases leave the first ones as they were.
    more = world.sample(50, (3, 9), seed=4)
    np.testing.assert_array_equal(more.ids[: one.n_events], one.ids)


def test_lengths_are_drawn_evenly(chain):
    lengths = chain.sample(6000, (2, 4), seed=0).lengths
    counts = np.bincount(lengths, minlength=6)
    assert counts[[0, 1, 5]].tolist() == [0, 0, 0]
    assert np.abs(counts[2:5] - 2000).max() < 5 * np.sqrt(6000 * 2 / 9)
    assert set(chain.sample(10, 3, seed=0).lengths) == {3}


def chi_square_is_small(counts, probability):
    expected = counts.sum(axis=1, keepdims=True) * probability
    kept = expected.min(axis=1) > 5  # the chi-square law needs a few expected events in every cell
    assert kept.any()
    statistic = ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    degrees = kept.sum() * (counts.shape[1] - 1)
    return statistic < degrees + 5 * np.sqrt(2 * degrees)  # five standard deviations of the chi-square law


def test_sampled_frequencies_match_the_conditional(world):
    # Contexts: the three events before, as one number; each with its exact conditional.
    sequences = world.sample(4000, 7, seed=11)
    ids = sequences.ids.reshape(4000, 7)
    context = ids[:, 3:6] @ [49, 7, 1]
    counts = np.zeros((343, 7))
    np.add.at(counts, (context, ids[:, 6]), 1)
    windows = np.stack(np.unravel_index(np.arange(343), (7, 7, 7)), axis=1).astype(np.int32)
    probability = np.exp(world.window_conditional(windows))
    # The two likeliest events of each context, and all others as one.
    order = np.argsort(-probability, axis=1)
    counts, probability = (np.take_along_axis(a, order, axis=1) for a in (counts, probability))
    counts, probability = (
        np.concatenate([a[:, :2], a[:, 2:].sum(axis=1, keepdims=True)], axis=1) for a in (counts, probability)
    )
    assert chi_square_is_small(counts, probability)
    # The test can fail: the same counts against the law of another context.
    assert not chi_square_is_small(counts, np.roll(probability, 1, axis=1))


def test_first_events_follow_the_bias(chain):
    ids = chain.sample(8000, 2, seed=3).ids.reshape(8000, 2)
    assert chi_square_is_small(np.bincount(ids[:, 0], minlength=3)[None], np.array([[1 / 2, 1 / 4, 1 / 4]]))
    counts = np.zeros((3, 3))
    np.add.at(counts, (ids[:, 0], ids[:, 1]), 1)
    assert chi_square_is_small(counts, CHAIN / CHAIN.sum(axis=1, keepdims=True))


def test_impossible_events_never_come():
    world = SoftmaxWorld([0.0, -800.0, 0.0, -800.0], np.zeros((4, 4)), horizon=1)
    assert set(world.sample(200, 20, seed=0).ids) == {0, 2}


def test_entropy_rate_of_a_chain_by_its_stationary_law(chain):
    transition = CHAIN / CHAIN.sum(axis=1, keepdims=True)
    values, vectors = np.linalg.eig(transition.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    rate = -(stationary @ (transition * np.log(transition)).sum(axis=1))
    found = chain.entropy_rate(seed=0, n_cases=400, length=120, burn_in=20)
    assert found == pytest.approx(rate, abs=0.005)
    redundancy = chain.redundancy(seed=0, n_cases=400, length=120, burn_in=20)
    assert redundancy == pytest.approx(1 - found / np.log(3), rel=1e-12)


def test_entropy_of_first_events_is_exact(chain):
    assert chain.entropy_rate(seed=0, n_cases=3, length=1) == pytest.approx(1.5 * np.log(2), rel=1e-12)


def test_entropy_rate_is_the_cross_entropy_of_the_world(world):
    # Both are means over the same sampled events; the world predicts itself as well as can be.
    sequences = world.sample(300, 30, seed=2)
    loss = -np.concatenate(world.score_many([case.ids for case in sequences]))
    rate = world.entropy_rate(seed=2, n_cases=300, length=30)
    assert loss.mean() == pytest.approx(rate, abs=5 * loss.std() / np.sqrt(len(loss)))


def test_deterministic_world_has_no_entropy():
    world = SoftmaxWorld([900.0, 0.0], np.zeros((2, 2)), horizon=1)
    assert world.entropy_rate(seed=0, n_cases=2, length=3) == 0.0
    assert world.redundancy(seed=0, n_cases=2, length=3) == 1.0


@pytest.mark.parametrize("interval", [60.0, 0.01])
def test_log_comes_back_as_the_same_sequences(world, tmp_path, interval):
    sequences = world.sample(30, (1, 6), seed=0)
    frame = world.to_log(sequences, seed=1, interval_seconds=interval)
    assert frame.columns == ["case", "event", "time"]
    assert frame.equals(world.to_log(sequences, seed=1, interval_seconds=interval))
    gaps = frame.select((pl.col("time").diff() / pl.duration(milliseconds=1)).over("case")).drop_nulls().to_series()
    assert gaps.min() >= max(1, int(0.5 * interval * 1000))
    assert gaps.max() <= 1.5 * interval * 1000
    frame.write_csv(tmp_path / "log.csv")
    log = read_log(tmp_path / "log.csv")
    assert log.n_ties == 0
    back = SequenceSet.from_log(log, world.vocabulary)
    np.testing.assert_array_equal(back.ids, sequences.ids)
    np.testing.assert_array_equal(back.offsets, sequences.offsets)
    assert back.case_names.to_list() == sequences.case_names.to_list()


def test_random_worlds():
    one, two = (SoftmaxWorld.random(40, nonlinear=a, seed=9) for a in (0.0, 1.0))
    np.testing.assert_array_equal(one.weights.toarray(), two.weights.toarray())
    np.testing.assert_array_equal(one.bias, two.bias)
    nonzero = one.weights.data
    assert len(nonzero) / 1600 == pytest.approx(0.1, abs=0.04)
    assert nonzero.std() == pytest.approx(3.2, rel=0.3)
    assert one.memory == 6
    assert one.vocabulary.names[:2] == ("e0", "e1")
    assert SoftmaxWorld.random(2, seed=0, names=["on", "off"]).vocabulary.names == ("on", "off")


def test_paper_like_redundancy():
    # `docs/method.md`, section 6 has about 0.58 for 1000 event types.
    world = SoftmaxWorld.random(1000, seed=0)
    assert world.redundancy(seed=1, n_cases=20, length=40) == pytest.approx(0.58, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number, at least 1; got 0"),
        ({"decay": -1.0}, "decay must be"),
        ({"nonlinear": 1.0}, "embedding, hidden_weights and output_weights must be given"),
        ({"bias": [[0.0, 0.0]]}, r"bias must be finite numbers of shape \[any\]; got shape \[1, 2\]"),
        ({"weights": np.zeros((2, 3))}, r"weights must be .* shape \[2, 2\]; got shape \[2, 3\]"),
        ({"weights": np.full((2, 2), np.nan)}, "weights must be finite"),
        ({"names": ["a"]}, "names must hold 2 event types; got 1"),
    ],
)
def test_wrong_worlds(settings, message):
    arguments = {"bias": np.zeros(2), "weights": np.zeros((2, 2)), "horizon": 1} | settings
    with pytest.raises(ConfigError, match=message):
        SoftmaxWorld(arguments.pop("bias"), arguments.pop("weights"), **arguments)


def test_names_are_different():
    with pytest.raises(VocabularyError):
        SoftmaxWorld(np.zeros(2), np.zeros((2, 2)), horizon=1, names=["a", "a"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.sample(0, 3, seed=0), "n_cases"),
        (lambda w: w.sample(1, 0, seed=0), "length"),
        (lambda w: w.sample(1, (4, 3), seed=0), "low <= high"),
        (lambda w: w.sample(1, 3, seed=-1), "seed"),
        (lambda w: w.entropy_rate(seed=0, n_cases=1, length=3, burn_in=3), "burn_in must be below"),
        (lambda w: w.to_log(w.sample(1, 3, seed=0), interval_seconds=0.001), "interval_seconds"),
        (lambda w: w.truth_sampled(np.array([0, 1], np.int32), n_draws=0, seed=0), "n_draws"),
        (lambda w: SoftmaxWorld.random(1, seed=0), "n_types"),
        (lambda w: SoftmaxWorld.random(3, sparsity=1.5, seed=0), "sparsity"),
    ],
)
def test_wrong_arguments(chain, call, message):
    with pytest.raises(ConfigError, match=message):
        call(chain)
