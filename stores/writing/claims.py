"""Claims: who is at work on what right now. This one is on a set that is being sealed; see also `sample_claims`.

A claim is advice. Correctness rests on the seals alone: with every claim lost or wrong, the store stays right and
only time is wasted. A claim whose owner is dead is taken over under the next generation number with `put_if_absent`,
so that of several heirs one wins.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pydantic import JsonValue

from ...canonical import canonical_json
from ...errors import Corrupt, CryoprobeError, NotFound
from ..backends.backend import Backend
from ..format.documents import SMALL, parse_json, read_json
from ..local.processes import machine, process_start

HEARTBEAT_SECONDS = 15.0
SILENCE_SECONDS = 90.0
"""A claim that has not changed for this long, by our own clock, belongs to the dead, or to somebody as good as dead."""

STUCK_SECONDS = 900.0
"""An extractor that has not formed a batch for so long no longer renews its claims: it may wait for ever."""


_owners: set[str] = set()
"""The extractors at work in this process: a claim that an earlier one could not give back must not hold us up."""


class Claims:
    """The claims of one extractor on what it is making in one store.

    Use it as a context manager: it keeps the claims it holds alive, and gives them back at the end.

    Parameters
    ----------
    backend : Backend
    heartbeat_seconds, silence_seconds : float
        How often a held claim is renewed, and how long a foreign one may stay unchanged.
    """

    def __init__(
        self,
        backend: Backend,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._heartbeat_seconds = heartbeat_seconds
        self._silence_seconds = silence_seconds
        self._owner = secrets.token_hex(6)
        _owners.add(self._owner)
        self._held: dict[tuple[str, str], str] = {}  # (encoder, unit) -> key
        self._more: dict[str, dict[str, JsonValue]] = {}  # held key -> what it says beside whose it is
        self._watched: dict[str, tuple[bytes, float]] = {}  # foreign claim's key -> content, when it was first seen
        self._touched: float | None = None  # when the work that is claimed last went on; None if that is not told
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._keep_alive, name="cryoprobe-claims", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        _owners.discard(self._owner)
        if self._thread is not None:
            self._thread.join()
        for encoder_id, unit in list(self._held):
            with suppress(CryoprobeError):  # the claim lapses by itself; the real error is on its way
                self.release(encoder_id, unit)

    def touch(self) -> None:
        """Tell that the work goes on: from the first time on, claims are only renewed while it does."""
        self._touched = time.monotonic()

    def take(self, encoder_id: str, unit: str) -> bool:
        """Claim a set or unit; return whether it is now ours. A claim of the dead is taken over."""
        generations = self._generations(encoder_id, unit)
        generation, newest = max(generations, default=(0, None))
        if newest is not None:
            if newest == self._held.get((encoder_id, unit)):
                return True
            if self._read(newest)[1]:
                return False
        key = f"claims/{encoder_id}/{unit}.{generation + 1}.json"
        if not self._backend.put_if_absent(key, self._content(key, 0)) and not self._is_ours(key):
            return False
        # A listing is no snapshot: while another heir writes its claim and deletes a dead one, it can miss both. What
        # it missed was there before ours was written, so that a second one has it.
        if max(self._generations(encoder_id, unit), default=(0, None))[0] > generation + 1:
            self._backend.delete(key)
            return False
        for _, old in generations:
            self._backend.delete(old)
        with self._lock:
            self._held[encoder_id, unit] = key
        return True

    def is_elsewhere(self, encoder_id: str, unit: str) -> bool:
        """Return whether another process that may be at work has claimed a set or unit."""
        _, newest = max(self._generations(encoder_id, unit), default=(0, None))
        if newest is None:
            return False
        claim, lives = self._read(newest)
        return lives and (claim.get("machine"), claim.get("pid")) != (machine(), os.getpid())

    def release(self, encoder_id: str, unit: str) -> None:
        """Give a claim back, when it is sealed or will not be made."""
        with self._lock:
            key = self._held.pop((encoder_id, unit), None)
            if key is not None:
                self._more.pop(key, None)
                self._backend.delete(key)

    def _generations(self, encoder_id: str, unit: str) -> list[tuple[int, str]]:
        """Return the claims on a set or unit, with the number of each: the highest one stands."""
        folder = f"claims/{encoder_id}/"
        claim = re.compile(rf"{re.escape(folder + unit)}\.([0-9]{{1,9}})\.json")
        matches = [claim.fullmatch(info.key) for info in self._backend.list(folder)]
        return [(int(m[1]), m[0]) for m in matches if m]

    def _is_ours(self, key: str) -> bool:
        """Return whether a claim that exists is our own after all, the answer to its writing having been lost."""
        try:
            claim = read_json(self._backend, key)
        except CryoprobeError:
            return False
        return isinstance(claim, dict) and claim.get("owner") == self._owner

    def _read(self, key: str) -> tuple[dict[str, Any], bool]:
        """Return what a foreign claim says, and whether its owner may still be at work."""
        try:
            content = self._backend.get(key, SMALL)
            claim = parse_json(content, key, self._backend.url)
        except (NotFound, Corrupt):
            return {}, False  # released this instant, or damaged
        if not isinstance(claim, dict):
            return {}, False
        pid, start = claim.get("pid"), claim.get("start")
        if claim.get("machine") == machine() and isinstance(pid, int):
            if process_start(pid) != start:
                return claim, False
            if pid == os.getpid() and claim.get("owner") not in _owners:
                return claim, False
        # A process can live and yet be at a standstill: suspended, or waiting for a disk that is gone.
        seen, since = self._watched.get(key, (None, 0.0))
        if seen != content:
            self._watched[key] = content, time.monotonic()
            return claim, True
        return claim, time.monotonic() - since < self._silence_seconds

    def _content(self, key: str, beat: int) -> bytes:
        pid = os.getpid()
        whose = {"beat": beat, "machine": machine(), "owner": self._owner, "pid": pid, "start": process_start(pid)}
        return canonical_json({**whose, **self._more.get(key, {})})

    def _keep_alive(self) -> None:
        beat = 0
        while not self._stop.wait(self._heartbeat_seconds):
            if self._touched is not None and time.monotonic() - self._touched > STUCK_SECONDS:
                continue
            beat += 1
            with self._lock:  # a claim must not be renewed after it was released
                for key in self._held.values():
                    with suppress(CryoprobeError):
                        if self._backend.exists(key):  # else somebody took us for dead
                            self._backend.put(key, self._content(key, beat))


def is_abandoned(content: bytes, age_seconds: float | None) -> bool:
    """Return whether a claim's owner is dead, or has not renewed it for too long.

    Parameters
    ----------
    content : bytes
        Of the claim.
    age_seconds : float or None
        Since it was last renewed, by one clock; None where that is not known.
    """
    try:
        claim = json.loads(content)
    except (ValueError, RecursionError):
        claim = None
    if isinstance(claim, dict) and claim.get("machine") == machine() and isinstance(claim.get("pid"), int):
        if process_start(claim["pid"]) != claim.get("start"):
            return True
        if claim["pid"] == os.getpid() and claim.get("owner") not in _owners:
            return True
    return age_seconds is not None and age_seconds >= SILENCE_SECONDS
