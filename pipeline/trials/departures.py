"""What sets a trial apart from what its protocol publishes: remarks that the result carries."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from ...stores.format.names import Name, spelled
from ..joined_taps import taps_in
from ..probes import Draw
from ..protocols import Protocol
from .plan import TrialPlan, prescribed_tap
from .sets import HeldOut, TrialSets

_RESIZING = ("resize", "crop", "interpolation")


def departures(plan: TrialPlan, sets: TrialSets, draw: Draw) -> list[str]:
    """Return a line for everything that is not as published."""
    protocol = plan.published
    if protocol is None:
        return []
    said = [*protocol.remarks, *protocol.deviations(plan.parameters)]
    stored = sets.train.manifest.encoder.get("preprocessing")
    if protocol.transform is not None and (remark := protocol.transform.remark(stored)) is not None:
        said.append(remark)
    prescribed = protocol.shots_of(sets.task)
    if draw.shots is not None and draw.shots not in prescribed and protocol.name != "dinov2-knn":
        said.append(f"not as published: {draw.shots} training rows of every class")
    if draw.fraction is not None:
        said.append(f"not as published: {100 * draw.fraction:g} % of the training rows")
    if isinstance(sets.val, HeldOut):
        if protocol.validation == "official":
            # An option of the reference (--val_proportion), which draws at random, whatever the classes.
            said.append(f"chosen on {sets.val.percent} of train, drawn class by class")
        elif draw.shots is None and sets.val.fraction != protocol.val_fraction:
            said.append(
                f"not as published: chosen on {sets.val.percent} of train, not {HeldOut(protocol.val_fraction).percent}"
            )
    elif sets.val is not None and protocol.validation == "held":
        said.append(f"chosen on the split {sets.val.split}, and not on a share of train")  # --finetune-dataset
    return said + _another_tap(plan, sets)


def as_published(plan: TrialPlan, sets: TrialSets) -> list[str]:
    """Return the commands that extract what the protocol prescribes: its taps, and images prepared as it does."""
    protocol, encoder = plan.published, sets.train.manifest.encoder
    if protocol is None or "train" not in sets.names or encoder.get("family") not in ("timm", "open_clip"):
        return []
    transform, name = protocol.transform, sets.names["train"].name
    tap, said = name.tap, []
    if _incomplete(protocol, tap):
        tap = protocol.taps[0]
        said.append(
            f"the taps that {plan.protocol} prescribes: {_extract(sets, tap, name.options)}\n"
            f"  and then probe with --tap {tap}"
        )
    if transform is not None and transform.remark(encoder.get("preprocessing")) is not None:
        kept = {option: v for option, v in name.options.items() if option not in ("image-size", *_RESIZING)}
        command = _extract(sets, tap, {**kept, **transform.options})
        said.append(
            f"images as {plan.protocol} prescribes: {command}\n  and then probe with {spelled(transform.options)}"
        )
    return said


def _extract(sets: TrialSets, tap: str, options: Mapping[str, object]) -> str:
    """Return the command that extracts the splits of a trial at other taps, or with other options."""
    name: Name = sets.names["train"].name
    options = {
        "split": ",".join(named.name.split for named in sets.names.values()),
        "tap": ",".join(taps_in(tap)),
        **options,
    }
    words = ["cryoprobe", "extract", "--model", name.model, "--dataset", name.dataset, "--store", sets.train.home]
    for option, value in options.items():
        words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join(words)


def _incomplete(protocol: Protocol, tap: object) -> bool:
    """Return whether a tap is not one of those that a protocol reads of any encoder."""
    return bool(protocol.taps) and tap not in protocol.taps


def _another_tap(plan: TrialPlan, sets: TrialSets) -> list[str]:
    """Return a line if another tap is read than the protocol prescribes."""
    prescribed, tap = prescribed_tap(plan, sets.model), sets.train.manifest.encoder.get("tap")
    if plan.published is not None and _incomplete(plan.published, tap):
        return [f"not as published: the heads read the tap {tap} alone; {plan.protocol} reads {plan.published.taps[0]}"]
    if prescribed is None or tap == prescribed:
        return []
    return [f"not as published: the tap {tap}; protocol {plan.protocol} reads {prescribed} of this model"]
