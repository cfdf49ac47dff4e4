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

As all claims these are advice, see `claims`. The first eight bytes of an id stand for it: should two agree in them, one
of the images is encoded a little later.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...parallel import each
from ..backends.backend import Backend
from .claims import HEARTBEAT_SECONDS, SILENCE_SECONDS, Claims

_PREFIX_BYTES = 8


@dataclass(frozen=True)
class SampleClaim:
    """A claim that is held.

    Parameters
    ----------
    encoder_id : str
    key : str
        Of its object.
    ids : frozenset of bytes
        The sample ids that it covers, 32 bytes each.
    """

    encoder_id: str
    key: str
    ids: frozenset[bytes]


class SampleClaims(Claims):
    """The claims of one extractor on samples of one store; see `Claims`. Two threads may share it."""

    def __init__(
        self,
        backend: Backend,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        super().__init__(backend, heartbeat_seconds, silence_seconds)
        self._covered: dict[str, frozenset[bytes]] = {}  # somebody else's claim -> the prefixes that it covers
        self._number = 0
        self._looking = threading.RLock()

    def take_samples(self, encoder_id: str, ids: Sequence[bytes]) -> SampleClaim | None:
        """Claim those of `ids` that nobody else is encoding; None if there are none.

        The claims of the dead are removed.
        """
        with self._looking:
            return self._take_samples(encoder_id, ids)

    def _take_samples(self, encoder_id: str, ids: Sequence[bytes]) -> SampleClaim | None:
        self.touch()
        others = self._others(self._listed(encoder_id))
        over = [k for k in self._covered if k.startswith(f"claims/{encoder_id}/") and k not in others]
        for key in over:
            del self._covered[key]
        alive = []
        for key, (claim, lives) in zip(others, each(self._read, others), strict=True):
            if lives:
                alive.append(key)
                self._covered[key] = _prefixes(claim)
            else:
                self._backend.delete(key)
                self._covered[key] = frozenset()
        free = self._uncovered(ids, alive)
        if not free:
            return None
        self._number += 1
        key = f"claims/{encoder_id}/{self._owner}-{self._number}.json"
        self._write(encoder_id, key, free, held=False)
        rivals = []
        for rival in self._others(self._listed(encoder_id)):
            if rival in others:
                continue
            claim, lives = self._read(rival)
            self._covered[rival] = _prefixes(claim) if lives else frozenset()
            if claim.get("held") is True or rival < key:
                rivals.append(rival)
        mine = self._uncovered(free, rivals)
        if mine:
            self._write(encoder_id, key, mine, held=True)
        else:
            self.release(encoder_id, key)
        return SampleClaim(encoder_id, key, frozenset(mine)) if mine else None

    def still_mine(self, claim: SampleClaim, ids: Iterable[bytes]) -> list[bytes]:
        """Return those of the claimed `ids` that no claim covers whose key is less.

        None of them if the claim itself is gone: somebody took its owner for dead, and encodes its images.
        """
        with self._looking:
            listed = self._listed(claim.encoder_id)
            if claim.key not in listed:
                return []
            before = [key for key in self._others(listed) if key < claim.key]
            for key in before:
                if key not in self._covered:
                    self._covered[key] = _prefixes(self._read(key)[0])
            return self._uncovered((i for i in ids if i in claim.ids), before)

    def release_samples(self, claim: SampleClaim) -> None:
        """Give a claim back, when its images are sealed or will not be encoded."""
        self.release(claim.encoder_id, claim.key)

    def _write(self, encoder_id: str, key: str, ids: Sequence[bytes], *, held: bool) -> None:
        prefixes = base64.b64encode(b"".join(i[:_PREFIX_BYTES] for i in ids)).decode()
        with self._lock:
            self._more[key] = {"held": held, "samples": prefixes}
            self._held[encoder_id, key] = key
            self._backend.put(key, self._content(key, 0))

    def _listed(self, encoder_id: str) -> list[str]:
        return [info.key for info in self._backend.list(f"claims/{encoder_id}/")]

    def _others(self, listed: Sequence[str]) -> list[str]:
        return [key for key in listed if not key.rpartition("/")[2].startswith(f"{self._owner}-")]

    def _uncovered(self, ids: Iterable[bytes], claims: Sequence[str]) -> list[bytes]:
        covered = [self._covered[key] for key in claims]
        return [i for i in ids if not any(i[:_PREFIX_BYTES] in prefixes for prefixes in covered)]


def _prefixes(claim: Mapping[str, object]) -> frozenset[bytes]:
    """Return the prefixes that a claim covers; none if it is on something else, or damaged."""
    samples = claim.get("samples")
    try:
        raw = base64.b64decode(samples, validate=True) if isinstance(samples, str) else b""
    except (binascii.Error, ValueError):
        return frozenset()
    return frozenset(raw[at : at + _PREFIX_BYTES] for at in range(0, len(raw), _PREFIX_BYTES))
