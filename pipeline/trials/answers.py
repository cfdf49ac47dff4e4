"""Which stored results a call of `probe` may answer from, and what stored results of others are left unused.

Only results of this store's own, or of a trusted origin, on the very sets that are probed now: a set that came from
elsewhere and is not trusted may have been replaced by one's own of the same id, and then its results say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...amounts import count
from ...stores.store import Origin, Store
from .joined_sets import stored_parts
from .result import Trial, check_stored
from .sets import TrialSets


@dataclass(frozen=True)
class Answers:
    """What the store has of some trials.

    Parameters
    ----------
    results : dict of str to Trial
        By id: those that may be answered from, with ``origin`` if they came from elsewhere.
    replaced : set of str
        Trials of which a result is stored that is not to stay.
    notes : list of str
        What is left unused.
    """

    results: dict[str, Trial] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def origins_of(store: Store, sets: TrialSets) -> dict[str, dict[str, str]]:
    """Return for each set that is not trusted where it came from, and the checksum of its manifest.

    By the name of its part, and by that and its id where a part is made of the sets of several taps.
    """
    found: dict[str, dict[str, str]] = {}
    for part, value in sets.stored():
        several = stored_parts(value)
        for one in several:
            if (origin := store.origin_of(one)) is not None:
                which = part if len(several) == 1 else f"{part} {one.id}"
                found[which] = {"from": origin.place, "manifest": one.manifest.checksum}
    return found


def remarks_on(origins: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a remark on each set that is not trusted."""
    told = []
    for which, origin in origins.items():
        part, _, set_ = which.partition(" ")
        one = f"the {part} set {set_[:12]}".rstrip()
        told.append(f"{one} came from {origin['from']}, which is not trusted")
    return told


def answers(
    store: Store, trials: Sequence[str], origins: Mapping[str, Mapping[str, str]], *, rerun: bool = False
) -> Answers:
    """Look up trials.

    Parameters
    ----------
    store : Store
    trials : sequence of str
        Ids.
    origins : mapping
        Of the sets that are probed, as `origins_of` returned them.
    rerun : bool
        Answer from none.
    """
    found = Answers()
    strangers: dict[Origin, int] = {}
    for trial in dict.fromkeys(trials):
        stored = store.trial(trial, trusted=True)
        result = None if stored is None or rerun else check_stored(stored, store.url)
        if result is not None and result.origins == origins:
            place = store.arrival_of_trial(trial)
            found.results[trial] = result if place is None else result.model_copy(update={"origin": place})
            continue
        origin = store.origin_of_trial(trial) if stored is None else None
        if origin is not None:
            strangers[origin] = strangers.get(origin, 0) + 1
        if not origins:  # a result on sets of others takes nobody's place
            found.replaced.update({trial} if stored is not None or origin is not None else ())
    for origin, n in strangers.items():
        found.notes.append(
            f"{count(n, 'stored result')} from {origin.place} {'is' if n == 1 else 'are'} not used, since that is not "
            f"trusted. To trust it: {origin.remedy(store.url)}"
        )
    return found
