"""What a call of `probe` asks for: which probe or protocol, on which sets, at which tap. Nothing is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import BadInput
from ..stores.store import Store
from .probes import ProbeRequest
from .protocols import METRIC, protocol_named
from .resolve import Choosing, Sets, by_id, by_name
from .specs import Tap
from .trial_plan import PLAIN, Plan
from .wanted import Request

PROBE = "logreg"
VAL_FRACTION = 0.1
"""Share of train that chooses, where nothing else is asked for or prescribed."""


def plan_of(
    protocol: str,
    probe: str | None,
    params: Mapping[str, Any] | None,
    C: float | Sequence[float],
    grid: Mapping[str, Sequence[float]] | None,
    choose_by: str | None,
    seed: int,
) -> Plan:
    """Return what is to be run; `BadInput` where a protocol is told what it prescribes."""
    if protocol != PLAIN:
        prescribed = {"probe": probe, "C": several(C) or None, "grid": grid or None, "choose-by": choose_by}
        if given := [f"--{name}" for name, value in prescribed.items() if value is not None]:
            raise BadInput(
                f"{', '.join(given)} cannot go with --protocol {protocol}, which prescribes it.",
                hint="Leave it out, or the protocol. What a protocol lets be changed is --param.",
                key="protocol",
            )
        return Plan(None, protocol, protocol_named(protocol).completed(params or {}), seed)
    if choose_by not in (None, "nll", "top1"):
        raise BadInput(f"A value is chosen by nll or by top1, not by {choose_by}.", key="choose-by")
    fields: dict[str, Any] = {"C": several(C)} if several(C) else {}
    if grid:
        fields["grid"] = {name: several(values) for name, values in grid.items()}
    if choose_by is not None:
        fields["choose_by"] = choose_by
    request = ProbeRequest(probe=probe or PROBE, params=dict(params or {}), seed=seed, **fields)
    return Plan(request, PLAIN, {}, seed)


def several(values: Any) -> tuple[Any, ...]:
    """Return one value as a tuple of one, and several as a tuple."""
    return tuple(values) if isinstance(values, Sequence) else (values,)


def sets_of(
    store: Store,
    by: tuple[str | None, str | None] | None,
    asked: Request,
    plan: Plan,
    train: str | None,
    test: str | None,
    train_split: str | None,
    test_split: str | None,
    val_split: str | None,
) -> Sets:
    """Find the sets, by name or by id."""
    protocol = plan.published
    # A probe of one's own is chosen as most protocols choose: on the data set's own validation split if there is one.
    rule = protocol.validation if protocol is not None else ("either" if plan.chooses else "held")
    share = protocol.val_fraction if protocol is not None else VAL_FRACTION
    choosing = Choosing(
        None if rule == "none" else val_split,
        official=rule in ("official", "either"),
        fraction=share if rule in ("either", "held") else None,
    )
    if rule == "none" and val_split is not None:
        raise BadInput(
            f"--val-split cannot go with --protocol {plan.protocol}, which chooses nothing.", key="val-split"
        )
    if by is not None and train is None and None not in by:
        if test is not None:
            raise BadInput("--test goes with --train; by name it is --test-split.", key="test")
        wanted = replace(asked, tap=asked.tap or _tap(plan, asked.model))
        return by_name(store, wanted, train_split, test_split, choosing)
    if by is not None or train is None:
        raise BadInput(
            "A probe needs either a model and a data set, or a train set.",
            hint="Give --model and --dataset, or --train SET [--test SET].",
        )
    options: dict[str, Any] = {"train-split": train_split, "tap": asked.tap, "image-size": asked.image_size}
    options |= {"limit": asked.limit, "checkpoint": asked.checkpoint, "untrained": asked.untrained or None}
    if ignored := [f"--{option}" for option, value in options.items() if value is not None]:
        raise BadInput(f"{', '.join(ignored)} cannot go with --train: an id says it all.", key=ignored[0])
    if test is not None and test_split is not None:
        raise BadInput("--test and --test-split are the same here.", hint="Give one of them.", key="test")
    return by_id(store, train, test or test_split, choosing)


def _tap(plan: Plan, model: str) -> Tap | None:
    """Return the tap that the protocol reads of a model; None for the model's default."""
    if plan.published is None or not model.startswith("open_clip:"):
        return None
    # Only vision transformers have a projection behind what the paper reads; of a modified ResNet CLIP's authors probed
    # the output of the attention pooling, and SigLIP's towers project nothing.
    projects = "ViT" in model and "SigLIP" not in model
    tap = plan.published.tap
    return "post_projection" if tap == "pre_projection" and not projects else tap


def other_than_prescribed(plan: Plan, sets: Sets) -> list[str]:
    """Say where another tap is read than the protocol prescribes."""
    recorded = sets.train.manifest.provenance.get("name", {})
    model = sets.names["train"].name.model if "train" in sets.names else str(recorded.get("model", ""))
    prescribed, tap = _tap(plan, model), sets.train.manifest.encoder.get("tap")
    if prescribed is None or tap == prescribed:
        return []
    return [f"not as published: the tap {tap}; protocol {plan.protocol} reads {prescribed} of this model"]


def scored(plan: Plan, sets: Sets, dataset: str | None) -> tuple[Plan, list[str]]:
    """Settle the score of a protocol; return what is to be said of it.

    Parameters
    ----------
    plan : Plan
    sets : Sets
    dataset : str or None
        The data set's name as it is asked for, which chooses the score in CLIP's protocol. None for a set that is given
        by its id: what a set was called when it was made says nothing about what is asked for now.
    """
    protocol = plan.published
    if protocol is None:
        return plan, []
    flags = sets.train.multilabel
    metric = protocol.score(plan.parameters, dataset, len(sets.train.classes), multilabel=flags)
    said = []
    if protocol.metric_of is not None and not flags and plan.parameters[METRIC] == protocol.parameters[METRIC]:
        other = f"another one: --param {METRIC}=NAME"
        if dataset is None:
            said.append(f"the score is {metric}, since a set that is given by its id has no data set's name; {other}")
        elif metric != protocol.metric:
            said.append(f"the score is {metric}, as published of a data set called {dataset}; {other}")
    return replace(plan, metric=metric), said
