"""The feature sets of a probe: what is trained, scored and chosen on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...stores.feature_set import FeatureSet
from ...stores.format.names import NamedSet
from ..tasks import Task, task_named


@dataclass(frozen=True)
class HeldOut:
    """Rows that are held out of the train set, class by class.

    Parameters
    ----------
    fraction : float
        Their share of the rows, between 0 and 1.
    """

    fraction: float

    @property
    def percent(self) -> str:
        """The share as text, such as ``10 %``."""
        return f"{100 * self.fraction:g} %"


@dataclass(frozen=True)
class ValidationRule:
    """Which rows choose a hyper-parameter: the first of these that there is.

    Parameters
    ----------
    asked : str or None
        A split, the id of a set where sets are given by id, or a fraction of train.
    official : bool
        The data set's own validation split, if the store has it.
    held_out : HeldOut or None
        A share of train. None: nothing is chosen.
    """

    asked: str | None = None
    official: bool = False
    held_out: HeldOut | None = None


@dataclass(frozen=True)
class TrialSets:
    """The sets of one probe, all of one encoder.

    Parameters
    ----------
    train : FeatureSet
    test : FeatureSet or HeldOut
    val : FeatureSet, HeldOut or None
        Of what remains of `train`. None: nothing is chosen.
    names : dict of str to NamedSet
        For the parts that were found by name.
    doubts : tuple of str
        What the names left open, and how it was taken.
    """

    train: FeatureSet
    test: FeatureSet | HeldOut
    val: FeatureSet | HeldOut | None
    names: dict[str, NamedSet]
    doubts: tuple[str, ...] = ()

    def stored(self) -> Iterator[tuple[str, FeatureSet]]:
        """Yield the parts that are sets of their own, with their names."""
        for name, part in (("train", self.train), ("test", self.test), ("val", self.val)):
            if isinstance(part, FeatureSet):
                yield name, part

    @property
    def task(self) -> Task:
        """What is asked of the rows: one label each, or flags."""
        return task_named(multilabel=self.train.multilabel)

    @property
    def splits(self) -> dict[str, str | float | None]:
        """The split of each part; the fraction of one that is held out."""
        parts = {"train": self.train, "test": self.test, "val": self.val}
        return {
            name: part.split if isinstance(part, FeatureSet) else part.fraction if part is not None else None
            for name, part in parts.items()
        }

    @property
    def model(self) -> str:
        """Name of the encoder; empty if it has none."""
        return str(self.name.get("model") or "")

    @property
    def name(self) -> dict[str, str | int | float | bool | None]:
        """The name of the train set: as it was asked for, else what its manifest says, which can be a stranger's."""
        if "train" in self.names:
            return self.names["train"].name.model_dump(mode="json")
        recorded = self.train.manifest.provenance.name
        return {k: v for k, v in recorded.items() if v is None or isinstance(v, str | int | float | bool)}
