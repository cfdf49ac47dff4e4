"""What a protocol is, and what it is run on. Knows nothing of stores: rows come as parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, cast

from pydantic import JsonValue

from ...arrays import Indices
from ...errors import BadInput
from ..metrics.scores import ClassificationMetrics
from ..probes.labelled_features import LabelledFeatures
from ..probes.outcome import ProbeOutcome
from ..probes.sampling import Draw, draw_shots, stratified_holdout
from ..specs import Tap
from ..tasks import Task

Normalisation = Literal["unit", "raw"]
Validation = Literal["none", "official", "either", "held"]
"""Which rows choose: nobody; the data set's own validation split, if it has one; that or else a share of train; or
always a share of train."""

HoldOut = Callable[[Any, float, int], tuple[Indices, Indices]]
DrawShots = Callable[[Any, int, int, int, Any], tuple[Indices, Indices]]

METRIC = "metric"
"""Name of the parameter that chooses the score, in protocols that leave the choice."""

MEAN_TOP1_TOP5 = "mean_top1_top5"

_TOP5_FROM = 6
"""Classes from which top-5 is reported; see `classification_metrics`."""


@dataclass(frozen=True)
class Transform:
    """How a paper brings an image to the encoder's input: its shorter side, the centre crop, the filter.

    Parameters
    ----------
    resize, crop : int
        Pixels.
    interpolation : str or None
        None where the reference does not fix it.
    """

    resize: int
    crop: int
    interpolation: str | None = None

    @property
    def options(self) -> dict[str, str | int]:
        """The options of `extract` that prepare images so."""
        by = {} if self.interpolation is None else {"interpolation": self.interpolation}
        return {"resize": self.resize, "crop": self.crop, **by}

    def remark(self, preprocessing: Mapping[str, Any] | None) -> str | None:
        """Say how the images of a set were brought to their size, if that is not this; None where it is.

        Parameters
        ----------
        preprocessing : mapping or None
            Of the set's encoder (`specs.Preprocessing`).
        """
        filtered = f", {self.interpolation}" if self.interpolation else ""
        asked = " ".join(f"--{option} {value}" for option, value in self.options.items())
        published = f"resize {self.resize}, crop {self.crop}{filtered} (extract {asked})"
        try:
            stored = preprocessing or {}
            height, width = (int(side) for side in stored["image_size"])
            resize = round(min(height, width) / float(stored["crop_fraction"]))
            mode, by = str(stored["resize_mode"]), str(stored["interpolation"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return f"not as published: images with {published}; the set does not say how its own were prepared"
        right = (resize, height, width) == (self.resize, self.crop, self.crop)
        if right and mode in _KEEP_ASPECT and self.interpolation in (None, by):
            return None
        return (
            f"not as published: images with {published}; these features are of resize {resize}, "
            f"crop {f'{height} x {width}' if height != width else height}, {by}"
            + ("" if mode in _KEEP_ASPECT else f" ({mode})")
        )


_KEEP_ASPECT = ("shortest", "center")
"""How open_clip and timm call it that the shorter side is resized and the centre is cropped."""


@dataclass(frozen=True)
class Problem:
    """The rows of one trial, and what a protocol needs to know beside them.

    Parameters
    ----------
    train, test : LabelledFeatures
    val : LabelledFeatures or None
        Rows to choose on, where the protocol wants some.
    n_classes : int
    metric : str
        The score that is reported, and by which a value is chosen if there are several.
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
    taps : tuple of (str, int)
        Which taps lie side by side in the features, and how wide each is; empty if that is not known.
    """

    train: LabelledFeatures
    val: LabelledFeatures | None
    test: LabelledFeatures
    n_classes: int
    metric: str
    val_from_train: bool
    draw: Draw
    seed: int
    parameters: Mapping[str, Any]
    memory: int | None
    progress: Callable[[str], None]
    taps: tuple[tuple[Tap, int], ...] = ()

    @property
    def chosen_on(self) -> LabelledFeatures:
        """The validation part; `BadInput` where there is none."""
        if self.val is None:
            raise BadInput(
                "This protocol chooses on validation rows, and there are none.",
                hint="Name a validation split, or a fraction of train: --val-split 0.1",
                key="val-split",
            )
        return self.val

    @property
    def refit_on(self) -> LabelledFeatures:
        """Train and validation rows together; the training rows alone if their number is the point of the trial.

        That is so of few shots, and of a share of train that is chosen for on another split.
        """
        apart = self.draw.shots is not None or (self.draw.fraction is not None and not self.val_from_train)
        return self.train if apart else self.train.joined(self.chosen_on)


@dataclass(frozen=True)
class Protocol:
    """One published way to score frozen features.

    An installed package adds one by an entry point `cryoprobe.protocols` that has the protocol's name and points to it.
    Its module is imported whenever protocols are listed: let `run` import what is heavy.

    Parameters
    ----------
    name, description, source : str
        `source` says where it is published.
    features : {"unit", "raw"}
        Embeddings of unit norm, or as the encoder gave them.
    run : callable
        From a `Problem` to a `ProbeOutcome`; `fit_and_score` makes one.
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
    flag_shots : tuple of int
        The same for multi-label data; empty if they do not differ.
    seeds : tuple of int
        Of its draws.
    ddof : int
        How the reference counts the spread of its draws: 1 for the standard deviation of a sample, 0 for that of numpy.
    metric, flag_metric : str
        The score that is reported of single-label and of multi-label data; it also chooses.
    metrics : mapping
        Other scores that can be asked for as the parameter ``metric``: from their names to ours.
    metric_of : callable, optional
        From the name of the data set that is asked for to the score that is published of it, for single-label data.
    transform : Transform, optional
        How the published features were made from images, if not by the model's own preprocessing.
    random : bool
        Whether a fit depends on the seed, on the same rows.
    packages : tuple of str
        Whose versions can change the result: the protocol uses their estimators.
    remarks : tuple of str
        Words that every result carries: what sets it apart from the published procedure.
    taps : tuple of str
        What is read of any encoder, several taps with ``+`` between them: the first that the store has all of. With
        another tap the protocol runs too, and remarks what is missing.
    """

    name: str
    description: str
    source: str
    features: Normalisation
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
    flag_shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    ddof: int = 1
    metric: str = "top1"
    flag_metric: str = "map"
    metrics: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metric_of: Callable[[str], str | None] | None = None
    transform: Transform | None = None
    random: bool = False
    packages: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    taps: tuple[Tap, ...] = ()

    def shots_of(self, task: Task) -> tuple[int, ...]:
        """Return how many rows of every class are prescribed; empty where all rows are taken."""
        return self.shots if task.exclusive else self.flag_shots or self.shots

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
            if name == METRIC:
                values[name] = self._known_metric(value)
                continue
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
            if name != METRIC and value != self.parameters[name]
        ]

    def score(self, parameters: Mapping[str, Any], dataset: str | None, n_classes: int, task: Task) -> str:
        """Return the score that is reported and chosen by.

        Parameters
        ----------
        parameters : mapping
            Complete; ``metric`` among them says which, for a protocol that leaves the choice.
        dataset : str or None
            The name by which the data set is asked for; None for sets that are given by their ids.
        n_classes : int
        task : Task

        Raises
        ------
        BadInput
            If the score that is asked for does not exist for such labels.
        """
        asked = parameters.get(METRIC)
        if asked is None or asked == self.parameters[METRIC]:
            if not task.exclusive:
                return self.flag_metric
            known = None if self.metric_of is None or dataset is None else self.metric_of(dataset)
            return known or self.metric
        name = self.metrics[str(asked)]
        if not task.has_score(name):
            fitting = [n for n, score in self.metrics.items() if task.has_score(score)]
            raise BadInput(
                f"The metric {asked} does not exist for {task.name} data.",
                hint=f"For such data: {', '.join(fitting) or 'leave the parameter metric out'}.",
                key=METRIC,
            )
        if name == MEAN_TOP1_TOP5 and n_classes < _TOP5_FROM:
            raise BadInput(
                f"The metric {asked} needs top-5, which says nothing of {n_classes} classes.",
                hint="Take another metric.",
                key=METRIC,
            )
        return name

    def _known_metric(self, value: JsonValue) -> JsonValue:
        if value == self.parameters[METRIC] or (isinstance(value, str) and value in self.metrics):
            return value
        raise BadInput(
            f"Protocol {self.name} has no metric {value!r}.",
            hint=f"Give one of {', '.join(dict.fromkeys([str(self.parameters[METRIC]), *self.metrics]))}.",
            key=METRIC,
        )


def with_mean_top1_top5(done: ProbeOutcome) -> ProbeOutcome:
    """Add the mean of top-1 and top-5 to the metrics, which only some data sets are scored by."""
    found: dict[str, Any] = dict(done.metrics)
    top5 = found.get("top5")
    found[MEAN_TOP1_TOP5] = None if top5 is None else (found["top1"] + top5) / 2
    return replace(done, metrics=cast(ClassificationMetrics, found))
