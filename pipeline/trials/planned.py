"""All trials of one call before any is run: what is fitted, on which sets, and the identity of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import BadInput
from ...stores.feature_set import FeatureSet
from ..options import ProbeOptions, SetOptions
from ..probes import Draw, make_estimator
from ..saved import check_savable, check_writable
from ..tasks import Task
from .departures import as_published, departures
from .key import TrialKey, code_in, key_of
from .plan import VAL_FRACTION, TrialPlan, scored
from .result import Asked, Probed
from .sets import HeldOut, TrialSets
from .sweep import draws_of, seeds_of


@dataclass(frozen=True)
class Planned:
    """The trials of one call.

    Parameters
    ----------
    plan : TrialPlan
    sets : TrialSets
    keys : list of TrialKey
        Each once, in the order in which they were asked for.
    notes : list of str
        What is to be said of how they were understood.
    """

    plan: TrialPlan
    sets: TrialSets
    keys: list[TrialKey]
    notes: list[str]

    def asked(self, key: TrialKey) -> Asked:
        """Return what was asked for, with what goes without saying."""
        request = self.plan.request
        written = key.written
        return Asked.model_validate(
            {
                "protocol": self.plan.protocol,
                "probe": self.plan.what,
                "params": dict(request.params if request is not None else self.plan.parameters),
                "grid": {request.tune: list(request.grid)} if request is not None and request.tune else {},
                "draw": key.draw.canonical(),
                "seed": key.seed,
                "schema": written["schema"],
                "train": key.train,
                "test": key.test,
                "val": key.val,
            }
        )

    @property
    def probed(self) -> Probed:
        """What is probed, by its names."""
        sets = self.sets
        name = sets.name
        return Probed.model_validate(
            {
                "model": name.get("model"),
                "dataset": name.get("dataset"),
                "tap": sets.train.manifest.encoder.get("tap"),
                "untrained": bool(name.get("untrained", False)),
                "name": name,
                "encoder": sets.train.encoder_id,
                "splits": sets.splits,
            }
        )

    def departures(self, key: TrialKey) -> list[str]:
        """Return what sets a trial apart from what is published."""
        return departures(self.plan, self.sets, key.draw)


def plan_trials(plan: TrialPlan, sets: TrialSets, asked: ProbeOptions, where: SetOptions, save: Path | None) -> Planned:
    """Return the trials that are asked for.

    Parameters
    ----------
    plan : TrialPlan
    sets : TrialSets
    asked : ProbeOptions
    where : SetOptions
    save : Path or None
        Where the trained probe is to be written.

    Raises
    ------
    BadInput
        If it could not be.
    """
    draws, seeds = draws_and_seeds(plan, asked, sets.task)
    if save is not None:
        _check_save(save, len(draws) * len(seeds))
    sets, notes = _without_unused_validation(plan, sets, where.val_split, draws)
    named = where.dataset if where.train is None else None
    plan, about_metric = scored(plan, sets, named)
    code = code_in(plan)
    notes += [
        *about_metric,
        *as_published(plan, sets),
        *(f"{asked.probe} is fitted anew each time: {doubt}" for doubt in code.doubts),
    ]
    keys = [key_of(plan, sets, draw, seed, code) for draw in draws for seed in seeds]
    different = list({key.id: key for key in reversed(keys)}.values())[::-1]  # the first of the same
    if len(different) < len(keys):
        notes.append(f"nothing is random here: {len(keys)} trials would be the same as {len(different)}")
    if save is not None and plan.request is not None:
        check_savable(make_estimator(plan.request), sets.task)
    return Planned(plan, sets, different, notes)


def _check_save(save: Path, trials: int) -> None:
    """Refuse before any work what cannot be saved after it."""
    if trials > 1:
        raise BadInput(
            f"--save writes one trained probe, and {trials} trials are asked for.",
            hint="Give one size of the training set and --seeds 1, or leave --save out.",
            key="save",
        )
    check_writable(save)


def draws_and_seeds(plan: TrialPlan, asked: ProbeOptions, task: Task) -> tuple[list[Draw], list[int]]:
    """Return the draws and the seeds that are asked for, or else prescribed.

    Raises
    ------
    BadInput
        If one is out of range.
    """
    protocol = plan.published
    prescribed = () if protocol is None else protocol.shots_of(task)
    draws = draws_of(asked.shots, asked.fractions, prescribed)
    drawn = any(draw.drawn for draw in draws)
    return draws, seeds_of(asked.seeds, asked.seed, () if protocol is None else protocol.seeds, drawn=drawn)


def _without_unused_validation(
    plan: TrialPlan, sets: TrialSets, val_split: str | None, draws: Sequence[Draw]
) -> tuple[TrialSets, list[str]]:
    """Leave the validation part out if there is nothing to choose; return what is to be said of it."""
    if not plan.choosing(sets):
        names = {part: name for part, name in sets.names.items() if part != "val"}
        unused = [] if val_split is None else ["there is nothing to choose: --val-split is not used"]
        return replace(sets, val=None, names=names), unused
    if plan.published is None and val_split is None and isinstance(sets.val, FeatureSet):
        share = f"a share of train instead: --val-split {VAL_FRACTION:g}"
        return sets, [f"the split {sets.val.split} chooses, since the store has it; {share}"]
    if plan.published is not None and plan.published.validation == "either" and isinstance(sets.val, HeldOut):
        missing, most = "the store has no validation split of this data set", plan.sampling.val_shots
        few = [draw.shots if most is None else min(draw.shots, most) for draw in draws if draw.shots is not None]
        said = [f"{min(few)}" if len(set(few)) == 1 else f"{min(few)} to {max(few)}"] if few else []
        notes = [f"{missing}: {n} of the other training rows of each class choose" for n in said]
        if len(few) < len(draws):
            notes.append(f"{missing}: {sets.val.percent} of train choose")
        return sets, notes
    return sets, []
