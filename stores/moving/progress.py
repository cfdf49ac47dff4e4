"""What a long task of the store tells whoever watches."""

from __future__ import annotations

from typing import Protocol


class ByteProgress(Protocol):
    """Receives how many bytes are done; a `cryoprobe.Reporter` is one."""

    def begin_bytes(self, title: str, total: int) -> None:
        """Start a task of `total` bytes."""

    def advance_bytes(self, n: int) -> None:
        """Count bytes that are done."""

    def end(self) -> None:
        """Finish the task."""
