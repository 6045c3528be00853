"""Reads README and documentation pages: their blocks of code, their commands, their links, and what to do with them.

An HTML comment before a block of code says how a test is to treat it. Comments apply to the next block, and `small` to
the rest of the page.

    <!-- test: skip (REASON) -->          not run; its commands are still checked against the command line
    <!-- test: slow -->                   run by `make test-slow` only
    <!-- test: if sequela COMMAND -->     neither checked nor run before there is such a command
    <!-- test: if sq.NAME -->             the same for a public name of the package
    <!-- test: setup FILE -->             makes the file (see `setups.py`) in the page's folder first
    <!-- test: small COMMAND OPTIONS -->  options added to this command, except in `make test-slow`
    <!-- test: small "TEXT" "OTHER" -->   text replaced in Python blocks, except in `make test-slow`
"""

import re
import shlex
import textwrap
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import typer

import sequela
from sequela.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("docs/reference/commands.md", "docs/reference/python.md")
COMMANDS = dict(typer.main.get_command(app).commands)
WORDS = ("skip", "slow", "if", "setup", "small")
BEFORE = {
    "README.md": "<!-- test: setup alarms.csv -->\n"
    "<!-- test: small simulate --cases 10 --types 12 -->\n"
    "<!-- test: small fit --max-steps 30 -->\n"
    "<!-- test: small run --max-steps 30 --folds 2 -->\n"
    '<!-- test: small "max_steps=200" "max_steps=20" -->\n'
}
"""Comments that a page would have, were it not the face of the project."""


@dataclass
class Block:
    """A fenced block of code with the comments that apply to it."""

    page: str
    line: int
    language: str
    text: str
    marks: list[tuple[str, str]] = field(default_factory=list)

    def marked(self, word):
        return [rest for mark, rest in self.marks if mark == word]

    @property
    def is_waiting(self):
        """Whether it shows a command or name that is still to come."""
        known = {*(f"sequela {name}" for name in COMMANDS), *(f"sq.{name}" for name in sequela.__all__)}
        return not set(self.marked("if")) <= known

    @property
    def lines(self):
        """Commands of a shell block, split into words, without comments."""
        joined = self.text.replace("\\\n", " ")
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]

    def __str__(self):
        return f"{self.page}, line {self.line}"


def pages():
    """Return README, CONTRIBUTING and all pages of the documentation that people write."""
    written = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *(page for page in written if page not in GENERATED)]


def read(page):
    return BEFORE.get(page, "") + (ROOT / page).read_text(encoding="utf-8")


def blocks(page, text=None):
    """Return the blocks of a page in order."""
    found, marks, small, fence = [], [], [], None
    shift = BEFORE.get(page, "").count("\n") if text is None else 0
    for number, line in enumerate((read(page) if text is None else text).splitlines(), start=1 - shift):
        if fence is None:
            if mark := re.fullmatch(r"\s*<!-- test: (\S+) ?(.*?) -->", line):
                (small if mark[1] == "small" else marks).append((mark[1], mark[2]))
            elif opening := re.match(r"\s*```(\w*)", line):
                fence, body = Block(page, number, opening[1], "", [*marks, *small]), []
        elif re.match(r"\s*```\s*$", line):
            fence.text = textwrap.dedent("\n".join(body)) + "\n"
            found.append(fence)
            fence, marks = None, []
        else:
            body.append(line)
    assert fence is None, f"{page}: a block of code has no end"
    assert not marks, f"{page}: {marks} come before no block"
    return found


def prose(page):
    """Return a page without its blocks of code and comments."""
    text = re.sub(r"^(\s*)```.*?^\s*```\s*$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def check_words(words):
    """Raise an error unless a shell command is one of ours, complete and with options that exist."""
    program, *rest = words
    if program == "make":
        assert re.search(rf"^{re.escape(rest[0])}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), words
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        allowed = {".", "sequela"} | {f"sequela[{extra}]" for extra in project["optional-dependencies"]}
        assert rest[0] == "install", words
        assert set(rest[1:]) <= allowed, words
    elif program == "torchrun":
        check_words(rest[rest.index("sequela") :])
    else:
        assert program == "sequela", f"{words}: not a command that a test knows"
        assert rest, words
        if rest[0] not in ("--version", "--help"):
            assert rest[0] in COMMANDS, f"there is no command 'sequela {rest[0]}'"
            COMMANDS[rest[0]].make_context(f"sequela {rest[0]}", rest[1:])


def options(command=None):
    """Return all options of a command, or of all."""
    chosen = COMMANDS.values() if command is None else [COMMANDS[command]]
    found = {
        name for one in chosen for parameter in one.params for name in [*parameter.opts, *parameter.secondary_opts]
    }
    return {name for name in found if name.startswith("-")} | {"--help", "--version"}


def check_mention(span):
    """Raise an error unless what a page says in code type, inside a sentence, exists where it is a command of ours."""
    words = span.split()
    if span.startswith("sequela ") and re.fullmatch(r"[a-z]+", words[1]):
        assert words[1] in COMMANDS, f"there is no command 'sequela {words[1]}'"
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options(words[1]), f"'sequela {words[1]}' has no {given - options(words[1])}"
    elif span.startswith("--"):
        assert words[0].partition("=")[0] in options(), f"no command has the option {words[0]}"
    elif called := re.match(r"sq\.(\w+)", span):
        assert called[1] in sequela.__all__, f"sequela has no '{called[1]}'"
    elif made := re.fullmatch(r"make ([\w-]+)", span):
        check_words(["make", made[1]])


def heading_anchors(page):
    """Return what can follow ``#`` in a link to a page."""
    titles = re.findall(r"^#+\s+(.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
