"""Whatever the order of listings, reads, seals, removals, kills and collections, what somebody was told holds.

``CRYOPROBE_SEARCH_DEPTH=4`` searches as deep from every beginning, which takes hours; 3 takes some minutes. Deeper
orders are drawn at random: ``CRYOPROBE_SEARCH_WALKS=1000`` draws so many of each, ``CRYOPROBE_SEARCH_SEED`` other ones.
"""

from __future__ import annotations

import os

import pytest
from support.exploring import BEGINNINGS, EVENTS, Time, play, prepare, search, wander

pytestmark = pytest.mark.slow

DEPTH = int(os.environ.get("CRYOPROBE_SEARCH_DEPTH", "0"))
WALKS = int(os.environ.get("CRYOPROBE_SEARCH_WALKS", "8"))
SEED = int(os.environ.get("CRYOPROBE_SEARCH_SEED", "0"))

TIMES: tuple[Time, ...] = ("no grace", "a day passes", "a day back")


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_every_sequence_of_events(beginning: str, time: Time) -> None:
    depth = DEPTH or (2 if time == "no grace" else 1)
    searched = search(BEGINNINGS[beginning], time, depth)
    assert searched.sequences >= len(EVENTS) * (1 + 5 * (depth > 1))
    assert searched.states >= 5 * depth


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_sequences_of_six_events_drawn_at_random(beginning: str, time: Time) -> None:
    searched = wander(BEGINNINGS[beginning], time, depth=6, walks=WALKS, seed=SEED)
    assert searched.sequences == WALKS
    assert searched.states >= WALKS // 4


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize(
    "events",
    [
        # d3: what is sealed after a removal has the ids of what was removed.
        "extract, rm now, seal, kill, gc, extract",
        # A seal between a collector's listing and its reading of seals.
        "extract, list, extract B, gc",
        "extract, rm now, list, seal, gc, seal, kill",
        # A seal that arrives while a collector deletes its data, of a writer that is dead then; and somebody adopts it.
        "seal, write, write, read, seal, kill, extract, gc",
        "write, read, seal, extract, kill, gc",
        # A collector is about to delete what somebody else deletes, and what is then sealed anew.
        "extract, rm, read, rm now, extract, gc",
        "extract, half rm, extract, kill, gc, rm now, extract",
        # A removal that was interrupted, and is not taken for one of what is sealed later.
        "extract, half rm, kill, extract, gc, rm, seal, gc",
        # Rows are read in the instant in which a writer has sealed what a collector is deleting.
        "seal, write, write, kill, gc, write, read, read, write",
        # Killed collectors.
        "seal, extract, read, kill gc, extract, gc",
        "extract, rm, read, kill gc, extract, rm now, gc",
    ],
)
def test_orders_that_once_went_wrong(events: str, time: Time) -> None:
    sequence = events.split(", ")
    seen: set[str] = set()
    for n in range(1, len(sequence) + 1):
        play((), time, sequence[:n], seen, each=True)
    assert seen
