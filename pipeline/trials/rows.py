"""The rows of trials: sets loaded once, their classes matched, and for each trial what is drawn and held out.

Which rows a trial gets depends on labels and seeds alone, never on which other trials were run or cached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Indices, Mask, SampleIds, Targets
from ...class_names import almost, distinct, places_of, repeated
from ...errors import BadInput
from ...stores.feature_set import FeatureSet
from ..probes.labelled_features import FeatureMatrix, FeatureRows, LabelledFeatures
from ..probes.sampling import Draw, draw_fraction, draw_shots, first_rows, stratified_holdout
from ..probes.sharded_rows import ShardedRows
from ..probes.stored_rows import StoredRows
from ..probes.twins import known_rows
from ..rank_group import RankGroup
from ..tasks import task_of
from .joined_sets import stored_parts
from .sets import HeldOut, TrialSets

_COPIES = 3
"""Of the training rows at the height of a fit in memory: as loaded, as drawn or joined, and rotated."""

_FEWEST_CHUNKS = 4
"""Of a rank, from which it is given whole ones: of fewer, that some ranks have one more would weigh more than that two
of them read the same one."""

_MOST_NAMED = 5
"""Class names that a line lists."""


@dataclass(frozen=True)
class SamplingRule:
    """How the rows of a trial are taken from its sets.

    Parameters
    ----------
    draw : callable
        See `draw_shots`.
    hold_out : callable
        See `stratified_holdout`.
    val_shots : int or None
        With few-shot training rows, at most so many validation rows of every class; None for all of a validation set.
    rows : (int, int) or None
        So many first rows of train and of validation are taken.
    test_seed : int
        Draws the test rows where they are a share of train.
    """

    draw: Callable[[Any, int, int, int, Any], tuple[Indices, Indices]] = draw_shots
    hold_out: Callable[[Any, float, int], tuple[Indices, Indices]] = stratified_holdout
    val_shots: int | None = 4
    rows: tuple[int, int] | None = None
    test_seed: int = 0


@dataclass(frozen=True)
class TrialParts:
    """The rows of one trial.

    Parameters
    ----------
    train, test : LabelledFeatures
    val : LabelledFeatures or None
    warnings : list of str
        What the samples have in common that they should not.
    test_in_train : int
        Test images that also stand in the training data, or in those that choose.
    remarks : list of str
        Where the training rows are fewer than were to be drawn.
    held_out : ndarray, int64 [n], or None
        Rows of the train set that are the test rows; None if those are all rows of a set of their own.
    """

    train: LabelledFeatures
    val: LabelledFeatures | None
    test: LabelledFeatures
    warnings: list[str]
    test_in_train: int
    remarks: list[str]
    held_out: Indices | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each part."""
        return {"train": len(self.train), "test": len(self.test), "val": 0 if self.val is None else len(self.val)}


class TrialRows:
    """Features, labels and sample ids of a probe's sets, loaded once for all its trials.

    Parameters
    ----------
    sets : TrialSets
    raw : bool
        Undo the normalisation.
    memory : int, optional
        Bytes; where a fit on rows in memory would take more, rows are read from the store for every pass instead.
    ranks : RankGroup, optional
        Processes that share the rows of every set: each loads its own share. Labels and sample ids all of them load.

    Attributes
    ----------
    classes : list of str
        Those of train, then those that only another set has; names that several classes share are told apart.
    streamed : bool
        Whether rows are read for every pass.
    taps : tuple of (str, int)
        Which taps lie side by side in the features, and how wide each is.
    warnings : list of str
        About the classes: names that are shared, or that differ only in case.
    val_from_train : bool
        Whether the rows that choose, if there are any, are held out of train.
    """

    def __init__(
        self, sets: TrialSets, *, raw: bool, memory: int | None = None, ranks: RankGroup | None = None
    ) -> None:
        self._ranks = ranks
        self._names = list(sets.train.class_names)
        self.warnings = _shared_names(self._names)
        others = [s for s in (sets.test, sets.val) if isinstance(s, FeatureSet)]
        need = 4 * sets.train.dim * (_COPIES * sets.train.rows + sum(s.rows for s in others))
        self.streamed = memory is not None and need > memory * (1 if ranks is None else ranks.rank.of)
        self.taps = tuple((str(part.manifest.encoder.get("tap")), part.dim) for part in stored_parts(sets.train))
        self.val_from_train = not isinstance(sets.val, FeatureSet)
        self._test_fraction = sets.test.fraction if isinstance(sets.test, HeldOut) else None
        self._val_fraction = sets.val.fraction if isinstance(sets.val, HeldOut) else None
        loaded = {name: (self._load(s, raw), s.sample_ids()) for name, s in sets.stored()}
        # Only now are all classes known.
        self.classes = distinct(self._names)
        self._parts = {
            name: (replace(part, y=part.task.widened(part.y, len(self.classes))), samples)
            for name, (part, samples) in loaded.items()
        }

    @property
    def train_rows(self) -> int:
        """Rows that there are to draw from."""
        return len(self._parts["train"][0])

    def parts(self, draw: Draw, seed: int, sampling: SamplingRule) -> TrialParts:
        """Return the rows of one trial.

        Parameters
        ----------
        draw : Draw
        seed : int
        sampling : SamplingRule
        """
        train, samples = self._parts["train"]
        held_out = None
        if self._test_fraction is None:
            test, test_samples = self._parts["test"]
        else:
            # The same test rows for every trial of a sweep.
            keep, held_out = stratified_holdout(train.y, self._test_fraction, sampling.test_seed)
            test, test_samples = train.take(held_out), samples[held_out]
            train, samples = train.take(keep), samples[keep]
        warnings = list(self.warnings)
        remarks: list[str] = []
        val, val_samples = self._parts.get("val", (None, None))
        if draw.shots is not None:
            remarks += _taken_whole(train, draw.shots)
            train, samples, val, val_samples = self._few(train, samples, val, val_samples, draw.shots, seed, sampling)
        else:
            if draw.fraction is not None:
                rows = draw_fraction(train.y, draw.fraction, seed)
                train, samples = train.take(rows), samples[rows]
            if val is None and self._val_fraction is not None:
                keep, held = sampling.hold_out(train.y, self._val_fraction, seed)
                val, val_samples = train.take(held), samples[held]
                train, samples = train.take(keep), samples[keep]
        if sampling.rows is not None and draw.shots is None:
            warnings += _too_few(train, val, sampling.rows)
            rows = first_rows(train.y, sampling.rows[0], seed)
            train, samples = train.take(rows), samples[rows]
            if val is not None and val_samples is not None:
                rows = first_rows(val.y, sampling.rows[1], seed)
                val, val_samples = val.take(rows), val_samples[rows]
        if val is not None and val_samples is not None:
            if seen := int(_among(val_samples, samples).sum()):
                warnings.append(f"{seen} of {len(val_samples)} validation images stand in train too")
            samples = np.concatenate([samples, val_samples])
        known = _among(test_samples, samples)
        in_train = int(known.sum())
        if in_train:
            warnings.append(f"{in_train} of {len(test)} test images stand in the training data too")
        alike = int((known_rows(test, [train] if val is None else [train, val]) & ~known).sum())
        if alike:
            warnings.append(
                f"{alike} of {len(test)} test rows have the very embedding of a training row, though the files differ: "
                "are they blank, damaged, or copies saved anew?"
            )
        return TrialParts(train, val, test, warnings, in_train, remarks, held_out)

    def _few(
        self,
        train: LabelledFeatures,
        samples: SampleIds,
        val: LabelledFeatures | None,
        val_samples: SampleIds | None,
        shots: int,
        seed: int,
        sampling: SamplingRule,
    ) -> tuple[LabelledFeatures, SampleIds, LabelledFeatures | None, SampleIds | None]:
        """Draw few-shot rows, and as many validation rows from the validation set or else from what is left."""
        then = shots if sampling.val_shots is None else min(shots, sampling.val_shots)
        # Some references draw both in one go, so a validation set is drawn from together with train.
        of_set = val is not None and sampling.val_shots is not None
        count = then if of_set or self._val_fraction is not None else 0
        rows, further = sampling.draw(train.y, shots, seed, count, val.y if val is not None and of_set else None)
        if self.streamed:
            rows, further = np.sort(rows), np.sort(further)
        if val is not None and val_samples is not None:
            if of_set:
                val, val_samples = val.take(further), val_samples[further]
        elif len(further):
            val, val_samples = train.take(further), samples[further]
        return train.take(rows), samples[rows], val, val_samples

    def _load(self, feature_set: FeatureSet, raw: bool) -> LabelledFeatures:
        """Load a set, its labels brought to this object's classes by name; classes that are new join the list."""
        x, y, whole = self._features(feature_set, raw)
        task = task_of(y)
        if y.size and not 0 <= y.min() <= y.max() < task.values(len(feature_set.classes)):
            raise BadInput(
                f"Set {feature_set.id[:12]} has labels from {y.min()} to {y.max()}, outside its list of "
                f"{len(feature_set.classes)} classes.",
                hint="Check the data set's labels, and extract it again.",
                key=feature_set.id,
            )
        names = feature_set.class_names
        if list(names) == self._names:
            return LabelledFeatures(x, y, whole)
        places = np.array(self._places(names, feature_set.split), np.int64)
        return LabelledFeatures(x, task.recoded(y, places, len(self._names)), whole)

    def _features(self, feature_set: FeatureSet, raw: bool) -> tuple[FeatureRows, Targets, FeatureMatrix | None]:
        """Return the features and labels of a set: in memory, to be read for every pass, or a rank's share of them."""
        if self._ranks is None:
            if self.streamed:
                return StoredRows([(feature_set, None)], raw=raw), feature_set.labels(), None
            x, y = feature_set.load(raw=raw)
            return x, y, FeatureMatrix(x)
        n = feature_set.rows
        share = self._ranks.rank.share(n, _piece(feature_set, self._ranks.rank.of))
        held = np.arange(share.start, share.stop, dtype=np.int64)
        own: Any
        if self.streamed:
            own = StoredRows([(feature_set, held)], raw=raw)
        else:
            own = feature_set.load(slice(share.start, share.stop), raw=raw)[0]
        return ShardedRows(own, held, n, self._ranks), feature_set.labels(), None

    def _places(self, names: Sequence[str], split: str) -> list[int]:
        """Return the places of another set's classes in this object's list; classes that are new join it."""
        known = {almost(name): name for name in self._names}
        places, alike = [], []
        for name, place in zip(names, places_of(names, self._names), strict=True):
            if place is None:
                if (like := known.get(almost(name))) is not None:
                    alike.append(f"the class {name!r} of {split} differs from {like!r} only in case or blanks")
                place = len(self._names)
                self._names.append(name)
            places.append(place)
        self.warnings += [f"{line}: taken as another" for line in alike[:_MOST_NAMED]]
        if (more := len(alike) - _MOST_NAMED) > 0:
            self.warnings.append(f"{more} more classes of {split} differ so from one of train")
        return places


def _piece(feature_set: FeatureSet, of: int) -> int:
    """Return of how many rows shares are multiples: a chunk's, unless that makes some shares far larger than others."""
    return feature_set.chunk_rows if feature_set.rows >= _FEWEST_CHUNKS * of * feature_set.chunk_rows else 1


def _shared_names(names: Sequence[str]) -> list[str]:
    """Say which names several classes share."""
    if not (shared := repeated(names)):
        return []
    more = len(shared) - _MOST_NAMED
    which = ", ".join(shared[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return [f"several classes are called {which}: they are told apart, and matched between sets, by their order"]


def _too_few(train: LabelledFeatures, val: LabelledFeatures | None, wanted: tuple[int, int]) -> list[str]:
    """Say where the first rows are not what is prescribed."""
    warnings = []
    for name, part, count in (("training", train, wanted[0]), ("validation", val, wanted[1])):
        if part is not None and len(part) < count:
            warnings.append(f"there are {len(part)} {name} rows, not {count}")
        if part is not None and not part.task.is_mixed(part.y):
            warnings.append(f"the {name} rows are sorted by class: {count} were drawn instead of the first {count}")
    return warnings


def _taken_whole(train: LabelledFeatures, shots: int) -> list[str]:
    """Say how many of the classes that train has are too small for so many shots: such a result is of fewer."""
    rows = train.task.rows_per_class(train.y, 0)
    small, of = int(np.sum((rows > 0) & (rows < shots))), int(np.sum(rows > 0))
    if not small:
        return []
    if of == 1:
        return [f"the only class has fewer than {shots} training rows, and is taken whole"]
    return [f"{small} of {of} classes have fewer than {shots} training rows, and are taken whole"]


def _among(samples: SampleIds, others: SampleIds) -> Mask:
    """Return which of `samples` [n, 32] are among `others` [m, 32]."""
    return np.isin(_as_void(samples), _as_void(others))


def _as_void(samples: SampleIds) -> npt.NDArray[np.void]:
    """View sample ids [n, 32] as n items that can be compared."""
    return np.ascontiguousarray(samples).view("V32").reshape(-1)
