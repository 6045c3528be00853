"""Sequela: train one next-event model on an event log, then ask of any single sequence which events caused which.

Everything heavy is imported when it is first used, so that ``import sequela`` is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules:
    # Threads that wait must sleep: spinning, they take the processors from each other and from other work (with two
    # busy processors training took 69 s instead of 8). Only read when torch is loaded; a user's own choice stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "CMIEstimate": "sequela.causal.cmi",
    "CrossFit": "sequela.density.crossfit",
    "Discovery": "sequela.causal.results",
    "EventLog": "sequela.events.log",
    "InstanceGraph": "sequela.causal.graphs",
    "PopulationGraph": "sequela.causal.population",
    "SequelaError": "sequela.errors",
    "SequenceSet": "sequela.events.sequences",
    "SummaryGraph": "sequela.causal.graphs",
    "Vocabulary": "sequela.events.vocabulary",
    "diagnose_log": "sequela.causal.diagnosis",
    "cross_fit": "sequela.density.crossfit",
    "discover": "sequela.causal.discovery",
    "discover_log": "sequela.causal.discovery",
    "discover_population": "sequela.causal.population",
    "estimate": "sequela.causal.discovery",
    "fit": "sequela.density.fit",
    "load_density": "sequela.density.checkpoint",
    "load_discovery": "sequela.causal.run",
    "load_population": "sequela.causal.population",
    "read_log": "sequela.events.log",
    "report": "sequela.reports.page",
    "root_causes": "sequela.causal.roots",
    "wrap_huggingface": "sequela.density.huggingface",
}
_MODULES = {"plots": "sequela.reports.plots"}

__all__ = ["__version__", *_HOMES, *_MODULES]  # noqa: PLE0604

if TYPE_CHECKING:
    from sequela.causal.cmi import CMIEstimate
    from sequela.causal.diagnosis import diagnose_log
    from sequela.causal.discovery import discover, discover_log, estimate
    from sequela.causal.graphs import InstanceGraph, SummaryGraph
    from sequela.causal.population import PopulationGraph, discover_population, load_population
    from sequela.causal.results import Discovery
    from sequela.causal.roots import root_causes
    from sequela.causal.run import load_discovery
    from sequela.density.checkpoint import load_density
    from sequela.density.crossfit import CrossFit, cross_fit
    from sequela.density.fit import fit
    from sequela.density.huggingface import wrap_huggingface
    from sequela.errors import SequelaError
    from sequela.events.log import EventLog, read_log
    from sequela.events.sequences import SequenceSet
    from sequela.events.vocabulary import Vocabulary
    from sequela.reports import plots
    from sequela.reports.page import report


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'sequela' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
