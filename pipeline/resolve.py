"""From names to feature sets: which sets of the store a probe is trained and scored on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, Conflict, CryoprobeError, NotFound
from ..stores.feature_set import FeatureSet
from ..stores.names import NamedSet
from ..stores.sample_index import SampleIndex, fingerprint
from ..stores.store import Store
from . import meaning
from .datasets.base import ALL
from .wanted import Request, command, not_extracted, options_of

HOLDOUT = 0.2
"""Share of a data set without splits that is held out for testing, where nothing else is asked for."""

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
    """Return `text` as a fraction between 0 and 1; None where it is a name, or the beginning of an id such as 0716."""
    value = _number(text)
    return value if value is not None and 0 < value < 1 else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _part_by_id(store: Store, text: str) -> FeatureSet | float:
    """Return the fraction that `text` is, or else the set whose id begins so, although it may look like a number."""
    fraction = as_fraction(text)
    if fraction is not None:
        return fraction
    if _number(text) is not None and not set(text.lower()) <= set("0123456789abcdef"):
        raise BadInput(f"{text} is neither the id of a set nor a fraction between 0 and 1.", found=text)
    return store.open(text)


def by_id(store: Store, train: str, test: str | None, choosing: Choosing) -> Sets:
    """Find sets by their ids; what chooses, and `test` too, may be a fraction of train."""
    train_set = store.open(train)
    test_set = HOLDOUT if test is None else _part_by_id(store, test)
    val = choosing.fraction if choosing.asked is None else _part_by_id(store, choosing.asked)
    doubts = () if test is not None else (_held_out(f"set {train_set.id[:12]}", "--test"),)
    sets = Sets(train_set, test_set, val, {}, doubts)
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
    """Find the sets that a name means; see `meaning`.

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
        If it has them, but not all of one encoder; or several fit, and nothing tells which is meant.
    """
    if train_split is not None and as_fraction(train_split) is not None:
        raise BadInput(f"--train-split is the name of a split, not {train_split}.", key="train-split")
    candidates, doubts = meaning.candidates(store, request)
    available = {n.name.split for n in candidates}
    if train_split is None:
        train_split = ALL if ALL in available and "train" not in available else "train"
    held_out = test_split is None and train_split == ALL and "test" not in available
    if test_split is None:
        test_split = str(HOLDOUT) if held_out else "test"
    wanted = {"train": train_split, "test": test_split}
    # A split that is trained or scored on cannot choose, whatever it is called.
    free = available - {train_split, test_split} if choosing.official else set()

    def meant(split: str, like: NamedSet | None = None) -> NamedSet:
        fitting = [n for n in candidates if n.name.split == split]
        of_one, notes = meaning.extraction(store, request, fitting, like)
        (found,), about = meaning.content(store, request, of_one)
        doubts.extend([*notes, *about])
        return found

    chosen = meant(train_split) if train_split in available else None
    own = {n.name.split for n in candidates if chosen is not None and n.encoder == chosen.encoder}
    official = next((name for name in VALIDATION_NAMES if name in free & own), None)
    foreign = [name for name in VALIDATION_NAMES if name in free] if official is None and not choosing.asked else []
    val_split = choosing.asked or official
    if val_split is not None:
        wanted["val"] = val_split
    absent = [s for s in wanted.values() if as_fraction(s) is None and s not in available]
    if numbers := [s for s in absent if _number(s) is not None]:
        raise BadInput(f"{numbers[0]} is neither the name of a split nor a fraction between 0 and 1.", found=numbers[0])
    if absent:
        raise not_extracted(store, request, list(dict.fromkeys(absent)), candidates)
    assert chosen is not None
    train = store.open(chosen.set)
    found: dict[str, FeatureSet | float | None] = {"val": choosing.fraction}
    named = {"train": chosen}
    for part in [part for part in wanted if part != "train"]:
        fraction = as_fraction(wanted[part])
        if fraction is not None:
            found[part] = fraction
            continue
        named[part] = meant(wanted[part], chosen)
        other = store.open(named[part].set)
        found[part] = other
        if other.encoder_id != train.encoder_id:
            again = command(store, request, [wanted[part]], chosen.name)
            raise _two_encoders(train, other, part, "Extract both: " + again)
    test = found["test"]
    assert test is not None
    _check_apart(train, test, found["val"])
    doubts += _doubts(named)
    if foreign:
        doubts.append(f"the store's split {foreign[0]} is of another encoder than the train set, and does not choose")
    if held_out:
        doubts.append(_held_out(f"{chosen.name.dataset}, which has no splits,", "--test-split"))
    return Sets(train, test, found["val"], named, tuple(dict.fromkeys(doubts)))


def _held_out(what: str, option: str) -> str:
    return f"a fifth of {what} is held out as the test; another share: {option} {HOLDOUT}"


def _doubts(named: Mapping[str, NamedSet]) -> Iterator[str]:
    """Say where parts were extracted with other options than the train set."""
    train = named["train"].name
    for part, other in named.items():
        if (other.name.limit, other.name.limit_seed) != (train.limit, train.limit_seed):
            yield f"the {part} set was extracted with {options_of(other.name)}, the train set with {options_of(train)}"


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
    """Say whether the data set's files may have changed since they were extracted here, or are gone.

    By stat calls only. None where nothing has changed, and where they were not extracted on this machine.
    """
    name = named.name
    index = SampleIndex()
    try:
        recorded = index.view(meaning.encoder_view(name, feature_set.encoder_id)) or index.view(name.view)
    finally:
        index.close()
    if recorded is None or recorded.dataset_id != feature_set.dataset_id:
        return None
    which = f"The files of {name.dataset} ({name.split})"
    gone = f"{which} are not here any more: it cannot be told whether they have changed since they were extracted."
    try:
        sources = meaning.sources_of(recorded, name, data_root)
    except NotFound:
        return gone
    except CryoprobeError as e:
        return f"{which} cannot be looked at: {e.message}"
    if not sources or fingerprint(sources) == recorded.fingerprint:
        return None
    if not any(p.exists() for p in sources):
        return gone
    return (
        f"{which} may have changed since these features were extracted: their names, dates or sizes differ. "
        "extract reads them again, and encodes only what differs."
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
