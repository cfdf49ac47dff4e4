"""What runs on a Ray cluster for one trial of `probe`: the rows are read from the store, once in a process."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from ...errors import Conflict, CryoprobeError
from ...stores.places import StorePlaces
from ..trials.joined_sets import opened
from ..trials.key import TrialKey, code_in
from ..trials.memory import available, explained
from ..trials.plan import TrialPlan
from ..trials.rows import TrialRows
from ..trials.run import RunTrial, run_trial
from ..trials.sets import HeldOut, TrialSets
from .caller import Caller


class RowsWanted(NamedTuple):
    """Which rows the trials of a call have, by what another process can open.

    Parameters
    ----------
    store : StorePlaces
    train : str
        Id of the set, or several with ``+`` between them.
    test, val : str, HeldOut or None
        The same, or a share of train.
    raw : bool
    memory : int or None
        Bytes that a process may take.
    """

    store: StorePlaces
    train: str
    test: str | HeldOut
    val: str | HeldOut | None
    raw: bool
    memory: int | None

    @classmethod
    def of(cls, store: StorePlaces, sets: TrialSets, *, raw: bool, memory: int | None) -> RowsWanted:
        """Return what stands for the rows of these sets."""
        test = sets.test if isinstance(sets.test, HeldOut) else sets.test.id
        val = sets.val if sets.val is None or isinstance(sets.val, HeldOut) else sets.val.id
        return cls(store, sets.train.id, test, val, raw, memory)


def run_on_node(caller: Caller, wanted: RowsWanted, plan: TrialPlan, key: TrialKey) -> RunTrial | CryoprobeError:
    """Run one trial; return what came of it, or what is wrong."""
    try:
        caller.stand_in()
        if code_in(plan) != key.code:
            raise Conflict(
                f"The node {socket.gethostname()} has other code of {plan.what} than the caller.",
                hint="Install the same on all nodes.",
                key=plan.what,
            )
        rows, left = _loaded(wanted)
        if rows.streamed:
            plan = replace(plan, memory=left)
        with explained(wanted.memory, left):
            done = run_trial(rows, plan, key, lambda line: None)
    except CryoprobeError as e:
        return e
    return done._replace(outcome=None)  # not the estimator, and the predictions only as they are kept


@lru_cache(maxsize=1)
def _loaded(wanted: RowsWanted) -> tuple[TrialRows, int | None]:
    """Return the rows, and how many bytes are left to a fit if those are bounded."""
    left = None if wanted.memory is None else available(wanted.memory)
    store = wanted.store.open()
    test, val = (opened(store, part) if isinstance(part, str) else part for part in (wanted.test, wanted.val))
    assert test is not None
    return TrialRows(TrialSets(opened(store, wanted.train), test, val, {}), raw=wanted.raw, memory=left), left
