"""Cryoprobe: extract an encoder's embeddings once, probe them many times.

>>> import cryoprobe
>>> store = cryoprobe.open_store("features", create=True)
>>> cryoprobe.extract("timm:vit_small_patch14_dinov2", "folder:photos", store)
>>> result = cryoprobe.probe(store, model="timm:vit_small_patch14_dinov2", dataset="folder:photos")
>>> x, y = store.open(result.trial.train).load()  # float32 [n, d], int64 [n]

Importing this package imports nothing heavy: every name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import (
        BadInput,
        Conflict,
        Corrupt,
        CryoprobeError,
        CryoprobeWarning,
        Incompatible,
        NotFound,
        ReadOnly,
        Unavailable,
    )
    from .pipeline.add import AddedSet, add
    from .pipeline.compare import compare
    from .pipeline.comparing.comparison import Comparison
    from .pipeline.comparing.matrix import Matrix
    from .pipeline.datasets import list_datasets, load_dataset
    from .pipeline.datasets.containers.spool import clear_spool, spool_state
    from .pipeline.datasets.own import Dataset
    from .pipeline.encoders import list_models, load_encoder
    from .pipeline.encoders.check import EncoderReport, check_encoder
    from .pipeline.encoders.own import Encoder
    from .pipeline.extract import extract
    from .pipeline.extraction.plan import ExtractionPlan, PlannedSet
    from .pipeline.extraction.result import ExtractedSet, summary
    from .pipeline.label_errors import LabelError, LabelErrors, label_errors
    from .pipeline.mistakes import Mistake, Mistakes, mistakes
    from .pipeline.near_duplicates import Duplicate, Duplicates, near_duplicates
    from .pipeline.options import (
        AddOptions,
        DatasetOptions,
        EncoderOptions,
        ExtractArguments,
        ExtractionOptions,
        ExtractRunOptions,
        PixelOptions,
        ProbeArguments,
        ProbeOptions,
        ReadingOptions,
        RunOptions,
        SetOptions,
        SourceOptions,
        TrialRunOptions,
    )
    from .pipeline.plain_images import PlainImage, PlainImages, plain_images
    from .pipeline.plan_extraction import plan_extraction
    from .pipeline.predict import Predicted, predict
    from .pipeline.probe import probe
    from .pipeline.probes import NamedProbe, ProbeOutcome, list_probes
    from .pipeline.protocols import Problem, Protocol, fit_and_score, list_protocols
    from .pipeline.quickstart import Quickstart, quickstart
    from .pipeline.recompute import Recomputed, recompute
    from .pipeline.report.make import Report, report
    from .pipeline.results import results, trial
    from .pipeline.saved import ProbeHeader, SavedProbe, load_probe, save_probe
    from .pipeline.suggest import Suggestion, suggest
    from .pipeline.suites.plan_suite import SuitePlan, plan_suite
    from .pipeline.suites.probe_many import probe_many
    from .pipeline.suites.read_suite import read_suite
    from .pipeline.suites.run_suite import run_suite
    from .pipeline.suites.suite import Suite, suite_of
    from .pipeline.suites.suite_run import SuiteCell, SuiteExtraction, SuiteRun
    from .pipeline.trackers import TrackedTrial, Tracker, TrackerKind, log_trials
    from .pipeline.trials.result import Trial
    from .pipeline.trials.sweep import SizeSummary, Sweep
    from .pipeline.trials.tables import Trials
    from .progress import Reporter
    from .stores.backends.cache import cache_state, clear_cache
    from .stores.feature_set import FeatureSet
    from .stores.format.pins_and_removals import Pin, Removal, RemovedTrial
    from .stores.keeping.compare import Difference, diff
    from .stores.keeping.gc import Collected, Garbage, gc
    from .stores.keeping.history import Entry, log
    from .stores.keeping.pins import pin, pins
    from .stores.keeping.removal import rm
    from .stores.keeping.repair import repair
    from .stores.keeping.repair_from_copies import Repair
    from .stores.keeping.usage import Usage, du
    from .stores.keeping.verify import Damage, Verification, verify
    from .stores.moving.copying import Moved, MovedSet
    from .stores.moving.export import Exported, export_set, import_set
    from .stores.moving.transfer import pull, push, sync
    from .stores.opening import LayeredStore, open_store
    from .stores.samples import Sample, Samples
    from .stores.store import Store
    from .suite_progress import CellState, SuiteReporter

_HOMES = {
    "errors": (
        "BadInput",
        "Conflict",
        "Corrupt",
        "CryoprobeError",
        "CryoprobeWarning",
        "Incompatible",
        "NotFound",
        "ReadOnly",
        "Unavailable",
    ),
    "pipeline.add": ("AddedSet", "add"),
    "pipeline.compare": ("compare",),
    "pipeline.comparing.comparison": ("Comparison",),
    "pipeline.comparing.matrix": ("Matrix",),
    "pipeline.datasets": ("list_datasets", "load_dataset"),
    "pipeline.datasets.containers.spool": ("clear_spool", "spool_state"),
    "pipeline.datasets.own": ("Dataset",),
    "pipeline.encoders": ("list_models", "load_encoder"),
    "pipeline.encoders.check": ("EncoderReport", "check_encoder"),
    "pipeline.encoders.own": ("Encoder",),
    "pipeline.extract": ("extract",),
    "pipeline.extraction.plan": ("ExtractionPlan", "PlannedSet"),
    "pipeline.plan_extraction": ("plan_extraction",),
    "pipeline.extraction.result": ("ExtractedSet", "summary"),
    "pipeline.options": (
        "AddOptions",
        "DatasetOptions",
        "EncoderOptions",
        "ExtractArguments",
        "ExtractRunOptions",
        "ExtractionOptions",
        "PixelOptions",
        "ProbeArguments",
        "ProbeOptions",
        "ReadingOptions",
        "RunOptions",
        "SetOptions",
        "SourceOptions",
        "TrialRunOptions",
    ),
    "pipeline.predict": ("Predicted", "predict"),
    "pipeline.probe": ("probe",),
    "pipeline.probes": ("NamedProbe", "ProbeOutcome", "list_probes"),
    "progress": ("Reporter",),
    "pipeline.protocols": ("Problem", "Protocol", "fit_and_score", "list_protocols"),
    "pipeline.quickstart": ("Quickstart", "quickstart"),
    "pipeline.label_errors": ("LabelError", "LabelErrors", "label_errors"),
    "pipeline.near_duplicates": ("Duplicate", "Duplicates", "near_duplicates"),
    "pipeline.plain_images": ("PlainImage", "PlainImages", "plain_images"),
    "pipeline.mistakes": ("Mistake", "Mistakes", "mistakes"),
    "pipeline.recompute": ("Recomputed", "recompute"),
    "pipeline.report.make": ("Report", "report"),
    "pipeline.results": ("results", "trial"),
    "pipeline.trackers": ("TrackedTrial", "Tracker", "TrackerKind", "log_trials"),
    "pipeline.trials.result": ("Trial",),
    "pipeline.trials.sweep": ("SizeSummary", "Sweep"),
    "pipeline.trials.tables": ("Trials",),
    "pipeline.suggest": ("Suggestion", "suggest"),
    "pipeline.suites.plan_suite": ("SuitePlan", "plan_suite"),
    "pipeline.suites.probe_many": ("probe_many",),
    "pipeline.suites.read_suite": ("read_suite",),
    "pipeline.suites.run_suite": ("run_suite",),
    "pipeline.suites.suite": ("Suite", "suite_of"),
    "pipeline.suites.suite_run": ("SuiteCell", "SuiteExtraction", "SuiteRun"),
    "suite_progress": ("CellState", "SuiteReporter"),
    "pipeline.saved": ("ProbeHeader", "SavedProbe", "load_probe", "save_probe"),
    "stores.backends.cache": ("cache_state", "clear_cache"),
    "stores.feature_set": ("FeatureSet",),
    "stores.opening": ("LayeredStore", "open_store"),
    "stores.samples": ("Sample", "Samples"),
    "stores.store": ("Store",),
    "stores.moving.export": ("Exported", "export_set", "import_set"),
    "stores.moving.transfer": ("pull", "push", "sync"),
    "stores.moving.copying": ("Moved", "MovedSet"),
    "stores.keeping.compare": ("Difference", "diff"),
    "stores.keeping.gc": ("Collected", "Garbage", "gc"),
    "stores.keeping.history": ("Entry", "log"),
    "stores.keeping.pins": ("pin", "pins"),
    "stores.format.pins_and_removals": ("Pin", "Removal", "RemovedTrial"),
    "stores.keeping.removal": ("rm",),
    "stores.keeping.repair": ("repair",),
    "stores.keeping.repair_from_copies": ("Repair",),
    "stores.keeping.usage": ("Usage", "du"),
    "stores.keeping.verify": ("Damage", "Verification", "verify"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AddOptions",
    "AddedSet",
    "BadInput",
    "CellState",
    "Collected",
    "Comparison",
    "Conflict",
    "Corrupt",
    "CryoprobeError",
    "CryoprobeWarning",
    "Damage",
    "Dataset",
    "DatasetOptions",
    "Difference",
    "Duplicate",
    "Duplicates",
    "Encoder",
    "EncoderOptions",
    "EncoderReport",
    "Entry",
    "Exported",
    "ExtractArguments",
    "ExtractRunOptions",
    "ExtractedSet",
    "ExtractionOptions",
    "ExtractionPlan",
    "FeatureSet",
    "Garbage",
    "Incompatible",
    "LabelError",
    "LabelErrors",
    "LayeredStore",
    "Matrix",
    "Mistake",
    "Mistakes",
    "Moved",
    "MovedSet",
    "NamedProbe",
    "NotFound",
    "Pin",
    "PixelOptions",
    "PlainImage",
    "PlainImages",
    "PlannedSet",
    "Predicted",
    "ProbeArguments",
    "ProbeHeader",
    "ProbeOptions",
    "ProbeOutcome",
    "Problem",
    "Protocol",
    "Quickstart",
    "ReadOnly",
    "ReadingOptions",
    "Recomputed",
    "Removal",
    "RemovedTrial",
    "Repair",
    "Report",
    "Reporter",
    "RunOptions",
    "Sample",
    "Samples",
    "SavedProbe",
    "SetOptions",
    "SizeSummary",
    "SourceOptions",
    "Store",
    "Suggestion",
    "Suite",
    "SuiteCell",
    "SuiteExtraction",
    "SuitePlan",
    "SuiteReporter",
    "SuiteRun",
    "Sweep",
    "TrackedTrial",
    "Tracker",
    "TrackerKind",
    "Trial",
    "TrialRunOptions",
    "Trials",
    "Unavailable",
    "Usage",
    "Verification",
    "__version__",
    "add",
    "cache_state",
    "check_encoder",
    "clear_cache",
    "clear_spool",
    "compare",
    "diff",
    "du",
    "export_set",
    "extract",
    "fit_and_score",
    "gc",
    "import_set",
    "label_errors",
    "list_datasets",
    "list_models",
    "list_probes",
    "list_protocols",
    "load_dataset",
    "load_encoder",
    "load_probe",
    "log",
    "log_trials",
    "mistakes",
    "near_duplicates",
    "open_store",
    "pin",
    "pins",
    "plain_images",
    "plan_extraction",
    "plan_suite",
    "predict",
    "probe",
    "probe_many",
    "pull",
    "push",
    "quickstart",
    "read_suite",
    "recompute",
    "repair",
    "report",
    "results",
    "rm",
    "run_suite",
    "save_probe",
    "spool_state",
    "suggest",
    "suite_of",
    "summary",
    "sync",
    "trial",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
