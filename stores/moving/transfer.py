"""Moving sets between stores: push, pull and sync.

What belongs to a set goes with it: its manifest and objects, its names, the trials on it and, if asked for, the units
of its encoder. The first seal of a set wins: where the target has it of another attempt, that one stays (see
`stores.writing.seals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from ...errors import BadInput, NotFound
from ...progress import Reporter
from ...reporting import reporter_for
from ..backends.local import LocalBackend
from ..backends.locations import layers_at
from ..backends.memory import MemoryBackend
from ..format.marker import write_marker
from ..format.origins import Origin, arriving
from ..hub.place import HubPlace, hub_place
from ..local.config import is_trusted
from ..opening import open_store
from ..store import Store
from .copying import Moved, TransferRun, foretold
from .transfer_plan import Choice, chosen, plan_transfer


class Options(TypedDict, total=False):
    """What `push`, `pull` and `sync` take by keyword; see `push`."""

    model: str | None
    dataset: str | None
    trials: bool
    units: bool
    link: bool
    private: bool
    dry_run: bool
    progress: bool
    reporter: Reporter | None


@dataclass(frozen=True)
class TransferOptions:
    """The same, with the defaults."""

    model: str | None = None
    dataset: str | None = None
    trials: bool = True
    units: bool = False
    link: bool = False
    private: bool = False
    dry_run: bool = False
    progress: bool = True
    reporter: Reporter | None = None

    def choice(self, sets: Sequence[str]) -> Choice:
        """Return which sets are meant, of those that were named."""
        return Choice(sets, self.model, self.dataset)


def push(
    store: str | Path | Store,
    to: str | Path | Store,
    sets: Sequence[str] = (),
    **options: Unpack[Options],
) -> Moved:
    """Copy sets to another store, with their names and the trials on them.

    Parameters
    ----------
    store, to : str, Path or Store
        From where, and to where; a store is made at `to` if there is none. ``hf://datasets/USER/NAME`` is a data set of
        the Hugging Face Hub, which gets the rows as parquet files, in one commit (docs/sharing-outside.md).
    sets : sequence of str
        Ids of sets, or their first digits; with none, all.
    model, dataset : str, optional
        Only sets with a name that fits these patterns (``*``, ``?``, ``[…]``).
    trials : bool
        Move trials too whose sets are all at the target afterwards, and of which one is among the sets meant, if only
        some are.
    units : bool
        Move all units of the sets' encoders too: rows that are in no set yet, which extractions at the target can use.
    link : bool
        Between two stores on one disk make hard links where that is possible, which take no space: but what damages a
        file of one store then damages the other's. By default each store has its own copy.
    private : bool
        Make a data set of the Hub that is not public, if there is none.
    dry_run : bool
        Only compare the stores.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how many bytes have arrived.

    Returns
    -------
    Moved

    Raises
    ------
    NotFound, BadInput
        If there is no such store or set, or the two stores are one.
    Corrupt
        If an object of the source is not what was sealed: its set is not sealed at the target. Raised when all other
        sets have been moved.
    ReadOnly, Unavailable
        If the target cannot be written, or storage fails; the same call goes on where this one stopped.

    Guarantees
    ----------
    An object is written only after its size and sha256 agreed with the seal, and a set sealed only when it has all of
    its objects. Of several that push one set at once, one seals it. Only what the target lacks travels; where the
    storage can copy by itself (one bucket; a disk whose file system clones files), it does.
    """
    how, source = TransferOptions(**options), open_store(store)
    choice = how.choice(sets)
    if (place := hub_place(to, create=not how.dry_run)) is not None:
        return _push_to_hub(source, place, choice, how)
    _refuse(how, private="there, only folders and buckets decide who may read them")
    found, target = chosen(source, choice), _target(to, source, how.dry_run)
    origin = arriving(source.url, "pull", trusted=True)
    return _move(source, target, found, how, origin, everything=choice.everything)


def pull(
    store: str | Path | Store,
    source: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    trust: bool = False,
    **options: Unpack[Options],
) -> Moved:
    """Copy sets from another store, `source`, into `store`; otherwise as `push`.

    Unless a configuration file lists the source, or `trust` is given, what arrives is not trusted: its sets can be
    listed, read and probed, but its rows, names and trials do not stand in for those of `store`. With `trust`, what
    came from there before counts as the store's own too. The source can be ``hf://datasets/USER/NAME`` or
    ``hf://datasets/USER/NAME@REVISION``, what `push` has sent to the Hugging Face Hub.
    """
    how, place = TransferOptions(**options), hub_place(source)
    if place is not None:
        from ..hub.sharing import open_hub

        _refuse(how, units=_NO_UNITS)
        opened = open_hub(place)
    else:
        opened = open_store(source)
    _refuse(how, private="when sets are pulled: it is about what `push` makes on the Hugging Face Hub")
    choice = how.choice(sets)
    found, target = chosen(opened, choice), _target(store, opened, how.dry_run)
    return _move(opened, target, found, how, _origin(source, opened, trust), everything=choice.everything)


def sync(
    one: str | Path | Store,
    other: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    trust: bool = False,
    **options: Unpack[Options],
) -> tuple[Moved, Moved]:
    """Give each of two stores what only the other has, as `push` from `one`, and then `pull` from `other`.

    What is chosen need be in one of them. Of a set that both have sealed, each keeps its own attempt.

    Returns
    -------
    tuple of Moved
        From `one` to `other`, and back.
    """
    if any(hub_place(place, create=True) is not None for place in (one, other)):
        raise BadInput(
            "`sync` is between two stores, and not with the Hugging Face Hub.",
            hint="Run `cryoprobe push` and then `cryoprobe pull` with that place.",
            key="store",
        )
    how, first = TransferOptions(**options), open_store(one).own
    choice, second = how.choice(sets), _target(other, first, how.dry_run)
    move = partial(_move, how=how, everything=choice.everything)
    here, beyond = (_chosen_of(choice, a, b) for a, b in ((first, second), (second, first)))
    own, theirs = arriving(first.url, "pull", trusted=True), _origin(other, second, trust)
    there, back = move(first, second, here, origin=own), move(second, first, beyond, origin=theirs)
    if how.trials and not how.dry_run and any(s.outcome == "moved" for s in back.sets):
        # Trials of the first store on sets that have just come: the second knows these, but has not been told.
        late = move(first, second, {} if choice.everything else _chosen_of(choice, first, second), origin=own)
        there = replace(there, trials=there.trials + late.trials, predictions=there.predictions + late.predictions)
    return there, back


def take_in(store: str | Path | Store, archive: Store, trust: bool, reporter: Reporter) -> Moved:
    """Copy the set of an archive, as `pull` would."""
    target = _target(store, archive, dry_run=False)
    file = Path(archive.url).absolute()
    origin = arriving(str(file), "import", trusted=trust or is_trusted(file))
    return _move(archive, target, archive.set_ids(), TransferOptions(reporter=reporter), origin, everything=True)


_NO_UNITS = "with the Hugging Face Hub, which holds whole sets"


def _push_to_hub(source: Store, place: HubPlace, choice: Choice, how: TransferOptions) -> Moved:
    from ..hub.sharing import Sending, push_to_hub

    _refuse(how, units=_NO_UNITS, link="with the Hugging Face Hub: nothing is linked there")
    sending = Sending(chosen(source, choice), choice.everything, how.trials, how.private, how.dry_run)
    return push_to_hub(source, place, sending, reporter_for(how.progress, how.reporter))


def _refuse(how: TransferOptions, **where: str) -> None:
    """Raise `BadInput` for options that were given and mean nothing, with the reason for each."""
    for option, reason in where.items():
        if getattr(how, option):
            raise BadInput(f"--{option} is not possible {reason}.", hint=f"Leave --{option} out.", key=option)


def _origin(place: str | Path | Store, source: Store, trust: bool) -> Origin:
    """Return where a source is, and whether it is trusted: as it was asked for, or by a configuration file."""
    named = source.url if isinstance(place, Store) else place
    return arriving(source.url, "pull", trusted=trust or is_trusted(named))


def _target(place: str | Path | Store, source: Store, dry_run: bool) -> Store:
    """Open the store to be written, make it if there is none, and refuse the source itself.

    Of a name that stands for several stores it is the one that is written to: what those below have, it lacks.
    """
    try:
        target = open_store(place, create=not dry_run).own
    except NotFound:
        if not dry_run:
            raise
        if not isinstance(place, Store):
            layers_at(place, create=True)  # what would be refused is refused now
        nothing = MemoryBackend()  # it would be made
        write_marker(nothing)
        nothing.url = str(place)
        target = Store(nothing)
    a, b = source.backend, target.backend
    linked = isinstance(a, LocalBackend) and isinstance(b, LocalBackend) and a.root.resolve() == b.root.resolve()
    if linked or a.url == b.url:
        raise BadInput(f"{target.url} is the same store.", hint="Name another one.", key="store")
    return target


def _chosen_of(choice: Choice, store: Store, other: Store) -> dict[str, str]:
    """Return what is meant of one store, where what is meant need be in one of the two."""
    found: dict[str, str] = {}
    for part in [choice._replace(sets=[s]) for s in choice.sets] or [choice]:
        try:
            found |= chosen(store, part)
        except NotFound:
            chosen(other, part)
    return found


def _move(
    source: Store, target: Store, sets: dict[str, str], how: TransferOptions, origin: Origin, *, everything: bool
) -> Moved:
    plan = plan_transfer(source, target, sets, origin=origin, trials=how.trials, units=how.units, everything=everything)
    if how.dry_run:
        return foretold(source, target, plan)
    return TransferRun(source.backend, target, plan, reporter_for(how.progress, how.reporter), link=how.link).run()
