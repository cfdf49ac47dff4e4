"""What is run in every trial of one call: a probe with its parameters, or what a protocol prescribes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from ...errors import BadInput
from ..joined_taps import taps_in
from ..options import PLAIN, ProbeOptions
from ..probes import ProbeRequest, needs_validation
from ..protocols import METRIC, Protocol, protocol_named
from ..specs import Tap
from .rows import SamplingRule
from .sets import HeldOut, TrialSets, ValidationRule

PROBE = "logreg"
VAL_FRACTION = 0.1
"""Share of train that chooses, if nothing else is asked for or prescribed."""


@dataclass(frozen=True)
class TrialPlan:
    """What is run in every trial of one call.

    Parameters
    ----------
    request : ProbeRequest or None
        The probe; None if a protocol prescribes it.
    protocol : str
        ``plain``, or a protocol's name.
    parameters : dict
        Of the protocol, complete.
    test_seed : int
        See `SamplingRule`.
    memory : int or None
        Bytes that a fit may take beside its features, if these are read for every pass.
    metric : str
        The score that is reported; see `Protocol.score`. Empty until it is settled, and for a plain probe.
    """

    request: ProbeRequest | None
    protocol: str
    parameters: Mapping[str, JsonValue]
    test_seed: int
    memory: int | None = None
    metric: str = ""

    @property
    def published(self) -> Protocol | None:
        """The protocol; None for the plain one."""
        return None if self.protocol == PLAIN else protocol_named(self.protocol)

    @property
    def what(self) -> str:
        """The name of the protocol, or else of the probe."""
        return self.protocol if self.request is None else self.request.probe

    @property
    def raw(self) -> bool:
        """Whether features are wanted as the encoder gave them."""
        return self.published is not None and self.published.features == "raw"

    @property
    def sampling(self) -> SamplingRule:
        """How rows are drawn and held out."""
        p = self.published
        if p is None:
            return SamplingRule(test_seed=self.test_seed)
        return SamplingRule(p.draw, p.hold_out, p.val_shots, p.rows, self.test_seed)

    @property
    def chooses(self) -> bool:
        """Whether a value is chosen on validation rows; a protocol may do without if there are none."""
        if self.request is not None:
            return needs_validation(self.request)
        return self.published is not None and self.published.validation != "none"

    def choosing(self, sets: TrialSets) -> bool:
        """Return whether validation rows are wanted."""
        return self.chooses and (self.request is not None or sets.val is not None)

    def validation_rule(self, asked: str | None) -> ValidationRule:
        """Return which rows choose, if `asked` is what ``--val-split`` says."""
        protocol = self.published
        # A probe of one's own is chosen as most protocols choose: on the data set's own validation split if it has one.
        rule = protocol.validation if protocol is not None else ("either" if self.chooses else "held")
        if rule == "none" and asked is not None:
            raise BadInput(
                f"--val-split has no effect with --protocol {self.protocol}, which chooses nothing.",
                hint="Remove it.",
                key="val-split",
            )
        share = HeldOut(protocol.val_fraction if protocol is not None else VAL_FRACTION)
        return ValidationRule(
            asked,
            official=rule in ("official", "either"),
            held_out=share if rule in ("either", "held") else None,
        )


def plan_of(asked: ProbeOptions) -> TrialPlan:
    """Return what is to be run.

    Raises
    ------
    BadInput
        If a protocol is told what it prescribes, or a value is wrong.
    """
    if asked.protocol != PLAIN:
        prescribed = {"probe": asked.probe, "C": asked.C or None, "grid": asked.grid or None}
        prescribed |= {"choose-by": asked.choose_by}
        if given := [f"--{name}" for name, value in prescribed.items() if value is not None]:
            raise BadInput(
                f"{', '.join(given)} cannot be combined with --protocol {asked.protocol}, which prescribes that.",
                hint="Remove one or the other. --param changes what a protocol lets be changed.",
                key="protocol",
            )
        parameters = protocol_named(asked.protocol).completed(asked.params or {})
        return TrialPlan(None, asked.protocol, parameters, asked.seed)
    if asked.choose_by not in (None, "nll", "top1"):
        raise BadInput(f"A value is chosen by nll or by top1, not by {asked.choose_by}.", key="choose-by")
    fields: dict[str, Any] = {"C": asked.C} if asked.C else {}
    if asked.grid:
        fields["grid"] = dict(asked.grid)
    if asked.choose_by is not None:
        fields["choose_by"] = asked.choose_by
    request = ProbeRequest(probe=asked.probe or PROBE, params=dict(asked.params or {}), seed=asked.seed, **fields)
    return TrialPlan(request, PLAIN, {}, asked.seed)


def prescribed_tap(plan: TrialPlan, model: str) -> Tap | None:
    """Return the tap that the protocol reads of a model; None for the model's default."""
    if plan.published is None or not model.startswith("open_clip:"):
        return None
    # Only vision transformers have a projection behind what the paper reads; of a modified ResNet CLIP's authors probed
    # the output of the attention pooling, and SigLIP's towers project nothing.
    projects = "ViT" in model and "SigLIP" not in model
    tap = plan.published.tap
    return "post_projection" if tap == "pre_projection" and not projects else tap


def complete_taps(plan: TrialPlan, there: Collection[Tap]) -> Tap | None:
    """Return the taps that the protocol reads of any encoder, if the store has all of them; None if it does not."""
    wanted = () if plan.published is None else plan.published.taps
    return next((taps for taps in wanted if set(taps_in(taps)) <= set(there)), None)


def scored(plan: TrialPlan, sets: TrialSets, dataset: str | None) -> tuple[TrialPlan, list[str]]:
    """Settle the score of a protocol; return the plan and what is to be said of it.

    Parameters
    ----------
    plan : TrialPlan
    sets : TrialSets
    dataset : str or None
        The data set's name as it is asked for, which chooses the score in CLIP's protocol. None for a set that is given
        by its id: what a set was called when it was made says nothing about what is asked for now.
    """
    protocol = plan.published
    if protocol is None:
        return plan, []
    metric = protocol.score(plan.parameters, dataset, len(sets.train.classes), sets.task)
    said = []
    if (
        protocol.metric_of is not None
        and sets.task.exclusive
        and plan.parameters[METRIC] == protocol.parameters[METRIC]
    ):
        other = f"another one: --param {METRIC}=NAME"
        if dataset is None:
            said.append(f"the score is {metric}, since a set that is given by its id has no data set's name; {other}")
        elif metric != protocol.metric:
            said.append(f"the score is {metric}, as published of a data set called {dataset}; {other}")
    return replace(plan, metric=metric), said
