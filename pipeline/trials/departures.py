"""What sets a trial apart from what its protocol publishes: remarks that the result carries."""

from __future__ import annotations

import shlex

from ...stores.format.names import Name, spelled
from ..joined_taps import taps_in
from ..probes import Draw
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
    """Return the command that extracts images as the protocol prescribes, if these were prepared otherwise."""
    transform = None if plan.published is None else plan.published.transform
    encoder = sets.train.manifest.encoder
    if transform is None or "train" not in sets.names or encoder.get("family") not in ("timm", "open_clip"):
        return []
    if transform.remark(encoder.get("preprocessing")) is None:
        return []
    name: Name = sets.names["train"].name
    kept = {option: v for option, v in name.options.items() if option not in ("image-size", *_RESIZING)}
    options = {
        "split": ",".join(named.name.split for named in sets.names.values()),
        "tap": ",".join(taps_in(name.tap)),
        **kept,
        **transform.options,
    }
    words = ["cryoprobe", "extract", "--model", name.model, "--dataset", name.dataset, "--store", sets.train.home]
    for option, value in options.items():
        words += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return [
        f"images as {plan.protocol} prescribes: {shlex.join(words)}\n  and then probe with {spelled(transform.options)}"
    ]


def _another_tap(plan: TrialPlan, sets: TrialSets) -> list[str]:
    """Return a line if another tap is read than the protocol prescribes."""
    prescribed, tap = prescribed_tap(plan, sets.model), sets.train.manifest.encoder.get("tap")
    if prescribed is None or tap == prescribed:
        return []
    return [f"not as published: the tap {tap}; protocol {plan.protocol} reads {prescribed} of this model"]
