"""Claims on samples: who is encoding which images right now, so that extractors share the work however they cut it.

A claim lists the sample ids that it covers. Two extractors may come with different data sets, orders and block sizes:
what counts is whether an image is covered, not by which block.

Who claims looks first, and leaves out what others cover. Two may look at the same moment and then ask for the same
images. So a claim is written twice:

    1. look, and ask for what nobody covers        2. look again: what others hold is theirs, and so is what they
                                                      ask for too if their claim's key is the lesser
    3. write that the rest is held                 4. look before the first batch: what a claim with a lesser key
                                                      covers is put off

Say that the one with the greater key does not see the other at step 2. Then the other's claim was written after that;
if it is to overlook in turn that this one holds, it was written before step 3, and is seen at step 4.

Who has nothing else to do overtakes who is slow or stuck. A claim says how many of its images, in their order, are or
may be begun before its owner looks again (``begun``); of the others the last half can be taken, by a claim that says
over which one it is (``over``). The owner writes how far it goes and then looks who has overtaken it; who overtakes
writes its claim and then reads how far the owner goes: one of them sees the other, so that no image is both's.

As all claims these are advice, see `claims`. The first eight bytes of an id stand for it: should two agree in them, one
of the images is encoded a little later.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from ...parallel import each
from ..backends.backend import Backend
from .claims import HEARTBEAT_SECONDS, SILENCE_SECONDS, Claims

_PREFIX_BYTES = 8

OVERTAKEN_SECONDS = 10.0
"""A claim is not overtaken before one has seen it for so long: it may be all but done."""
STALLED_SECONDS = 60.0
"""A claim that has not come on for so long, and for three times as long as ever before, is taken whole."""


@dataclass(frozen=True)
class SampleClaim:
    """A claim that is held.

    Parameters
    ----------
    encoder_id : str
    key : str
        Of its object.
    ids : dict of bytes to int
        The sample ids that it covers, 32 bytes each, in the order in which they are encoded; and the place of each
        among those that it covered first.
    over : tuple of str
        Keys of the claims that it has overtaken.
    """

    encoder_id: str
    key: str
    ids: dict[bytes, int]
    over: tuple[str, ...] = ()

    def only(self, ids: Iterable[bytes]) -> SampleClaim:
        """Return it without all but some of its ids."""
        wanted = set(ids)
        return SampleClaim(self.encoder_id, self.key, {i: n for i, n in self.ids.items() if i in wanted}, self.over)


@dataclass
class _Seen:
    """What was seen of somebody else's claim.

    Parameters
    ----------
    covers : list of bytes
        Prefixes of ids, in their order.
    over : frozenset of str
        Keys of the claims that it has overtaken.
    begun : int
        How many are begun.
    is_held : bool
        Whether that is its last word on what it covers.
    since, came_on : float
        When it was first seen, and when `begun` was last seen to change.
    longest : float
        For how long it has not come on before, at most.
    """

    covers: list[bytes] = field(default_factory=list)
    over: frozenset[str] = frozenset()
    begun: int = 0
    is_held: bool = False
    since: float = field(default_factory=time.monotonic)
    came_on: float = field(default_factory=time.monotonic)
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.prefixes = frozenset(self.covers)

    def look_again(self, claim: Mapping[str, object]) -> None:
        """Take note of how far it has come."""
        begun, now = _begun(claim), time.monotonic()
        if begun != self.begun:
            self.longest = max(self.longest, now - self.came_on)
            self.begun, self.came_on = begun, now

    @property
    def free(self) -> list[bytes]:
        """Those that can be taken from it: none at first; all of them when it is stuck."""
        now = time.monotonic()
        if now - self.since < OVERTAKEN_SECONDS:
            return []
        rest = self.covers[self.begun :]
        is_stuck = now - self.came_on > max(STALLED_SECONDS, 3 * self.longest)
        return self.covers if not rest and is_stuck else rest


class SampleClaims(Claims):
    """The claims of one extractor on samples of one store; see `Claims`. Two threads may share it."""

    def __init__(
        self,
        backend: Backend,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__(backend, heartbeat_seconds, silence_seconds)
        self._claimed: dict[str, _Seen] = {}  # somebody else's claim -> what was seen of it
        self._number = 0
        self._looking = threading.RLock()

    def take_samples(self, encoder_id: str, ids: Sequence[bytes], begun: int = 0) -> SampleClaim | None:
        """Claim those of `ids` that nobody else is encoding; None if there are none.

        The claims of the dead are removed.

        Parameters
        ----------
        encoder_id : str
        ids : sequence of bytes
            Sample ids, in the order in which they will be encoded.
        begun : int
            How many of them will be encoded before `still_mine` is asked.
        """
        with self._looking:
            return self._take_samples(encoder_id, ids, begun)

    def _take_samples(self, encoder_id: str, ids: Sequence[bytes], begun: int) -> SampleClaim | None:
        self.touch()
        others = self._others(self._listed(encoder_id))
        alive = self._living(encoder_id, others, ids)
        free = self._uncovered(ids, alive)
        if not free:
            return None
        key = self._new_key(encoder_id)
        self._write(encoder_id, key, free, held=False)
        rivals = []
        for rival in self._others(self._listed(encoder_id)):
            if rival in others:
                continue
            claim, lives = self._read(rival)
            self._claimed[rival] = _seen(claim) if lives else _Seen()
            if claim.get("held") is True or rival < key:
                rivals.append(rival)
        mine = self._uncovered(free, rivals)
        if mine:
            self._write(encoder_id, key, mine, held=True, begun=min(begun, len(mine)))
        else:
            self.release(encoder_id, key)
        return _claim(encoder_id, key, mine) if mine else None

    def still_mine(self, claim: SampleClaim, ids: Iterable[bytes], begun: int | None = None) -> list[bytes]:
        """Return those of the claimed `ids` that no claim covers whose key is less, and nobody has overtaken.

        None of them if the claim itself is gone: somebody took its owner for dead, and encodes its images.

        Parameters
        ----------
        claim : SampleClaim
        ids : iterable of bytes
        begun : int, optional
            How many of the claim's ids, in their order, are begun before this is asked again; by default as before.
        """
        with self._looking:
            if begun is not None:
                self._tell_begun(claim, begun)
            listed = self._listed(claim.encoder_id)
            if claim.key not in listed:
                return []
            others = [key for key in self._others(listed) if key not in claim.over]
            for key in others:
                if key not in self._claimed:
                    self._claimed[key] = _seen(self._read(key)[0])
            theirs = [key for key in others if key < claim.key or claim.key in self._claimed[key].over]
            return self._uncovered((i for i in ids if i in claim.ids), theirs)

    def overtake(self, encoder_id: str, ids: Sequence[bytes]) -> SampleClaim | None:
        """Claim the last half of those of `ids` that somebody slow has claimed and not begun; None if there are none.

        Whose claim has not come on for long is taken for stuck: then also what it has begun.
        """
        with self._looking:
            alive = self._living(encoder_id, self._others(self._listed(encoder_id)), ids)
            wanted = {i[:_PREFIX_BYTES]: i for i in ids}
            most: list[bytes] = []
            slowest = ""
            for key in alive:
                taken = {p for k in alive if key in self._claimed[k].over for p in self._claimed[k].covers}
                free = [wanted[p] for p in self._claimed[key].free if p in wanted and p not in taken]
                if len(free) > len(most):
                    most, slowest = free, key
            if not most:
                return None
            seen, mine = self._claimed[slowest], most[len(most) // 2 :]
            over = (slowest, *sorted(seen.over))
            key = self._new_key(encoder_id)
            self._write(encoder_id, key, mine, held=True, over=over)
            begun_before = seen.begun
            claim, _ = self._read(slowest)
            seen.look_again(claim)
            if seen.begun > begun_before:  # it has come on meanwhile
                begun = set(seen.covers[: seen.begun])
                mine = [i for i in mine if i[:_PREFIX_BYTES] not in begun]
                if not mine:
                    self.release(encoder_id, key)
                    return None
                self._write(encoder_id, key, mine, held=True, over=over)
            return _claim(encoder_id, key, mine, over)

    def _living(self, encoder_id: str, others: Sequence[str], ids: Sequence[bytes]) -> list[str]:
        """Look at the claims of others that matter for some ids; remove those of the dead, and return the rest."""
        gone = [k for k in self._claimed if k.startswith(f"claims/{encoder_id}/") and k not in others]
        for key in gone:
            del self._claimed[key]
        # What a claim that is held covers stays: only whether its owner lives, and how far it is, has to be read again.
        wanted = {i[:_PREFIX_BYTES] for i in ids}
        known = ((key, self._claimed.get(key)) for key in others)
        matter = [key for key, seen in known if seen is None or not (seen.is_held and wanted.isdisjoint(seen.covers))]
        alive = []
        for key, (claim, lives) in zip(matter, each(self._read, matter), strict=True):
            if not lives:
                self._backend.delete(key)
                self._claimed[key] = _Seen()
                continue
            alive.append(key)
            seen, now = self._claimed.get(key), _seen(claim)
            if seen is None or seen.covers != now.covers:
                self._claimed[key] = now
            else:
                seen.look_again(claim)
        return alive

    def _new_key(self, encoder_id: str) -> str:
        self._number += 1
        return f"claims/{encoder_id}/{self._owner}-{self._number}.json"

    def release_samples(self, claim: SampleClaim) -> None:
        """Give a claim back, when its images are sealed or will not be encoded."""
        self.release(claim.encoder_id, claim.key)

    def _write(
        self,
        encoder_id: str,
        key: str,
        ids: Sequence[bytes],
        *,
        held: bool,
        begun: int = 0,
        over: Sequence[str] = (),
    ) -> None:
        prefixes = base64.b64encode(b"".join(i[:_PREFIX_BYTES] for i in ids)).decode()
        more: dict[str, JsonValue] = {"begun": begun, "held": held, "samples": prefixes}
        with self._lock:
            self._more[key] = {**more, "over": list(over)} if over else more
            self._held[encoder_id, key] = key
            self._backend.put(key, self._content(key, 0))

    def _tell_begun(self, claim: SampleClaim, begun: int) -> None:
        with self._lock:
            more = self._more.get(claim.key)
            if more is None or more["begun"] == begun or not self._backend.exists(claim.key):
                return  # nothing new; or somebody took us for dead
            more["begun"] = begun
            self._backend.put(claim.key, self._content(claim.key, 0))

    def _listed(self, encoder_id: str) -> list[str]:
        return list(self._backend.keys(f"claims/{encoder_id}/"))

    def _others(self, listed: Sequence[str]) -> list[str]:
        return [key for key in listed if not key.rpartition("/")[2].startswith(f"{self._owner}-")]

    def _uncovered(self, ids: Iterable[bytes], claims: Sequence[str]) -> list[bytes]:
        covered = [self._claimed[key].prefixes for key in claims]
        return [i for i in ids if not any(i[:_PREFIX_BYTES] in prefixes for prefixes in covered)]


def _claim(encoder_id: str, key: str, ids: Sequence[bytes], over: tuple[str, ...] = ()) -> SampleClaim:
    return SampleClaim(encoder_id, key, {i: place for place, i in enumerate(ids)}, over)


def _seen(claim: Mapping[str, object]) -> _Seen:
    """Return what a claim says; that it covers nothing if it is on something else, or damaged."""
    samples, over = claim.get("samples"), claim.get("over")
    try:
        raw = base64.b64decode(samples, validate=True) if isinstance(samples, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    covers = [raw[at : at + _PREFIX_BYTES] for at in range(0, len(raw), _PREFIX_BYTES)]
    keys = frozenset(key for key in over if isinstance(key, str)) if isinstance(over, list) else frozenset()
    return _Seen(covers, keys, _begun(claim), is_held=claim.get("held") is True)


def _begun(claim: Mapping[str, object]) -> int:
    begun = claim.get("begun")
    return begun if isinstance(begun, int) and begun >= 0 else 0
