"""The command line: parsing and printing, nothing else."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    import sequela.cli.app  # noqa: F401  (registers all commands)
    from sequela.cli.base import app

    app()
