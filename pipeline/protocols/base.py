"""What a protocol is, and what it is run on. Knows nothing of stores: rows come as parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import JsonValue

from ...errors import BadInput
from ..probes.draws import Draw, draw_shots
from ..probes.fit import ProbeOutcome
from ..probes.part import Part
from ..probes.selection import Indices, stratified_holdout
from ..specs import Tap

Features = Literal["unit", "raw"]
Validation = Literal["none", "official", "either", "held"]
"""Which rows choose: nobody; the data set's own validation split, if it has one; that or else a share of train; or
always a share of train."""

HoldOut = Callable[[Any, float, int], tuple[Indices, Indices]]
DrawShots = Callable[[Any, int, int, int], tuple[Indices, Indices]]


@dataclass(frozen=True)
class Problem:
    """The rows of one trial, and what a protocol needs to know beside them.

    Parameters
    ----------
    train, test : Part
    val : Part or None
        Rows to choose on, where the protocol wants some.
    n_classes : int
    dataset : str
        Name of the data set: some protocols prescribe a score for some.
    val_from_train : bool
        Whether the validation rows were held out of train.
    draw : Draw
        How the training rows were drawn.
    seed : int
    parameters : mapping
        Of the protocol, complete.
    memory : int or None
        Bytes that a fit may take beside its features.
    progress : callable
        Told one line a fit.
    """

    train: Part
    val: Part | None
    test: Part
    n_classes: int
    dataset: str
    val_from_train: bool
    draw: Draw
    seed: int
    parameters: Mapping[str, Any]
    memory: int | None
    progress: Callable[[str], None]

    @property
    def chosen_on(self) -> Part:
        """The validation part; `BadInput` where there is none."""
        if self.val is None:
            raise BadInput(
                "This protocol chooses on validation rows, and there are none.",
                hint="Name a validation split, or a fraction of train: --val-split 0.1",
                key="val-split",
            )
        return self.val

    @property
    def refit_on(self) -> Part:
        """Train and validation rows together; the training rows alone if their number is the point of the trial.

        That is so of few shots, and of a share of train that is chosen for on another split.
        """
        apart = self.draw.shots is not None or (self.draw.fraction is not None and not self.val_from_train)
        return self.train if apart else self.train.joined(self.chosen_on)

    @property
    def accuracy(self) -> str:
        """The score that papers choose by where they say accuracy: top-1, or mAP of flags."""
        return "map" if self.train.multilabel else "top1"


@dataclass(frozen=True)
class Protocol:
    """One published way to score frozen features.

    Parameters
    ----------
    name, description, source : str
        `source` says where it is published.
    features : {"unit", "raw"}
        Embeddings of unit norm, or as the encoder gave them.
    run : callable
        From a problem to an outcome.
    tap : str or None
        Which tap of open_clip's transformers is read; None for the model's default.
    validation : str
        See `Validation`.
    val_fraction : float
        Share of train that chooses, where a share does.
    hold_out : callable
        Draws that share: from labels, fraction and seed to rows that stay and rows that choose.
    draw : callable
        Draws few-shot rows; see `draw_shots`.
    val_shots : int or None
        With few-shot training rows, at most so many validation rows of every class; None for all.
    rows : (int, int) or None
        So many first rows of train and of validation are taken.
    parameters : mapping
        What can be changed by name, with the published values.
    shots : tuple of int
        Rows of every class that the protocol prescribes, where it is a few-shot one.
    seeds : tuple of int
        Of its draws.
    metric : str
        The score that the protocol reports, where it does not depend on the data set.
    remarks : tuple of str
        Words that every result carries: what sets it apart from the published procedure.
    """

    name: str
    description: str
    source: str
    features: Features
    run: Callable[[Problem], ProbeOutcome]
    tap: Tap | None = None
    validation: Validation = "none"
    val_fraction: float = 0.1
    hold_out: HoldOut = stratified_holdout
    draw: DrawShots = draw_shots
    val_shots: int | None = 4
    rows: tuple[int, int] | None = None
    parameters: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    metric: str = "top1"
    remarks: tuple[str, ...] = ()

    def completed(self, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the protocol's parameters with those that are given.

        Raises
        ------
        BadInput
            If one is unknown, not of the published value's kind, or not positive.
        """
        values = dict(self.parameters)
        for name, value in given.items():
            if name not in self.parameters:
                raise BadInput(
                    f"Protocol {self.name} has no parameter {name!r}.",
                    hint=f"Its parameters: {', '.join(self.parameters) or 'none, it prescribes everything'}.",
                    key=name,
                )
            published = self.parameters[name]
            whole = isinstance(published, int)
            kind = int if whole else int | float
            if not isinstance(value, kind) or isinstance(value, bool) or value <= 0:
                raise BadInput(
                    f"Parameter {name} of protocol {self.name} is a positive {'whole ' if whole else ''}number, "
                    f"not {value!r}.",
                    hint=f"Published: {published!r}.",
                    key=name,
                )
            values[name] = value if whole else float(value)
        return values

    def deviations(self, parameters: Mapping[str, Any]) -> list[str]:
        """Say which parameters differ from the published ones."""
        return [
            f"not as published: {name} = {value!r} instead of {self.parameters[name]!r}"
            for name, value in parameters.items()
            if value != self.parameters[name]
        ]
