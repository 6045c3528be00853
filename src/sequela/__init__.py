"""Sequela: train one next-event model on an event log, then ask of any single sequence which events caused which.

Everything heavy is imported when it is first used, so that ``import sequela`` is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from sequela.version import __version__

if "torch" not in sys.modules:
    # Threads that wait must sleep: spinning, they take the processors from each other and from other work (with two
    # busy processors training took 69 s instead of 8). Only read when torch is loaded; a user's own choice stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "CMIEstimate": "sequela.effects.cmi",
    "Changes": "sequela.graphs.changes",
    "CrossFit": "sequela.density.training.crossfit",
    "Discovery": "sequela.graphs.results",
    "EventLog": "sequela.events.log",
    "InstanceGraph": "sequela.graphs.instance",
    "OutcomeGraph": "sequela.graphs.outcomes",
    "OutcomeModel": "sequela.density.outcomes.model",
    "PopulationGraph": "sequela.graphs.population",
    "RunResult": "sequela.discovery.run_folder",
    "SequelaError": "sequela.errors",
    "SequenceSet": "sequela.events.sequences",
    "SummaryGraph": "sequela.graphs.summary",
    "Vocabulary": "sequela.events.vocabulary",
    "diagnose_log": "sequela.discovery.diagnose",
    "compare": "sequela.discovery.compare",
    "cross_fit": "sequela.density.training.crossfit",
    "load_cross_fit": "sequela.density.training.crossfit",
    "discover": "sequela.discovery.discover",
    "discover_log": "sequela.discovery.discover",
    "discover_outcomes": "sequela.discovery.outcomes",
    "discover_population": "sequela.discovery.population",
    "estimate": "sequela.discovery.discover",
    "explain": "sequela.discovery.explain",
    "explain_incident": "sequela.discovery.incident",
    "explain_outcome": "sequela.discovery.explain_outcome",
    "filter_result": "sequela.graphs.filtered",
    "fit": "sequela.density.training.fit",
    "fit_outcomes": "sequela.density.outcomes.fit",
    "load_density": "sequela.density.checkpoint",
    "load_discovery": "sequela.graphs.saved",
    "load_outcome_graph": "sequela.graphs.outcomes",
    "load_outcomes": "sequela.density.outcomes.model",
    "load_population": "sequela.graphs.saved",
    "load_run": "sequela.discovery.run_folder",
    "read_knowledge": "sequela.discovery.knowledge",
    "read_log": "sequela.events.log",
    "Templates": "sequela.events.templates",
    "read_spans": "sequela.events.spans",
    "read_traces": "sequela.events.traces",
    "report": "sequela.reports.page",
    "root_causes": "sequela.graphs.root_causes",
    "run": "sequela.discovery.run",
    "update": "sequela.discovery.update",
    "wrap_huggingface": "sequela.density.decoder.wrap",
    "wrap_model": "sequela.density.wrap_model",
}
_MODULES = {"plots": "sequela.reports.plots"}

__all__ = ["__version__", *_HOMES, *_MODULES]  # noqa: PLE0604

if TYPE_CHECKING:
    from sequela.density.checkpoint import load_density
    from sequela.density.decoder.wrap import wrap_huggingface
    from sequela.density.outcomes.fit import fit_outcomes
    from sequela.density.outcomes.model import OutcomeModel, load_outcomes
    from sequela.density.training.crossfit import CrossFit, cross_fit, load_cross_fit
    from sequela.density.training.fit import fit
    from sequela.density.wrap_model import wrap_model
    from sequela.discovery.compare import compare
    from sequela.discovery.diagnose import diagnose_log
    from sequela.discovery.discover import discover, discover_log, estimate
    from sequela.discovery.explain import explain
    from sequela.discovery.explain_outcome import explain_outcome
    from sequela.discovery.incident import explain_incident
    from sequela.discovery.knowledge import read_knowledge
    from sequela.discovery.outcomes import discover_outcomes
    from sequela.discovery.population import discover_population
    from sequela.discovery.run import run
    from sequela.discovery.run_folder import RunResult, load_run
    from sequela.discovery.update import update
    from sequela.effects.cmi import CMIEstimate
    from sequela.errors import SequelaError
    from sequela.events.log import EventLog, read_log
    from sequela.events.sequences import SequenceSet
    from sequela.events.spans import read_spans
    from sequela.events.templates import Templates
    from sequela.events.traces import read_traces
    from sequela.events.vocabulary import Vocabulary
    from sequela.graphs.changes import Changes
    from sequela.graphs.filtered import filter_result
    from sequela.graphs.instance import InstanceGraph
    from sequela.graphs.outcomes import OutcomeGraph, load_outcome_graph
    from sequela.graphs.population import PopulationGraph
    from sequela.graphs.results import Discovery
    from sequela.graphs.root_causes import root_causes
    from sequela.graphs.saved import load_discovery, load_population
    from sequela.graphs.summary import SummaryGraph
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
