"""What identifies a trial: the hash of whatever changes its result, and of nothing else.

Not in a key: a seed that nothing uses, parameters that have their default value, and how the work is done (threads,
processes, memory, blocks).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from ...canonical import digest
from ...stores.feature_set import FeatureSet
from ..probes import Draw
from ..probes.identity import code_of, request_key, uses_seed
from ..probes.own_code import Code
from ..protocols import METRIC
from ..protocols.identity import code_of as code_of_protocol
from ..protocols.identity import prescribed
from .plan import TrialPlan
from .sets import HeldOut, TrialSets

TRIAL_SCHEMA = 3
"""Raised when a change of Cryoprobe changes the results of trials, a default of a probe included."""

Part = str | dict[str, float]
"""The rows of a part: the id of a set; or what is held out of train, such as ``{"fraction": 0.1}``."""


@dataclass(frozen=True)
class TrialKey:
    """One trial before it is run: whatever changes its result.

    Parameters
    ----------
    train : str
        Id of a set.
    test : str or dict
        Id of a set, or the fraction that is held out of train and the seed that draws it.
    what : dict
        The probe with its parameters; or the protocol, its score, the parameters that are not as published, and of a
        protocol of somebody's own what it prescribes.
    draw : Draw
    seed : int
        As it was asked for.
    random : bool
        Whether the seed changes the result; else it is not part of the identity.
    val : str, dict or None
        What chooses: id of a set, a fraction of train, or how many rows of each class.
    code : Code
        What runs beside Cryoprobe's own code.
    once : str
        Makes the identity a new one each time, because a change of the code could not be seen. Empty otherwise.
    """

    train: str
    test: Part
    what: Mapping[str, JsonValue]
    draw: Draw
    seed: int
    random: bool
    val: Part | None = None
    code: Code = field(default_factory=Code)
    once: str = ""

    @cached_property
    def written(self) -> dict[str, JsonValue]:
        """The key as it is hashed: without what says nothing."""
        draw = self.draw.canonical()
        optional: dict[str, JsonValue] = {
            "val": self.val if isinstance(self.val, str | None) else dict(self.val),
            "seed": self.seed if self.random else None,
            "draw": None if draw is None else dict(draw),
            "sources": dict(self.code.sources) or None,
            "versions": dict(self.code.versions) or None,
            "once": self.once or None,
        }
        test: JsonValue = self.test if isinstance(self.test, str) else dict(self.test)
        always = {"train": self.train, "test": test, "schema": TRIAL_SCHEMA, **self.what}
        return always | {name: value for name, value in optional.items() if value is not None}

    @cached_property
    def id(self) -> str:
        """sha256 of the canonical JSON of `written`, 64 hexadecimal digits."""
        return digest(self.written)


def code_in(plan: TrialPlan) -> Code:
    """Return what the trials of a plan run beside Cryoprobe's own code; import and look at it once for all of them."""
    if plan.request is not None:
        return code_of(plan.request)
    assert plan.published is not None
    return code_of_protocol(plan.published)


def key_of(plan: TrialPlan, sets: TrialSets, draw: Draw, seed: int, code: Code) -> TrialKey:
    """Return the identity of one trial; a new one each time if a change of `code` could not be seen."""
    test = _identity(sets.test, {"seed": plan.test_seed})
    assert test is not None
    return TrialKey(
        train=sets.train.id,
        test=test,
        what=_what(plan),
        draw=draw,
        seed=seed,
        random=_is_random(plan, sets, draw),
        val=_chosen_on(plan, sets, draw),
        code=code,
        once=uuid.uuid4().hex if code.doubts else "",
    )


def _what(plan: TrialPlan) -> dict[str, JsonValue]:
    if plan.request is not None:
        return {"request": request_key(plan.request)}
    assert plan.published is not None
    published = plan.published.parameters
    # The metric has a place of its own.
    changed = {k: v for k, v in plan.parameters.items() if k != METRIC and v != published[k]}
    what: dict[str, JsonValue] = {"protocol": plan.protocol, "metric": plan.metric}
    optional = {"parameters": changed, "prescribed": prescribed(plan.published)}
    return what | {name: value for name, value in optional.items() if value}


def _is_random(plan: TrialPlan, sets: TrialSets, draw: Draw) -> bool:
    """Return whether the seed changes something: what is drawn or held out, or how a probe is fitted."""
    if draw.drawn or isinstance(sets.val, HeldOut):
        return True
    if plan.request is not None:
        return uses_seed(plan.request)
    assert plan.published is not None
    # "The first rows" are drawn if they come sorted by class; see `first_rows`.
    return plan.published.random or plan.published.rows is not None


def _chosen_on(plan: TrialPlan, sets: TrialSets, draw: Draw) -> Part | None:
    """Return the validation rows; of few-shot trials, how many of a class come from train."""
    shots, most = draw.shots, plan.sampling.val_shots
    if shots is not None and isinstance(sets.val, HeldOut):
        return {"shots": shots if most is None else min(shots, most)}
    return _identity(sets.val, {})


def _identity(part: FeatureSet | HeldOut | None, more: Mapping[str, int]) -> Part | None:
    if isinstance(part, HeldOut):
        return {"fraction": part.fraction, **more}
    return None if part is None else part.id
