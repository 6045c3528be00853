"""The program with all its commands, one per public function, in the order of ``--help``."""

from sequela.cli import analyse, compare, incident, learn, outcomes, serve, show, spans, trials
from sequela.cli.base import app

__all__ = ["analyse", "app", "compare", "incident", "learn", "outcomes", "serve", "show", "spans", "trials"]
