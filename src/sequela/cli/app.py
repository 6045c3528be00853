"""The program with all its commands, one per public function, in the order of ``--help``."""

from sequela.cli import incident, learn, show, trials
from sequela.cli.base import app

__all__ = ["app", "incident", "learn", "show", "trials"]
