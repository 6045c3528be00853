"""Build the documentation site into ``site/``: reference pages from the code, then the rest. Warnings are errors.

The pages open from disk and load nothing from the network. Run by ``make docs``.
"""

from __future__ import annotations

import functools
import html
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS, SITE = ROOT / "docs", ROOT / "site"
TYPES = {"<str>": "TEXT", "<path>": "PATH", "<int>": "NUMBER", "<float>": "NUMBER", "<list[str]>": "TEXT …"}
ORDER = ("events", "density", "discovery", "effects", "graphs", "reports", "errors")
"""Packages in the order of the reference: a log, a model, the verbs, what they return."""


@functools.cache
def commands() -> dict[str, Any]:
    """Return the commands of the command line by name."""
    import typer

    from sequela.cli.app import app

    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_pages() -> str:
    """Return the page that describes every command, from the command line's own help."""
    parts = [
        "# Commands",
        "Every command also says this with `--help`. With `--json` the result is one line for scripts. When something "
        "is wrong, one line on standard error says what and how to mend it; the exit code is 1 (2 for a wrong option).",
    ]
    for name, command in commands().items():
        shown = [parameter for parameter in command.params if not parameter.hidden]
        arguments = [parameter for parameter in shown if not parameter.opts[0].startswith("-")]
        options = [parameter for parameter in shown if parameter.opts[0].startswith("-")]
        usage = "".join(f" {_optional(p.name.upper(), p.required)}" for p in arguments)
        required = "".join(f" {_form(p)}" for p in options if p.required)
        text, _, example = (command.help or "").partition("Example:")
        parts += [f"## sequela {name}", _text(text.strip())]
        parts.append(f"```text\nsequela {name}{usage}{required}{' [OPTIONS]' if options else ''}\n```")
        parts.append(_table(arguments + options))
        if example:
            parts.append(f"For example:\n\n```sh\n{example.strip().strip('`')}\n```")
    return "\n\n".join(parts) + "\n"


def _optional(text: str, required: bool) -> str:
    return text if required else f"[{text}]"


def _form(parameter: Any) -> str:
    """Return an option as one writes it: ``--out PATH``."""
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    if not parameter.opts[0].startswith("-"):
        return str(parameter.name.upper())
    if parameter.is_flag:
        return names
    import typer

    shown = str(parameter.get_help_record(typer.Context(commands()["fit"]))[0]).partition(" ")[2]
    return f"{names} {TYPES.get(shown, shown)}"


def _table(parameters: list[Any]) -> str:
    rows = ["| argument or option | what it does | default |", "|---|---|---|"]
    for parameter in parameters:
        default = None if getattr(parameter, "is_flag", False) else parameter.default
        shown = "required" if parameter.required else "" if default is None else f"`{default}`"
        rows.append(f"| `{_form(parameter)}` | {_text(parameter.help)} | {shown} |")
    return "\n".join(rows)


def _text(text: str | None) -> str:
    """Return help text as Markdown: names in angle brackets stay text."""
    parts = re.split(r"(`[^`]*`)", text or "")
    return "".join(part if part.startswith("`") else html.escape(part, quote=False) for part in parts)


def python_page() -> str:
    """Return the page with every public name of the package, from its docstrings."""
    import sequela

    homes = {name: f"{home}.{name}" for name, home in sequela._HOMES.items()} | getattr(sequela, "_MODULES", {})
    packages = {name: home.split(".")[1] for name, home in homes.items()}
    parts = [
        "# Python",
        "All of this is in the package itself: `import sequela as sq`, then `sq.fit`, `sq.discover` and so on. Other "
        "useful parts are on the page [Modules](modules.md).",
    ]
    for package in sorted(set(packages.values()), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
        names = [name for name in homes if packages[name] == package]
        functions = sorted(name for name in names if name.islower())
        classes = sorted(name for name in names if not name.islower())
        parts.append(f"## {package.capitalize()}")
        short = "    options:\n      show_root_full_path: false"
        parts += [f"::: {homes[name]}\n{short}" for name in functions + classes]
    return "\n\n".join(parts) + "\n"


GENERATED = {"reference/commands.md": command_pages, "reference/python.md": python_page}


def write_reference() -> None:
    """Write the pages that are made from the code."""
    for name, page in GENERATED.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


def remote_loads(site: Path) -> list[str]:
    """Return what pages would load from the network when opened: scripts, styles, fonts, pictures, frames."""
    found = []
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|img|iframe|source|video)\b[^>]*?\bsrc="((?:https?:)?//[^"]+)"', text)
        loads += re.findall(r'<link\b(?![^>]*rel="canonical")[^>]*?\bhref="((?:https?:)?//[^"]+)"', text)
        found += [f"{page.relative_to(site)}: {address}" for address in loads]
    for sheet in sorted(site.rglob("*.css")):
        loads = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(site)}: {address}" for address in loads]
    return found


def main() -> None:
    """Build; exit with a message when there is anything to complain about."""
    started = time.monotonic()
    write_reference()
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    complaints = [line for line in said.splitlines() if re.match(r"(griffe|mkdocstrings|WARNING|ERROR)", line)]
    if done.returncode or complaints:
        raise SystemExit(f"{said}\nthe documentation has warnings, and here they are errors")
    if remote := remote_loads(SITE):
        raise SystemExit("pages load from the network:\n" + "\n".join(remote))
    files = [path for path in SITE.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 2**20
    pages = sum(path.suffix == ".html" for path in files)
    print(f"{pages} pages, {size:.1f} MiB, in {time.monotonic() - started:.0f} s; open {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
