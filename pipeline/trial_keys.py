"""What identifies a trial: the hash of whatever changes its result, and of nothing else.

Not in a key: a seed that nothing uses, parameters that have their default value, and how the work is done (threads,
processes, memory, blocks).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..canonical import digest
from ..stores.feature_set import FeatureSet
from .probes import Draw
from .probes.identity import code_of, request_key, uses_seed
from .probes.own_code import Code
from .protocols import METRIC
from .protocols.identity import code_of as code_of_protocol
from .protocols.identity import prescribed
from .resolve import Sets
from .trial_plan import Plan

TRIAL_SCHEMA = 3
"""Raised when a change of Cryoprobe changes the results of trials, a default of a probe included."""


@dataclass(frozen=True)
class TrialSpec:
    """One trial before it is run.

    Parameters
    ----------
    id : str
        Digest of `key`.
    key : dict
        Whatever changes its result.
    draw : Draw
    seed : int
    """

    id: str
    key: dict[str, Any]
    draw: Draw
    seed: int


def code_in(plan: Plan) -> Code:
    """Return what the trials of a plan run beside Cryoprobe's own code; import and look at it once for all of them."""
    if plan.request is not None:
        return code_of(plan.request)
    assert plan.published is not None
    return code_of_protocol(plan.published)


def specify(plan: Plan, sets: Sets, draw: Draw, seed: int, code: Code) -> TrialSpec:
    """Return the identity of one trial; a new one each time if a change of `code` could not be seen."""
    key: dict[str, Any] = {
        "train": sets.train.id,
        "test": _identity(sets.test, {"seed": plan.test_seed}),
        "schema": TRIAL_SCHEMA,
    }
    if sets.val is not None:
        key["val"] = _chosen_on(plan, sets, draw)
    if plan.request is not None:
        key["request"] = request_key(plan.request)
    else:
        key |= {"protocol": plan.protocol, "metric": plan.metric}
        if changed := _changed(plan):
            key["parameters"] = changed
        if plan.published is not None and (own := prescribed(plan.published)):
            key["prescribed"] = own
    if _is_random(plan, sets, draw):
        key["seed"] = seed
    if draw.drawn:
        key["draw"] = draw.canonical()
    if code.sources:
        key["sources"] = code.sources
    if code.versions:
        key["versions"] = code.versions
    if code.doubts:
        key["once"] = uuid.uuid4().hex
    return TrialSpec(digest(key), key, draw, seed)


def _changed(plan: Plan) -> dict[str, Any]:
    """Return the parameters of a protocol that are not as published; the metric has a place of its own."""
    assert plan.published is not None
    published = plan.published.parameters
    return {k: v for k, v in plan.parameters.items() if k != METRIC and v != published[k]}


def _is_random(plan: Plan, sets: Sets, draw: Draw) -> bool:
    """Say whether the seed changes something: what is drawn or held out, or how a probe is fitted."""
    if draw.drawn or isinstance(sets.val, float):
        return True
    if plan.request is not None:
        return uses_seed(plan.request)
    assert plan.published is not None
    # "The first rows" are drawn where they come sorted by class; see `first_rows`.
    return plan.published.random or plan.published.rows is not None


def _chosen_on(plan: Plan, sets: Sets, draw: Draw) -> str | dict[str, float] | None:
    """Return what stands for the validation rows in a key: of few-shot trials, how many of a class come from train."""
    shots, most = draw.shots, plan.carving.val_shots
    if shots is not None and isinstance(sets.val, float):
        return {"shots": shots if most is None else min(shots, most)}
    return _identity(sets.val, {})


def _identity(part: FeatureSet | float | None, more: Mapping[str, int]) -> str | dict[str, float] | None:
    if part is None or isinstance(part, FeatureSet):
        return None if part is None else part.id
    return {"fraction": part, **more}
