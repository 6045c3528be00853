"""The command line: parsing and printing, nothing else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from sequela.cli.app import app

    for stream in (sys.stdout, sys.stderr):  # a name that a Windows code page lacks is shown escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()
