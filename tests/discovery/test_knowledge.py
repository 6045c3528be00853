"""What the user knows: files that are read and refused, and what exclusion does to scores, evidence and results."""

import numpy as np
import polars as pl
import pytest

import sequela as sq
from conftest import tiny_llama, tiny_window, vocabulary_of
from sequela.discovery.knowledge import knowledge_for
from sequela.discovery.plan import plan_discovery
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary
from sequela.worlds.softmax import SoftmaxWorld

TYPES = ("gate|A1", "gate|A2", "radio|A1", "radio|B1", "mast|B1")
BASE = SoftmaxWorld.random(5, horizon=3, decay=0.2, sparsity=0.5, seed=0)
WORLD = SoftmaxWorld(BASE.bias / 4, BASE.weights, horizon=3, names=list(TYPES))
TABLE = WORLD.to_log(WORLD.sample(12, 16, seed=1))
LOG = sq.read_log(TABLE)
COLUMNS = {"forbidden": ["1 = gate -> 1 = mast", "radio|* -> gate|A2"]}


def excluded(cause, effect):
    """Say by hand what COLUMNS excludes."""
    return (cause.startswith("gate") and effect == "mast|B1") or (cause.startswith("radio") and effect == "gate|A2")


def kept(table):
    return table.filter([not excluded(*pair) for pair in table.select("cause", "effect").rows()])


DENSITIES = [WORLD, tiny_window(WORLD.vocabulary, head=1.0), tiny_llama(WORLD.vocabulary, context=8)]


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "masked", "staircase"])
@pytest.mark.parametrize("density", DENSITIES, ids=["world", "window", "llama"])
def test_what_is_excluded_is_not_tested_and_the_rest_is_as_without(density, design):
    if design == "masked" and not density.knows_hidden:
        return
    asked = {"design": design, "horizon": 3, "delta": 0.001, "progress": False}
    whole = sq.discover_log(density, LOG, **asked)
    found = sq.discover_log(density, LOG, knowledge=sq.read_knowledge(COLUMNS), **asked)
    wanted = kept(whole.edges)
    assert len(wanted) < len(whole.edges)
    assert found.edges.drop("cmi_nats", "std_error", "pointwise_nats", "oriented_by").equals(
        wanted.drop("cmi_nats", "std_error", "pointwise_nats")
    )
    np.testing.assert_allclose(found.edges["cmi_nats"], wanted["cmi_nats"], atol=1e-5)
    assert found.run.counts.n_pairs_tested < whole.run.counts.n_pairs_tested


def test_screening_decides_the_remaining_pairs():
    world = SoftmaxWorld.random(40, horizon=3, seed=1)
    log = sq.read_log(world.to_log(world.sample(2, 40, seed=1)))
    first = sorted(
        set(log.frame.group_by("case", maintain_order=True).first()["event"])
    )  # the first causes are left out
    known = sq.read_knowledge({"forbidden": [f"{name} -> *" for name in first]})
    found, whole = (sq.discover_log(world, log, knowledge=each, progress=False) for each in (known, None))
    wanted = whole.edges.filter(~pl.col("cause").is_in(first))
    both = found.edges.join(wanted, on=["case", "cause_position", "effect_position"])
    assert both.height > 0.95 * max(len(found), len(wanted))
    assert 0 < found.run.counts.n_replacements < whole.run.counts.n_replacements


def test_the_plan_shows_the_saving_and_the_run_keeps_to_it(tmp_path):
    known = sq.read_knowledge(COLUMNS)
    plain = plan_discovery(WORLD, LOG, calibrate=False)
    plan = plan_discovery(WORLD, LOG, calibrate=False, knowledge=known)
    found = discover_to(WORLD, LOG, tmp_path / "out", knowledge=known, progress=False)
    assert plan.n_pairs == found.run.counts.n_pairs_tested
    assert plan.n_pairs + plan.n_excluded == plain.n_pairs
    assert any(line.startswith("excluded") for line in plan.lines())
    assert plan.n_steps < plain.n_steps


def test_a_result_says_what_is_excluded_and_required(tmp_path):
    known = sq.read_knowledge(COLUMNS | {"required": ["mast|B1 -> gate|A1"]})
    found = discover_to(WORLD, LOG, tmp_path / "out", knowledge=known, progress=False)
    table = sq.load_discovery(tmp_path / "out").known
    assert table.equals(found.known)
    assert all(excluded(*pair) for pair in table.filter(knowledge="excluded").select("cause", "effect").rows())
    assert table.filter(knowledge="excluded")["n_edges"].sum() == 0
    (required,) = table.filter(knowledge="required").rows(named=True)
    assert (required["cause"], required["effect"]) == ("mast|B1", "gate|A1")
    case = LOG.case_names[0]
    assert (
        sq.load_discovery(tmp_path / "out").case(case).n_tested
        == sq.discover(WORLD, LOG.case(case), knowledge=known).n_tested
    )
    again = discover_to(WORLD, LOG, tmp_path / "two", progress=False)
    assert again.known is None
    assert found.run.arguments.knowledge == known_hash(known)


def known_hash(known):
    return knowledge_for(known, LOG, WORLD).fingerprint


def test_excluded_pairs_are_no_hypotheses():
    density = tiny_window(WORLD.vocabulary, head=1.0)
    asked = {"cases": "all", "progress": False, "horizon": 3}
    whole = sq.discover_population(density, LOG, **asked)
    found = sq.discover_population(density, LOG, knowledge=sq.read_knowledge(COLUMNS), **asked)
    same = ["cause", "effect", "cmi_nats", "log10_e"]
    one, other = (kept(each.pairs).select(same).sort("cause", "effect") for each in (whole, found))
    assert found.pairs.height == other.height < whole.pairs.height
    assert one.select("cause", "effect").equals(other.select("cause", "effect"))
    for name in same[2:]:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)
    assert found.known.filter(knowledge="excluded").height > 0


def test_groups_are_excluded_where_all_their_types_are():
    density = tiny_window(WORLD.vocabulary, head=1.0)
    known = sq.read_knowledge({"forbidden": ["1 = gate -> 1 = mast", "radio|A1 -> mast|B1"]})
    asked = {"cases": "all", "progress": False, "horizon": 3, "hierarchy_level": 1}
    found = sq.discover_population(density, LOG, knowledge=known, **asked)
    pairs = found.pairs.select("cause", "effect").rows()
    assert ("gate", "mast") not in pairs
    assert ("radio", "mast") in pairs
    delays = sq.read_knowledge({"max_delay": {"* -> *": "1s"}})
    with pytest.raises(ConfigError, match="max_delay is for whole event types"):
        sq.discover_population(density, LOG, knowledge=delays, **asked)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "ties"])
def test_a_delay_limits_a_pair_in_time(ordered):
    seconds = pl.int_range(pl.len()).over("case") * 10
    log = sq.read_log(TABLE.with_columns(time=seconds if ordered else seconds // 20 * 20))
    known = sq.read_knowledge({"max_delay": {"1 = gate -> *": "15s"}})
    found = sq.discover_log(WORLD, log, delta=0.0, knowledge=known, progress=False)
    times = {(row["case"], row["position"]): row["time"] for row in found.events.rows(named=True)}
    for row in found.edges.rows(named=True):
        gap = times[row["case"], row["effect_position"]] - times[row["case"], row["cause_position"]]
        assert gap <= 15 or not row["cause"].startswith("gate")
    assert (found.edges["lag"] > 1).any()
    density = tiny_window(WORLD.vocabulary, head=1.0)
    far = {"knowledge": sq.read_knowledge({"max_delay": {"1 = gate -> *": "1ms"}}), "cases": "all", "progress": False}
    pairs = sq.discover_population(density, log, horizon=3, **far).pairs
    assert not pairs["cause"].str.starts_with("gate").any()
    assert pairs.height
    with pytest.raises(ConfigError, match="max_delay needs times"):
        sq.discover_log(WORLD, sq.read_log(TABLE, time=False), knowledge=known, progress=False)


def test_a_tick_gets_its_direction_from_what_is_excluded():
    log = sq.read_log(TABLE.with_columns(time=pl.int_range(pl.len()).over("case") // 2 * 1.0))
    plain = sq.discover_log(WORLD, log, delta=0.0, progress=False).edges.filter(lag=0)
    known = sq.read_knowledge({"tiers": [["1 = gate"], ["1 = radio"], ["1 = mast"]]})
    found = sq.discover_log(WORLD, log, delta=0.0, knowledge=known, progress=False)
    tied = found.edges.filter(lag=0)
    order = {"gate": 0, "radio": 1, "mast": 2}
    for row in tied.rows(named=True):
        one, other = (order[row[side].partition("|")[0]] for side in ("cause", "effect"))
        assert (row["directed"], row["oriented_by"]) == ((True, "knowledge") if one < other else (False, None))
        assert one <= other
    assert tied["directed"].any()
    assert not plain["directed"].any()
    pairs = found.places.filter(pl.col("knowledge").is_null()).select("cause", "effect").rows()
    assert set(tied.select("cause", "effect").rows()) <= set(pairs)


def test_causes_and_effects_that_are_asked_for():
    found = sq.discover_log(WORLD, LOG, causes="gate|*", effects="2 = B1", delta=0.0, progress=False)
    assert set(found.edges["cause"]) <= {"gate|A1", "gate|A2"}
    assert set(found.edges["effect"]) <= {"radio|B1", "mast|B1"}
    assert len(found)
    assert found.known is None
    assert found.run.arguments.effects == "2 = B1"
    with pytest.raises(ConfigError, match=r"effects='\*ERROR\*' matches no event type"):
        sq.discover_log(WORLD, LOG, effects="*ERROR*", progress=False)


def test_a_topology_allows_what_is_joined():
    def pairs(**more):
        topology = {"column": "1", "pairs": [["gate", "radio"], ["radio", "mast"]]} | more
        limits = sq.read_knowledge({"topology": topology}).limits(TYPES)
        number = np.arange(len(TYPES))
        cause, effect = np.nonzero(~limits.excluded(number[:, None], number))
        return {(TYPES[a][:4], TYPES[b][:4]) for a, b in zip(cause, effect, strict=True)}

    joined = {("gate", "radi"), ("radi", "mast")}
    back = {(b, a) for a, b in joined}
    own = {(a[:4], a[:4]) for a in TYPES}
    assert pairs() == own | joined | back
    assert pairs(directed=True) == own | joined
    assert pairs(hops=2, directed=True) == own | joined | {("gate", "mast")}


def test_tables_say_the_same_as_toml(tmp_path):
    rows = {
        "cause": ["1 = gate", "a b"],
        "effect": ["*", "x, y"],
        "rule": ["forbidden", "required"],
        "max_delay": ["", "1m"],
    }
    pl.DataFrame(rows).write_csv(tmp_path / "k.csv")
    pl.DataFrame(rows).write_parquet(tmp_path / "k.parquet")
    (tmp_path / "k.toml").write_text(
        'forbidden = ["1 = gate -> *"]\nrequired = ["a b -> x, y"]\n[max_delay]\n"a b -> x, y" = 60.0\n'
    )
    prints = {sq.read_knowledge(tmp_path / f"k.{suffix}").fingerprint for suffix in ("csv", "parquet", "toml")}
    assert len(prints) == 1
    pl.DataFrame({"component": ["a"], "neighbour": ["b"]}).write_csv(tmp_path / "t.csv")
    (tmp_path / "t.toml").write_text('[topology]\ncolumn = "component"\nfile = "t.csv"\n')
    assert sq.read_knowledge(tmp_path / "t.csv").fingerprint == sq.read_knowledge(tmp_path / "t.toml").fingerprint


TOPOLOGY = '[topology]\ncolumn = "1"\n'
MALFORMED = {
    "unknown key": ("k.toml", 'allowed = ["gate|A1 -> *"]\nforbiden = ["a -> b"]\n', 2, "unknown field"),
    "not TOML": ("k.toml", 'allowed = ["gate|A1 -> *"]\nforbidden = [\n', 2, "not TOML"),
    "no arrow": ("k.toml", 'forbidden = [\n  "gate|A1 -> *",\n  "gate|A1 radio|A1",\n]\n', 3, "CAUSE -> EFFECT"),
    "two arrows": ("k.toml", '\nforbidden = ["gate|A1 -> gate|A2 -> radio|A1"]\n', 2, "CAUSE -> EFFECT"),
    "empty side": ("k.toml", '# a comment\nrequired = ["gate|A1 ->"]\n', 2, "CAUSE -> EFFECT"),
    "no list": ("k.toml", "\n\nallowed = 3\n", 3, "Expected `array`"),
    "a number in a list": ("k.toml", 'allowed = ["gate|A1 -> *",\n 3]\n', 1, "Expected `str`"),
    "matches nothing": (
        "k.toml",
        'forbidden = [\n "gate|A1 -> *", # "x -> y"\n "gate|A9 -> *"]\n',
        3,
        "matches no event type",
    ),
    "no such component": ("k.toml", 'forbidden = ["component = gate -> *"]\n', 1, "matches no event type"),
    "required and forbidden": (
        "k.toml",
        'forbidden = ["gate|* -> *"]\nrequired = ["gate|A1 -> radio|A1"]\n',
        2,
        "line 1 forbids it",
    ),
    "required, not allowed": (
        "k.toml",
        'allowed = ["gate|* -> *"]\nrequired = ["radio|A1 -> gate|A1"]\n',
        2,
        "nothing that is allowed",
    ),
    "required against tiers": (
        "k.toml",
        'required = ["radio|A1 -> gate|A1"]\ntiers = [["gate|*"],\n  ["radio|*"]]\n',
        1,
        r"tiers \(line 3\)",
    ),
    "allowed and forbidden": (
        "k.toml",
        'allowed = ["* -> *", "gate|A1 -> mast|*"]\nforbidden = ["gate|* -> mast|B1"]\n',
        1,
        "line 2 forbids it",
    ),
    "in two tiers": ("k.toml", 'tiers = [\n ["gate|*"],\n ["*|A1"],\n]\n', 3, "is in two tiers"),
    "an empty tier": ("k.toml", 'tiers = [["gate|*"], []]\n', 1, "names no event type"),
    "no length of time": (
        "k.toml",
        '[max_delay]\n"gate|A1 -> *" = "1m"\n"gate|A2 -> *" = "soon"\n',
        3,
        "seconds above 0",
    ),
    "a negative delay": ("k.toml", '[max_delay]\n"gate|A1 -> *" = -5.0\n', 2, "seconds above 0"),
    "two delays": ("k.csv", "cause,effect,max_delay\n*,gate|A1,1m\n*,gate|A1,2m\n", 3, "another delay than in line 2"),
    "column missing": ("k.csv", "cause,rule\ngate|A1,forbidden\n", 1, "'effect' is missing"),
    "unknown column": ("k.csv", "cause,effects,rule\ngate|A1,*,forbidden\n", 1, "did you mean 'effect'"),
    "unknown rule": (
        "k.csv",
        "cause,effect,rule\ngate|A1,*,forbidden\n*,mast|B1,forbiden\n",
        3,
        "did you mean 'forbidden'",
    ),
    "a short row": ("k.csv", 'cause,effect,rule\n"gate|A1",*,forbidden\nmast|B1,*\n', 3, "2 values in a table of 3"),
    "neither rule nor delay": ("k.csv", "cause,effect,rule\ngate|A1,*,\n", 2, "needs a rule"),
    "an open quote": ("k.csv", 'cause,effect,rule\n"gate|A1,*,forbidden\n', 2, "not CSV"),
    "not text": ("k.csv", b"cause,effect,rule\n\xff\xfe,*,forbidden\n", 2, "not UTF-8"),
    "empty": ("k.csv", "", 1, "is missing"),
    "nothing said": ("k.toml", "# nothing\n", 1, "says nothing"),
    "no hops": ("k.toml", TOPOLOGY + 'pairs = [["gate", "radio"], ["radio", "mast"]]\nhops = 0\n', 4, "hops must be"),
    "three components": (
        "k.toml",
        TOPOLOGY + 'pairs = [["gate", "radio"],\n  ["radio", "mast", "gate"]]\n',
        4,
        "joins two",
    ),
    "a component left out": (
        "k.toml",
        TOPOLOGY + 'pairs = [["gate", "radio"]]\n',
        3,
        "does not name the component of 'mast|B1'",
    ),
    "another file": ("k.toml", TOPOLOGY + 'file = "../other.csv"\n', 3, "there is no file"),
    "no pairs": ("k.toml", TOPOLOGY, 1, "one of the two"),
    "a pattern in a topology": ("k.csv", "1,neighbour\ngate,radio\nra*,mast\n", 3, "without"),
}


@pytest.mark.parametrize(("name", "content", "line", "why"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_refused_with_their_line(tmp_path, name, content, line, why):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=rf"'k\.\w+', line {line}: .*{why}"):
        sq.discover_log(WORLD, LOG, knowledge=path, progress=False)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "k.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ConfigError, match="not a Parquet table"):
        sq.read_knowledge(tmp_path / "k.parquet")
    with pytest.raises(ConfigError, match="there is no file"):
        sq.read_knowledge(tmp_path / "k.toml")
    (tmp_path / "k.json").write_text("{}")
    with pytest.raises(ConfigError, match="is read from"):
        sq.read_knowledge(tmp_path / "k.json")


def test_rare_types_are_never_excluded():
    names = Vocabulary((*vocabulary_of(2).names, "<rare>"), (1, 1, 1), has_rare=True).names
    limits = sq.read_knowledge({"allowed": ["e0 -> e1"]}).limits(names)
    found = limits.excluded(np.arange(3)[:, None], np.arange(3))
    assert found.tolist() == [[True, False, False], [True, True, False], [False, False, False]]


def test_a_run_keeps_to_what_is_known_and_explains_by_it(tmp_path):
    (tmp_path / "k.toml").write_text('forbidden = ["* -> mast|B1"]\nrequired = ["gate|A1 -> radio|A1"]\n')
    asked = {"out": tmp_path / "out", "max_steps": 10, "fast": True, "progress": False}
    found = sq.run(LOG, knowledge=tmp_path / "k.toml", **asked)
    assert found.record.arguments["knowledge"] == {"hash": found.discovery.knowledge.fingerprint, "file": "k.toml"}
    assert not (found.discovery.edges["effect"] == "mast|B1").any()
    page = found.report_path.read_text()
    assert "excluded by what was known" in page
    assert "Required beforehand" in page
    name = next(each for each in LOG.case_names if "mast|B1" in LOG.case(each).events[1:])
    place = LOG.case(name).events.index("mast|B1", 1)
    old = sq.explain(found, case=name, event=place)
    new = sq.explain(found, LOG, case=name, event=place)
    for each in (old, new):
        assert any("excluded by what is known" in doubt for doubt in each.explanation.doubts)
    assert new.graph.n_tested == old.graph.n_tested
    with pytest.raises(ConfigError, match="matches no event type"):
        sq.run(LOG, knowledge=sq.read_knowledge({"forbidden": ["no -> *"]}), **asked | {"out": tmp_path / "two"})
