"""What of a request belongs into a trial's key: whatever changes the numbers, and nothing else."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import JsonValue

from .build import load, make_estimator, valid_parameters
from .own_code import Code, code_behind, versions_of
from .registry import NAMED, brought_probe
from .request import ProbeRequest

_WORK_ONLY = frozenset({"n_threads", "memory", "block_size", "warm_start"})
"""Parameters of Cryoprobe's probes that say how the work is done; the solution is the same."""

_WORK_ONLY_OF_SKLEARN = frozenset({"n_jobs", "verbose", "cache_size"})

_RANDOM_IF: dict[str, tuple[str, frozenset[Any]]] = {
    "LogisticRegression": ("solver", frozenset({"sag", "saga", "liblinear"})),
    "RidgeClassifier": ("solver", frozenset({"sag", "saga"})),
    "SVC": ("probability", frozenset({True})),
}
"""scikit-learn's estimators that have a ``random_state`` and use it with some values of a parameter only."""


def request_key(request: ProbeRequest) -> dict[str, JsonValue]:
    """Return what stands for a request in a trial's key.

    Parameters that have their default value are left out, and so are those that only say how the work is done. A grid
    of one value is a parameter. Of a probe that a package brings, only the estimator's own defaults are left out: what
    the package sets may change without a change of its code.
    """
    params = dict(request.params)
    if len(request.grid) == 1:
        params[request.tune] = request.grid[0]
    defaults, idle = _defaults(request), _idle(request)
    given = {
        name: value
        for name, value in params.items()
        if name.split("__")[-1] not in idle and not (name in defaults and _same(value, defaults[name]))
    }
    key: dict[str, JsonValue] = {"probe": request.probe}
    if (path := _path(request)) != request.probe and request.probe not in NAMED:
        key["path"] = path
    if given:
        key["params"] = given
    if len(request.grid) > 1:
        key |= {"tune": request.tune, "grid": list(request.grid), "choose_by": request.choose_by}
    return key


def uses_seed(request: ProbeRequest) -> bool:
    """Say whether the estimator is random: whether it has a ``random_state`` that the request leaves to the seed."""
    estimator = make_estimator(request)
    if type(estimator).__module__.startswith("sklearn.") and type(estimator).__name__ in _RANDOM_IF:
        name, values = _RANDOM_IF[type(estimator).__name__]
        if getattr(estimator, name, None) not in values:
            return False
    names = [name for name in valid_parameters(estimator) if name.split("__")[-1] == "random_state"]
    return any(name not in request.params for name in names)


def code_of(request: ProbeRequest) -> Code:
    """Return the code that a request runs beside Cryoprobe's: nothing for its own probes.

    Of a probe that a package brings, that is the module that the entry point leads to, and the estimator's.

    Raises
    ------
    BadInput
        If the probe cannot be imported.
    """
    if request.probe in NAMED:
        return Code()
    if request.probe.startswith("sklearn."):
        return Code(versions=versions_of(["scikit-learn"]))
    brought = brought_probe(request.probe)
    path = request.probe if brought is None else brought.thing.path
    where = "" if brought is None else brought.module
    defined = str(getattr(inspect.unwrap(load(path)), "__module__", None) or "")
    return code_behind([where, path.rpartition(".")[0], defined], [m.partition(".")[0] for m in (where, path) if m])


def _path(request: ProbeRequest) -> str:
    """Return the dotted path of the estimator."""
    if request.probe in NAMED:
        return NAMED[request.probe].path
    brought = brought_probe(request.probe)
    return request.probe if brought is None else brought.thing.path


def _idle(request: ProbeRequest) -> frozenset[str]:
    if request.probe in NAMED:
        return _WORK_ONLY
    return _WORK_ONLY_OF_SKLEARN if _path(request).startswith("sklearn.") else frozenset()


def _defaults(request: ProbeRequest) -> dict[str, Any]:
    """Return the values that parameters have when nothing is said, as far as they can be told."""
    named = NAMED.get(request.probe)
    factory = load(_path(request))
    try:
        signature = inspect.signature(factory).parameters
    except ValueError:  # a class written in C
        return {}
    own = {name: p.default for name, p in signature.items() if p.default is not p.empty}
    nested: dict[str, Any] = {}
    needed = (p for p in signature.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    if all(p.default is not p.empty for p in needed):
        estimator = factory()
        nested = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    if named is None:
        return {**nested, **own}
    usual = {named.tune: named.grid[0]} if len(named.grid) == 1 else {}
    return {**nested, **own, **named.defaults, **usual}


def _same(value: JsonValue, default: object) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return value is default
    if isinstance(value, int | float):
        return isinstance(default, int | float) and value == default
    return type(value) is type(default) and bool(value == default)
