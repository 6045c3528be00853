"""README and documentation do what they say: examples run, commands and options exist, links lead somewhere."""

import importlib.util
import itertools
import re
import shlex
import tomllib

import pytest
from pages import (
    COMMANDS,
    GENERATED,
    ROOT,
    WORDS,
    blocks,
    check_mention,
    check_words,
    heading_anchors,
    pages,
    prose,
    read,
)
from setups import SETUPS
from typer.testing import CliRunner

import sequela
from sequela.cli.app import app
from sequela.effects.designs import DESIGNS

PAGES = pages()
WITH_CODE = [page for page in PAGES if any(block.language in ("sh", "python") for block in blocks(page))]


@pytest.fixture(autouse=True)
def designs_as_they_were():
    """A page adds a design of its own."""
    before = dict(DESIGNS)
    yield
    DESIGNS.clear()
    DESIGNS.update(before)


def run_page(page, folder, *, small):
    """Run all blocks of a page in order, in one folder and one Python session."""
    session = {"__name__": "__main__"}
    for block in blocks(page):
        if block.is_waiting or block.marked("skip") or (small and block.marked("slow")):
            continue
        for file in block.marked("setup"):
            SETUPS[file](folder)
        if block.language == "sh":
            for words in block.lines:
                if words[0] == "sequela":
                    run_command(words[1:], block, folder, small=small)
        elif block.language == "python":
            text = block.text
            for rest in block.marked("small") if small else ():
                before, after = shlex.split(rest) if rest.startswith('"') else ("", "")
                text = text.replace(before, after) if before else text
            exec(compile(text, str(block), "exec"), session)


def run_command(words, block, folder, *, small):
    extra = [shlex.split(rest) for rest in block.marked("small")] if small else []
    words = [*words, *(word for command, *more in extra if command == words[0] for word in more)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"{block}: sequela {shlex.join(words)}\n{result.output}"
    for option, value in itertools.pairwise(words):
        if option in ("--out", "--truth"):
            assert (folder / value).exists(), f"{block}: {value} was not written"


@pytest.mark.parametrize("page", WITH_CODE)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, small=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_examples_run_as_they_stand(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, small=False)


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    for block in blocks(page):
        if block.language == "sh" and not block.is_waiting:
            for words in block.lines:
                check_words(words)
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        check_mention(span)


@pytest.mark.parametrize("page", PAGES)
def test_marks_are_understood(page):
    for block in blocks(page):
        for word, rest in block.marks:
            assert word in WORDS, f"{block}: {word}"
            if word == "skip":
                assert re.fullmatch(r"\(.{8,}\)", rest), f"{block}: say in brackets why it is skipped"
            if word == "if":
                assert re.fullmatch(r"sequela [a-z]+|sq\.\w+", rest), f"{block}: {rest}"
            if word == "setup":
                assert rest in SETUPS, f"{block}: {rest}"
            if word == "small" and not rest.startswith('"'):
                command, *more = shlex.split(rest)
                assert command in COMMANDS, f"{block}: {command}"
                assert {option for option in more if option.startswith("-")}, f"{block}: {rest}"
        assert block.language in ("sh", "python", "text", ""), f"{block}: {block.language}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    here = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (here / path).resolve() if path else ROOT / page
        name = file.relative_to(ROOT).as_posix()
        assert file.exists() or name in GENERATED, f"{page}: {target}"
        if anchor and name not in GENERATED:
            assert anchor in heading_anchors(name), f"{page}: {target}"


def test_every_page_is_in_the_navigation():
    def leaves(entries):
        for entry in entries:
            for value in entry.values():
                yield from leaves(value) if isinstance(value, list) else [value]

    navigation = list(leaves(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    written = [page.removeprefix("docs/") for page in [*PAGES, *GENERATED] if page.startswith("docs/")]
    assert sorted(navigation) == sorted(written)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_are_complete_commands(name):
    (example,) = re.findall(r"^Example: (sequela .+)$", COMMANDS[name].help, flags=re.MULTILINE)
    words = shlex.split(example)
    assert words[:2] == ["sequela", name]
    check_words(words)


# The checks above can fail.


@pytest.mark.parametrize(
    "line",
    [
        "sequela fit log.csv",  # no --out
        "sequela discover model log.csv --out r --colour red",
        "sequela fix log.csv --out m",
        "make coffee",
        "pip install 'sequela[moon]'",
        "torchrun --nproc-per-node 2 --no-python sequela fit log.csv --colour red --out m",
        "ls",
    ],
)
def test_a_wrong_command_is_noticed(line):
    with pytest.raises(Exception, match=r".+"):
        check_words(shlex.split(line))


@pytest.mark.parametrize("span", ["sequela fix", "sequela fit --colour", "--colour red", "sq.fix(log)", "make coffee"])
def test_a_wrong_mention_is_noticed(span):
    with pytest.raises(AssertionError):
        check_mention(span)


def test_a_block_knows_its_marks():
    text = (
        "<!-- test: small fit --max-steps 3 -->\n<!-- test: skip (needs a GPU) -->\n```sh\nsequela fit a \\\n  --out b"
        "  # why\n```\n1. x\n\n    ```python\n    if 1:\n        pass\n    ```\n"
        "<!-- test: if sequela fix -->\n```sh\nx\n```\n"
    )
    first, second, third = blocks("page.md", text)
    assert (first.marked("skip"), first.marked("small")) == (["(needs a GPU)"], ["fit --max-steps 3"])
    assert first.lines == [["sequela", "fit", "a", "--out", "b"]]
    assert (second.text, second.line, second.marked("skip")) == ("if 1:\n    pass\n", 9, [])
    assert second.marked("small") == ["fit --max-steps 3"]
    assert third.is_waiting
    assert not first.is_waiting


def test_a_failing_example_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = blocks("page.md", "```sh\nsequela fit no.csv --out m\n```\n")
    monkeypatch.setitem(run_page.__globals__, "blocks", lambda page: wrong)
    with pytest.raises(AssertionError, match="there is no file"):
        run_page("page.md", tmp_path, small=True)


def test_readme_shows_the_whole_path():
    words = [line[1] for block in blocks("README.md") if block.language == "sh" for line in block.lines]
    assert {"demo", "test", "fit", "discover", "simulate", "evaluate", "experiment"} <= set(words)
    assert "sq.discover(" in read("README.md")


# The reference, as tools/build_docs.py makes it.


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "tools" / "build_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_has_every_command_and_option(tool):
    text = tool.command_pages()
    for name, command in COMMANDS.items():
        section = text.split(f"## sequela {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()
            assert f"| `{shown}" in section, (name, shown)
            assert re.split("[`<>]", parameter.help or "")[0] in section
        assert "| required |" in section or not any(parameter.required for parameter in command.params)
    assert "`--max-steps NUMBER`" in text
    assert "| `0.05` |" in text


def test_reference_has_every_public_name(tool):
    text = tool.python_page()
    assert sorted(re.findall(r"^::: \S+\.(\w+)$", text, flags=re.MULTILINE)) == sorted(
        {*sequela.__all__} - {"__version__"}
    )


def test_reference_has_nothing_twice():
    listed = re.findall(r"^::: \S+\.(\w+)$", read("docs/reference/modules.md"), flags=re.MULTILINE)
    assert not set(listed) & set(sequela.__all__)


def test_pages_that_load_from_the_network_are_noticed(tool, tmp_path):
    (tmp_path / "a.html").write_text('<a href="https://x.org">x</a><script src="b.js"></script><img src="c.png">')
    assert tool.remote_loads(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<script async src="https://x.org/s.js"></script><link rel="stylesheet" href="//x.org/f.css">'
    )
    (tmp_path / "c.css").write_text("@import url(https://x.org/c.css); a { background: url('data:image/png;base64,') }")
    assert [line.split(": ")[0] for line in tool.remote_loads(tmp_path)] == ["b.html", "b.html", "c.css"]
