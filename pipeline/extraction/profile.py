"""Where the time of an extraction goes: what each stage takes, and for which of them the others wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_ADVICE = {
    "plan": "Reading and hashing files, or a store that answers slowly, is what holds it up: a faster disk or network.",
    "decode": "Decoding is what holds it up: more --workers; or --fast-decode or --decoder nvjpeg, each another key.",
    "encode": "The encoder is what holds it up: another --precision (another key), --batch-size auto, or more devices; "
    "`extract --suggest` measures them.",
    "seal": "Writing is what holds it up: a faster store, or larger --unit-rows.",
}


@dataclass
class _Stage:
    seconds: float = 0.0
    items: int = 0


@dataclass
class Profile:
    """Seconds that threads spent in stages, and that the joining thread waited for them.

    Attributes
    ----------
    wall : float
        Seconds since it was made.
    """

    _began: float = field(default_factory=time.monotonic)
    _stages: dict[str, _Stage] = field(default_factory=dict)
    _waits: dict[str, float] = field(default_factory=dict)
    _within: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def measured(self, stage: str, items: int = 1) -> Iterator[None]:
        """Count what is done here as work of a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            with self._lock:
                entry = self._stages.setdefault(stage, _Stage())
                entry.seconds += seconds
                entry.items += items

    @contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """Count what is done here as waiting for a stage, but for what is waited for another one within."""
        began, before, self._within = time.perf_counter(), self._within, 0.0
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self._waits[stage] = self._waits.get(stage, 0.0) + seconds - self._within
            self._within = before + seconds

    @property
    def wall(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    @property
    def bottleneck(self) -> str | None:
        """The stage that was waited for longest; None if nothing was."""
        return max(self._waits, key=self._waits.__getitem__, default=None)

    def lines(self) -> list[str]:
        """Return a table, a stage to a line, and what to change."""
        wall, names = self.wall, dict.fromkeys([*self._stages, *self._waits])
        lines = [f"{'stage':8}  {'items':>9}  {'thread s':>8}  {'ms/item':>8}  waited for, of {wall:.1f} s"]
        for name in names:
            stage = self._stages.get(name, _Stage())
            each = 1000 * stage.seconds / stage.items if stage.items else 0.0
            share = self._waits.get(name, 0.0) / wall
            lines.append(f"{name:8}  {stage.items:9,}  {stage.seconds:8.1f}  {each:8.2f}  {share:.1%}")
        encoded = "encode" in self._stages
        return [*lines, _ADVICE.get(self.bottleneck or "", "") if encoded else "Nothing was encoded."]
