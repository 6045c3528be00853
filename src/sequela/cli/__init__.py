"""The command line: parsing and printing, nothing else."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from sequela.cli.app import app

    app()
