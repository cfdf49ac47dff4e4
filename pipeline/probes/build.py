"""From a request to a scikit-learn estimator, not yet fitted.

Any class, or function that returns an estimator, can be named by its dotted path; it must fit and predict. What a
user can get wrong here (the name, a parameter) is an error that lists what would have been right.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from ...class_names import composed
from ...errors import BadInput
from ..tasks import Task
from .registry import named_probe, probe_names
from .request import ProbeRequest

_MOST_LISTED = 20
"""Classes that a message lists."""


def make_estimator(request: ProbeRequest, **overrides: Any) -> Any:
    """Build the estimator that `request` names.

    Parameters
    ----------
    request : ProbeRequest
    **overrides
        Parameters that take precedence over the request's, such as one value of the grid.

    Returns
    -------
    estimator
        Not fitted. ``random_state``, of the estimator or of a step inside it, is ``request.seed`` unless it was given.

    Raises
    ------
    BadInput
        If the name cannot be imported, is not an estimator that classifies, or has no such parameter.

    Examples
    --------
    >>> make_estimator(ProbeRequest(probe="sklearn.svm.LinearSVC", seed=7), C=0.1).get_params()["random_state"]
    7
    """
    named = named_probe(request.probe)
    factory = load(named.path if named is not None else request.probe)
    params = {**request.params, **overrides}
    takes = _signature_of(factory)
    own = {name: value for name, value in params.items() if name in takes}
    try:
        estimator = factory(**own)
    except Exception as error:  # the constructor is a stranger's code
        raise BadInput(
            f"{request.probe} could not be built from {own or 'its defaults'}: {error}",
            hint="Give the parameters that its constructor needs; an estimator made of other estimators can be "
            "named by a function of yours that returns it.",
            key=request.probe,
        ) from error
    _check_classifies(estimator, request.probe)

    valid = valid_parameters(estimator) | takes
    for name in params:
        if name not in valid:
            raise _unknown_parameter(request.probe, name, valid)
    later: dict[str, Any] = {name: value for name, value in params.items() if name not in own}
    for name in valid_parameters(estimator):
        if name.split("__")[-1] == "random_state" and name not in params:
            later[name] = request.seed
    if later:
        estimator.set_params(**later)
    return estimator


def valid_parameters(estimator: Any) -> set[str]:
    """Return the names that ``set_params`` takes, nested ones included."""
    return set(estimator.get_params(deep=True)) if hasattr(estimator, "get_params") else set()


def weigh_by_name(estimator: Any, classes: Sequence[str], task: Task) -> None:
    """Replace class names in a ``class_weight``, of the estimator or of a step inside it, by the classes' places.

    Parameters
    ----------
    estimator : estimator
        Changed in place.
    classes : sequence of str
        Classes that a weight does not name keep the weight 1.
    task : Task
        Flags have no such weights.

    Raises
    ------
    BadInput
        If a name is not one of `classes`, or a weight is not a number of at least 0.
    """
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    for name, weights in parameters.items():
        if name.split("__")[-1] != "class_weight" or not isinstance(weights, Mapping):
            continue
        if not task.exclusive:
            raise BadInput(
                f"{name} by class names is for data with one label a row.", hint=f"Give {name}=balanced.", key=name
            )
        place = {composed(c): i for i, c in enumerate(classes)}
        if unknown := [str(c) for c in weights if composed(str(c)) not in place]:
            close = _did_you_mean(unknown[0], classes)
            raise BadInput(
                f"{name} names {unknown[0]!r}, which is not a class" + close,
                hint=f"The classes: {', '.join(classes[:_MOST_LISTED])}{', …' if len(classes) > _MOST_LISTED else ''}",
                key=name,
                found=unknown,
            )
        by_place = dict.fromkeys(range(len(classes)), 1.0)
        for c, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise BadInput(f"{name} of {c!r} is {weight!r}, not a number of at least 0.", key=name, found=weight)
            by_place[place[composed(str(c))]] = float(weight)
        estimator.set_params(**{name: by_place})


def at_value(request: ProbeRequest, value: float) -> Any:
    """Build the estimator at one value of the parameter that is tuned; a whole number where its own default is one."""
    default = make_estimator(request).get_params().get(request.tune)
    whole = isinstance(default, int) and not isinstance(default, bool) and float(value).is_integer()
    return make_estimator(request, **{request.tune: int(value) if whole else value})


def grid_of(request: ProbeRequest) -> tuple[float, ...]:
    """Return the values to choose from; empty where the estimator's own default stands.

    Raises
    ------
    BadInput
        If a grid was given and the estimator has no such parameter.
    """
    if request.grid:
        make_estimator(request, **{request.tune: request.grid[0]})
    return request.grid


def needs_validation(request: ProbeRequest) -> bool:
    """Say whether `run_probe` needs a validation part: whether there are several values to choose from."""
    return len(grid_of(request)) > 1


def for_task(estimator: Any, task: Task) -> Any:
    """Return an estimator that takes the targets of a task.

    Of multi-label data, ours that take flags by themselves are returned as they are. Others are wrapped in
    `FlagsProbe`, fitted on all flags together if they can (trees), and else on one after the other.
    """
    from .flags import FlagsProbe
    from .sklearn_input import TakesFlags

    if task.exclusive or isinstance(estimator, TakesFlags):
        return estimator
    return FlagsProbe(estimator, together=_fits_flags(estimator))


def _fits_flags(estimator: Any) -> bool:
    from sklearn.base import BaseEstimator
    from sklearn.utils import get_tags

    if not isinstance(estimator, BaseEstimator):
        return False
    tags = get_tags(estimator).classifier_tags
    return tags is not None and bool(tags.multi_label)


def load(path: str) -> Callable[..., Any]:
    """Import what a dotted path names."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise BadInput(
            f"there is no probe called {path!r}" + _did_you_mean(path, probe_names()),
            hint=f"Give one of {', '.join(probe_names())}, or a dotted path such as "
            "sklearn.linear_model.RidgeClassifier.",
            key=path,
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs a stranger's code
        raise BadInput(
            f"probe {path}: module {module_name} cannot be imported: {error}",
            hint="Check the spelling, and that it is installed in this environment.",
            key=path,
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise BadInput(
            f"probe {path}: module {module_name} has no {name!r}" + _did_you_mean(name, dir(module)),
            hint="Give the dotted path of a class that fits and predicts.",
            key=path,
        )
    if not callable(found):
        raise BadInput(
            f"probe {path} is not a class but a {type(found).__name__}",
            hint="Give the dotted path of a class that fits and predicts.",
            key=path,
        )
    return cast(Callable[..., Any], found)


def _signature_of(factory: Callable[..., Any]) -> set[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # a class written in C
        return set()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _check_classifies(estimator: Any, path: str) -> None:
    from sklearn.base import ClassifierMixin, ClusterMixin, OutlierMixin, RegressorMixin

    missing = [verb for verb in ("fit", "predict") if not callable(getattr(estimator, verb, None))]
    if missing:
        problem = f"has no {' and no '.join(missing)}"
    elif isinstance(estimator, RegressorMixin | ClusterMixin | OutlierMixin) and not isinstance(
        estimator, ClassifierMixin
    ):
        problem = "does not classify"
    else:
        return
    raise BadInput(f"{path} {problem}", hint="Give an estimator that predicts class labels.", key=path)


def _unknown_parameter(path: str, name: str, valid: set[str]) -> BadInput:
    return BadInput(
        f"{path} has no parameter {name!r}" + _did_you_mean(name, valid),
        hint=f"Its parameters: {', '.join(sorted(valid)) or 'none'}.",
        key=name,
        expected=sorted(valid),
        found=name,
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    # Case is the commonest slip in class names, and difflib counts it as a difference.
    by_lower = {other.lower(): other for other in known}
    close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    return f"; did you mean {' or '.join(close)}?" if close else ""
