"""From names to feature sets: which sets of the store a probe is trained and scored on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInput, Conflict, CryoprobeError, NotFound
from ..stores.feature_set import FeatureSet
from ..stores.names import Name, NamedSet
from ..stores.sample_index import SampleIndex, fingerprint
from ..stores.store import Store
from .datasets import canonical_name, is_listed, load_dataset
from .datasets.base import ALL
from .encoders import default_tap, file_sha256

HOLDOUT = 0.2
"""Share of a data set without splits that is held out for testing, where nothing else is asked for."""


@dataclass(frozen=True)
class Request:
    """Which features are asked for, by name.

    Parameters
    ----------
    model, dataset : str
    tap, image_size, limit, checkpoint, data_root
        As given to `extract`; None fits any, except that of several taps the model's default one is taken.
    untrained : bool
        Take random weights; otherwise they are taken only where there are no others.
    """

    model: str
    dataset: str
    tap: str | None = None
    image_size: int | None = None
    limit: int | None = None
    checkpoint: Path | None = None
    data_root: Path | None = None
    untrained: bool = False


VALIDATION_NAMES = ("val", "validation", "valid")
"""What data sets call the split that is there to choose on."""


@dataclass(frozen=True)
class Choosing:
    """Which rows choose a hyper-parameter: the first of these that there is.

    Parameters
    ----------
    asked : str or None
        A split, the id of a set where sets are given by id, or a fraction of train.
    official : bool
        The data set's own validation split, where the store has it.
    fraction : float or None
        A share of train. None: nothing is chosen.
    """

    asked: str | None = None
    official: bool = False
    fraction: float | None = None


@dataclass(frozen=True)
class Sets:
    """The sets of one probe, all of one encoder.

    Parameters
    ----------
    train : FeatureSet
    test : FeatureSet or float
        A fraction is held out of `train`.
    val : FeatureSet, float or None
        A fraction is held out of what remains of `train`. None where nothing is chosen.
    names : dict of str to NamedSet
        For the parts that were found by name.
    doubts : tuple of str
        What the names left open, and how it was taken.
    """

    train: FeatureSet
    test: FeatureSet | float
    val: FeatureSet | float | None
    names: dict[str, NamedSet]
    doubts: tuple[str, ...] = ()


def as_fraction(text: str) -> float | None:
    """Return `text` as a fraction between 0 and 1, or None where it is a name."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not 0 < value < 1:
        raise BadInput(f"{text} is neither the name of a split nor a fraction between 0 and 1.", found=text)
    return value


def by_id(store: Store, train: str, test: str | None, choosing: Choosing) -> Sets:
    """Find sets by their ids; what chooses, and `test` too, may be a fraction of train."""
    train_set = store.open(train)
    fraction = None if test is None else as_fraction(test)
    test_set = HOLDOUT if test is None else fraction or store.open(test)
    val: FeatureSet | float | None = choosing.fraction
    if choosing.asked is not None:
        val = as_fraction(choosing.asked) or store.open(choosing.asked)
    sets = Sets(train_set, test_set, val, {})
    _check_apart(train_set, sets.test, sets.val)
    for name, other in (("test", sets.test), ("val", sets.val)):
        if isinstance(other, FeatureSet) and other.encoder_id != train_set.encoder_id:
            raise _two_encoders(
                train_set, other, name, "Give sets of one encoder; `cryoprobe ls` shows which is which."
            )
    return sets


def by_name(
    store: Store, request: Request, train_split: str | None, test_split: str | None, choosing: Choosing
) -> Sets:
    """Find the newest sets of a name.

    Parameters
    ----------
    store : Store
    request : Request
    train_split : str or None
        None is ``train``, or ``all`` for a data set without splits.
    test_split : str or None
        A split, or a fraction to hold out of train. None is ``test``, or `HOLDOUT` for a data set without splits.
    choosing : Choosing

    Raises
    ------
    NotFound
        If the store has no such features; the message has the command that would make them.
    Conflict
        If it has them, but not all of one encoder.
    """
    if train_split is not None and as_fraction(train_split) is not None:
        raise BadInput(f"--train-split is the name of a split, not {train_split}.", key="train-split")
    candidates = _candidates(store, request)
    available = {n.name.split for n in candidates}
    if train_split is None:
        train_split = ALL if ALL in available and "train" not in available else "train"
    if test_split is None:
        test_split = str(HOLDOUT) if train_split == ALL and "test" not in available else "test"
    wanted = {"train": train_split, "test": test_split}
    # A split that is trained or scored on cannot choose, whatever it is called.
    free = available - {train_split, test_split} if choosing.official else set()
    official = next((name for name in VALIDATION_NAMES if name in free), None)
    val_split = choosing.asked or official
    if val_split is not None:
        wanted["val"] = val_split
    absent = [s for s in wanted.values() if as_fraction(s) is None and s not in available]
    if absent:
        raise _not_extracted(store, request, list(dict.fromkeys(absent)), candidates)
    newest = next(n for n in candidates if n.name.split == train_split)
    train = store.open(newest.set)
    found: dict[str, FeatureSet | float | None] = {"val": choosing.fraction}
    named = {"train": newest}
    for part in [part for part in wanted if part != "train"]:
        fraction = as_fraction(wanted[part])
        if fraction is not None:
            found[part] = fraction
            continue
        named[part] = _nearest([n for n in candidates if n.name.split == wanted[part]], newest)
        other = store.open(named[part].set)
        found[part] = other
        if other.encoder_id != train.encoder_id:
            again = _command(store, request, [wanted[part]], newest.name)
            raise _two_encoders(train, other, part, "Extract both: " + again)
    test = found["test"]
    assert test is not None
    _check_apart(train, test, found["val"])
    return Sets(train, test, found["val"], named, tuple(_doubts(candidates, named)))


def _nearest(fitting: Sequence[NamedSet], train: NamedSet) -> NamedSet:
    """Return the newest set of the train set's encoder, of the same limit where there is one."""

    def distance(n: NamedSet) -> tuple[bool, bool]:
        same_limit = (n.name.limit, n.name.limit_seed) == (train.name.limit, train.name.limit_seed)
        return n.encoder != train.encoder, not same_limit

    return min(fitting, key=distance)  # the first of equals is the newest


def _doubts(candidates: Sequence[NamedSet], named: Mapping[str, NamedSet]) -> Iterator[str]:
    """Say what was taken where the names fit more than one extraction."""
    train = named["train"].name
    rivals = [n for n in candidates if n.name.split == train.split and n.name != train]
    if rivals:
        yield (
            f"{len(rivals) + 1} extractions fit; the newest is taken ({_options(train)}), not: "
            + "; ".join(dict.fromkeys(_options(n.name) for n in rivals))
        )
    for part, other in named.items():
        if (other.name.limit, other.name.limit_seed) != (train.limit, train.limit_seed):
            yield f"the {part} set was extracted with {_options(other.name)}, the train set with {_options(train)}"


def _options(name: Name) -> str:
    """Return the options with which a set was extracted, as they are given."""
    given = [f"{option} {value}" if value is not True else option for option, value in _given(name).items()]
    return ", ".join(given) or "no options"


def _given(name: Name) -> dict[str, Any]:
    """Return the options of `extract` that a name stands for, but for the tap."""
    options = {
        "--image-size": name.image_size,
        "--limit": name.limit,
        "--limit-seed": name.limit_seed or None,
        "--untrained": name.untrained or None,
        "--seed": name.seed or None,
        "--precision": name.precision if name.precision != "fp32" else None,
        "--stored-dtype": name.stored_dtype if name.stored_dtype != "float16" else None,
        "--checkpoint": f"FILE with sha256 {name.checkpoint[:12]}…" if name.checkpoint else None,
    }
    return {option: value for option, value in options.items() if value is not None}


def _check_apart(train: FeatureSet, test: FeatureSet | float, val: FeatureSet | float | None) -> None:
    """Refuse to choose or to score on the very set that is trained on, and to choose on the one that is scored."""
    parts = {p.id: name for name, p in (("train", train), ("test", test)) if isinstance(p, FeatureSet)}
    if isinstance(test, FeatureSet) and test.id == train.id:
        raise BadInput("The test set is the train set.", hint="Name another split, or a fraction of train.", key="test")
    if isinstance(val, FeatureSet) and val.id in parts:
        raise BadInput(
            f"The validation set is the {parts[val.id]} set: what is chosen on it would be worth nothing.",
            hint="Name a split of its own, or a fraction of train: --val-split 0.1",
            key="val-split",
        )


def changed_since(feature_set: FeatureSet, named: NamedSet, data_root: Path | None) -> str | None:
    """Say whether the data set's files, where they are at hand, have changed since they were extracted here.

    By stat calls only. None where nothing has changed, or nothing can be told.
    """
    name = named.name
    index = SampleIndex()
    try:
        recorded = index.view(name.view)
    finally:
        index.close()
    if recorded is None or recorded.dataset_id != feature_set.dataset_id:
        return None
    sources: Sequence[Path] | None = recorded.sources
    if sources is None:
        if not is_listed(name.dataset):
            return None
        try:
            sources = load_dataset(name.dataset, data_root=data_root).split(name.split).sources
        except CryoprobeError:
            return None
    if not any(p.exists() for p in sources) or fingerprint(sources) == recorded.fingerprint:
        return None
    return (
        f"The files of {name.dataset} ({name.split}) have changed since these features were extracted. "
        "Run extract again to bring them up to date; only what is new is encoded."
    )


def _candidates(store: Store, request: Request) -> list[NamedSet]:
    """Return named sets that fit, newest first, of one tap."""
    fitting = store.find(
        model=request.model,
        dataset=canonical_name(request.dataset, request.data_root),
        tap=request.tap,
        image_size=request.image_size,
        limit=request.limit,
        checkpoint=None if request.checkpoint is None else file_sha256(request.checkpoint),
    )
    trained = [n for n in fitting if n.name.untrained == request.untrained]
    fitting = trained or (fitting if not request.untrained else [])
    taps = {n.name.tap for n in fitting}
    if len(taps) > 1:
        default = default_tap(request.model)
        tap = default if default in taps else fitting[0].name.tap
        fitting = [n for n in fitting if n.name.tap == tap]
    return fitting


def _command(store: Store, request: Request, splits: Sequence[str], like: Name | None = None) -> str:
    """Return the exact command that would make the missing features, with the options of those that are `like` them."""
    words = ["cryoprobe", "extract", "--model", request.model, "--dataset", request.dataset, "--store", store.url]
    options = {
        "--split": ",".join(splits) or None,
        "--tap": request.tap,
        **(_given(like) if like is not None else {"--untrained": request.untrained or None}),
        "--data-root": request.data_root,
    }
    asked = {"--image-size": request.image_size, "--limit": request.limit, "--checkpoint": request.checkpoint}
    options.update({option: value for option, value in asked.items() if value is not None})
    for option, value in options.items():
        if value is not None:
            words += [option] if value is True else [option, str(value)]
    return shlex.join(words)


def _not_extracted(store: Store, request: Request, absent: Sequence[str], candidates: Sequence[NamedSet]) -> NotFound:
    which = ", ".join(repr(s) for s in absent)
    available = sorted({n.name.split for n in candidates})
    there = f" It has: {', '.join(available)}." if available else ""
    splits = absent if available else []
    also = "\nOr name other splits: --train-split, --test-split (a fraction holds out a part of train)."
    like = candidates[0].name if candidates else None
    return NotFound(
        f"The store {store.url} has no features of {request.model} on {request.dataset}"
        + (f", split {which}." if available else ".")
        + there,
        hint=f"Make them:\n  {_command(store, request, splits, like)}" + (also if available else ""),
        key=request.dataset,
    )


def _two_encoders(train: FeatureSet, other: FeatureSet, part: str, hint: str) -> Conflict:
    return Conflict(
        f"Train set {train.id[:12]} and {part} set {other.id[:12]} are of two different encoders "
        f"({train.encoder_id[:12]}, {other.encoder_id[:12]}): their features must not be combined.",
        hint=hint,
        key=other.id,
        expected=train.encoder_id,
        found=other.encoder_id,
    )
