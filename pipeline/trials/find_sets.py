"""From names or ids to feature sets: which sets of the store a probe is trained, scored and chosen on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ...errors import BadInput, Conflict
from ...stores.feature_set import FeatureSet
from ...stores.format.names import NamedSet
from ...stores.store import Store
from ..datasets.base import ALL, UNLABELLED
from ..datasets.split_names import Role, of_role
from ..encoders import canonical_model
from ..joined_taps import BETWEEN, taps_in
from ..options import SetOptions
from ..specs import TAPS
from ..tap_names import as_stored
from . import contents, meaning
from .joined_sets import joined, opened
from .plan import TrialPlan, complete_taps, prescribed_tap
from .query import FeatureQuery, command, not_extracted, options_of
from .sets import HeldOut, TrialSets, ValidationRule

HOLDOUT = HeldOut(0.2)
"""Of a data set without splits, held out for testing if nothing else is asked for."""


def find_sets(store: Store, asked: SetOptions, plan: TrialPlan, among: Collection[str] | None = None) -> TrialSets:
    """Find the sets of a probe, by name or by id.

    Parameters
    ----------
    store : Store
    asked : SetOptions
    plan : TrialPlan
    among : collection of str, optional
        Ids of the only sets that a name may mean.

    Raises
    ------
    BadInput
        If the options contradict each other.
    NotFound
        If the store has no such features; the message has the command that makes them.
    Conflict
        If it has them, but not all of one encoder; or several fit.
    """
    rule = plan.validation_rule(asked.val_split)
    if asked.model is not None and asked.dataset is not None and asked.train is None:
        if asked.test is not None:
            raise BadInput("--test goes with --train; by name it is --test-split.", key="test")
        tap = _meant_tap(store, asked.model, asked.tap, plan, among)
        query = FeatureQuery.of(asked, tap=tap or None)
        taps = taps_in(tap)
        if not {",", BETWEEN}.intersection(tap) or any(n.name.tap == tap for n in store.find(model=query.model)):
            return by_name(store, query, asked.train_split, asked.test_split, rule, among)
        if "," in tap:
            several = BETWEEN.join(part.strip() for part in tap.split(","))
            raise BadInput(f"--tap {tap} is not a tap.", hint=f"Write {several} to read these as one.", key="tap")
        if len(set(taps)) < len(taps) or not all(taps):
            raise BadInput(f"--tap {query.tap} does not name several taps.", hint="Such as cls+patch_mean.", key="tap")
        each = [query.model_copy(update={"tap": tap}) for tap in taps]
        return joined([by_name(store, one, asked.train_split, asked.test_split, rule, among) for one in each])
    if asked.model is not None or asked.dataset is not None or asked.train is None:
        raise BadInput(
            "A probe needs either a model and a data set, or a train set.",
            hint="Give --model and --dataset, or --train SET [--test SET].",
        )
    given = {"train-split": asked.train_split, **asked.options}
    if ignored := [f"--{option}" for option, value in given.items() if value is not None]:
        raise BadInput(
            f"{', '.join(ignored)} cannot be combined with --train: a set id already fixes it.",
            hint="Remove it, or name the sets by --model and --dataset.",
            key=ignored[0],
        )
    if asked.test is not None and asked.test_split is not None:
        raise BadInput("--test and --test-split are the same here.", hint="Give one of them.", key="test")
    return by_id(store, asked.train, asked.test or asked.test_split, rule)


def _meant_tap(store: Store, model: str, asked: str | None, plan: TrialPlan, among: Collection[str] | None) -> str:
    """Return the tap that is asked for or prescribed, as the store has it; empty for the model's default."""
    whole = plan.published is not None and plan.published.taps
    if asked in TAPS or (asked is None and not whole):  # needs no look at the store
        return asked or prescribed_tap(plan, model) or ""
    there = {n.name.tap for n in store.find(model=canonical_model(model)) if among is None or n.set in among}
    tap = asked or complete_taps(plan, there) or prescribed_tap(plan, model) or ""
    return tap if tap in there else BETWEEN.join(as_stored(part, there) for part in tap.split(BETWEEN))


def as_fraction(text: str) -> float | None:
    """Return `text` as a fraction between 0 and 1; None for a name, and for the beginning of an id such as 0716."""
    value = _number(text)
    return value if value is not None and 0 < value < 1 else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _part_by_id(store: Store, text: str) -> FeatureSet | HeldOut:
    """Return the fraction that `text` is, or else the set whose id begins so, although it may look like a number."""
    fraction = as_fraction(text)
    if fraction is not None:
        return HeldOut(fraction)
    if _number(text) is not None and not set(text.lower()) <= set("0123456789abcdef"):
        raise BadInput(f"{text} is neither the id of a set nor a fraction between 0 and 1.", found=text)
    return opened(store, text)


def by_id(store: Store, train: str, test: str | None, rule: ValidationRule) -> TrialSets:
    """Find sets by their ids; what chooses, and `test` too, may be a fraction of train."""
    train_set = opened(store, train)
    test_set = HOLDOUT if test is None else _part_by_id(store, test)
    val = rule.held_out if rule.asked is None else _part_by_id(store, rule.asked)
    doubts = () if test is not None else (_held_out(f"set {train_set.id[:12]}", "--test"),)
    sets = TrialSets(train_set, test_set, val, {}, doubts)
    _check_apart(sets)
    for name, other in sets.stored():
        if other.encoder_id != train_set.encoder_id:
            raise _two_encoders(
                train_set, other, name, "Give sets of one encoder; `cryoprobe ls` shows which is which."
            )
    return sets


@dataclass
class _ByName:
    """A look-up by name: what fits, and what it leaves open."""

    store: Store
    query: FeatureQuery
    candidates: list[NamedSet]
    doubts: list[str] = field(default_factory=list)
    parts: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    """Whether the only sets that a name may mean were given: which options they have needs no note then."""

    @property
    def splits(self) -> set[str]:
        return {n.name.split for n in self.candidates}

    def called(self, role: Role) -> str | None:
        """Return the split of a role, by its name; say which it is if it has another name. None if there is none.

        Raises
        ------
        Conflict
            If several are called so.
        """
        found = of_role(role, self.splits)
        if not found or found[0] == role:
            return role if found else None
        if alike := [name for name in found[1:] if name.lower() == found[0].lower()]:
            raise Conflict(
                f"Several splits of {self.query.dataset} may be the {role} split: {', '.join([found[0], *alike])}.",
                hint=f"Say which one: --{role}-split {found[0]}",
                key=found[0],
            )
        self.doubts.append(f"the split {found[0]} is taken for {role}; another one: --{role}-split NAME")
        return found[0]

    def meant(self, split: str, like: NamedSet | None = None) -> NamedSet:
        """Return the set that a split means; the train set is `like` it."""
        fitting = [n for n in self.candidates if n.name.split == split]
        of_one, notes = meaning.extraction(self.store, self.query, fitting, like)
        asked = contents.Asked(self.store, self.query, self.candidates, self.parts)
        found, about = contents.content(asked, of_one)
        self.doubts += [*([] if self.exact else notes), *about]
        return found

    def check_there(self, wanted: Mapping[str, str]) -> None:
        """Refuse splits that the store does not have."""
        absent = [s for s in wanted.values() if as_fraction(s) is None and s not in self.splits]
        if numbers := [s for s in absent if _number(s) is not None]:
            raise BadInput(
                f"{numbers[0]} is neither the name of a split nor a fraction between 0 and 1.", found=numbers[0]
            )
        if absent:
            raise not_extracted(self.store, self.query, list(dict.fromkeys(absent)), self.candidates)


def by_name(
    store: Store,
    query: FeatureQuery,
    train_split: str | None,
    test_split: str | None,
    rule: ValidationRule,
    among: Collection[str] | None = None,
) -> TrialSets:
    """Find the sets that a name means; see `meaning`.

    Parameters
    ----------
    store : Store
    query : FeatureQuery
    train_split : str or None
        None is ``train``, or what else is called so (`split_names`), or ``all`` for a data set without splits.
    test_split : str or None
        A split, or a fraction to hold out of train. None is ``test``, or what else is called so, or `HOLDOUT` for a
        data set without splits.
    rule : ValidationRule
    among : collection of str, optional
        Ids of the only sets that are looked at.
    """
    if train_split is not None and as_fraction(train_split) is not None:
        raise BadInput(f"--train-split is the name of a split, not {train_split}.", key="train-split")
    look = _ByName(store, query, *meaning.candidates(store, query, among), exact=among is not None)
    if train_split is None and look.splits == {UNLABELLED}:
        raise _without_labels(f"{query.dataset} was extracted with --unlabelled, and")
    if train_split is None:
        train_split = look.called("train") or (ALL if ALL in look.splits else "train")
    called_test = look.called("test") if test_split is None else None
    held_out = test_split is None and train_split == ALL and called_test is None
    if test_split is None:
        test_split = str(HOLDOUT.fraction) if held_out else called_test or "test"
    look.parts = wanted = {"train": train_split, "test": test_split}
    chosen = look.meant(train_split) if train_split in look.splits else None
    val_split, foreign = _validation_split(look, wanted, chosen, rule)
    if val_split is not None:
        wanted["val"] = val_split
    look.check_there(wanted)
    assert chosen is not None
    sets = _opened(look, chosen, wanted, rule)
    _check_apart(sets)
    doubts = [*look.doubts, *_other_options(sets.names), *contents.of_other_hands(store, sets.names)]
    if foreign:
        doubts.append(f"the store's split {foreign} is of another encoder than the train set, and does not choose")
    if held_out:
        doubts.append(_held_out(f"{chosen.name.dataset}, which has no splits,", "--test-split"))
    return TrialSets(sets.train, sets.test, sets.val, sets.names, tuple(dict.fromkeys(doubts)))


def _validation_split(
    look: _ByName, wanted: Mapping[str, str], train: NamedSet | None, rule: ValidationRule
) -> tuple[str | None, str | None]:
    """Return the split that chooses, and one that would if it were of the train set's encoder."""
    # A split that is trained or scored on cannot choose, whatever it is called.
    free = look.splits - {*wanted.values()} if rule.official else set()
    own = {n.name.split for n in look.candidates if train is not None and n.encoder == train.encoder}
    official = next(iter(of_role("val", free & own)), None)
    foreign = next(iter(of_role("val", free)), None)
    if official not in (None, "val") and rule.asked is None:
        look.doubts.append(f"the split {official} is taken for val: it chooses; another one: --val-split NAME")
    return rule.asked or official, None if official is not None or rule.asked else foreign


def _opened(look: _ByName, chosen: NamedSet, wanted: Mapping[str, str], rule: ValidationRule) -> TrialSets:
    """Open the sets of a train set that was found, and of the splits that go with it."""
    train = look.store.open(chosen.set)
    found: dict[str, FeatureSet | HeldOut] = {}
    named = {"train": chosen}
    for part in [part for part in wanted if part != "train"]:
        fraction = as_fraction(wanted[part])
        if fraction is not None:
            found[part] = HeldOut(fraction)
            continue
        named[part] = look.meant(wanted[part], chosen)
        found[part] = other = look.store.open(named[part].set)
        if other.encoder_id != train.encoder_id:
            again = command(look.store, look.query, [wanted[part]], chosen.name)
            raise _two_encoders(train, other, part, f"Make both with one encoder:\n  {again}")
    return TrialSets(train, found["test"], found.get("val", rule.held_out), named)


def _held_out(what: str, option: str) -> str:
    return f"a fifth of {what} is held out as the test; another share: {option} {HOLDOUT.fraction}"


def _other_options(named: Mapping[str, NamedSet]) -> Iterator[str]:
    """Yield a line for each part that was extracted with other options than the train set."""
    train = named["train"].name
    for part, other in named.items():
        if (other.name.limit, other.name.limit_seed) != (train.limit, train.limit_seed):
            yield f"the {part} set was extracted with {options_of(other.name)}, the train set with {options_of(train)}"


def _check_apart(sets: TrialSets) -> None:
    """Refuse sets without labels, a set in two parts, and to choose on the one that is scored."""
    for name, part in sets.stored():
        if part.unlabelled:
            raise _without_labels(f"The {name} set {part.id[:12]}")
    parts = dict(sets.stored())
    val = parts.pop("val", None)
    if "test" in parts and parts["test"].id == sets.train.id:
        raise BadInput("The test set is the train set.", hint="Name another split, or a fraction of train.", key="test")
    same = {part.id: name for name, part in parts.items()}
    if val is not None and val.id in same:
        raise BadInput(
            f"The validation set is the {same[val.id]} set: a value that is chosen on it would be biased.",
            hint="Name a split of its own, or a fraction of train: --val-split 0.1",
            key="val-split",
        )


def _without_labels(what: str) -> BadInput:
    return BadInput(
        f"{what} has no labels: no probe can be trained or scored on it.",
        hint="Extract the images with labels (PATH/CLASS/*, or csv:FILE): what is encoded is reused. Or let a trained "
        "probe label them: cryoprobe predict --probe-file FILE PATH",
        key=UNLABELLED,
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
