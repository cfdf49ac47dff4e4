"""What a long run tells whoever watches. The console has implementations; a program may bring its own."""

from __future__ import annotations


class Reporter:
    """Receives progress; this one keeps it to itself. Sub-class it to show something."""

    def begin(self, title: str, total: int) -> None:
        """Start a task of `total` samples."""

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        """Count samples that are done, by how."""

    def begin_bytes(self, title: str, total: int) -> None:
        """Start a task of `total` bytes."""

    def advance_bytes(self, n: int) -> None:
        """Count bytes that are done."""

    def end(self) -> None:
        """Finish the task, whether or not it is complete."""

    def note(self, message: str) -> None:
        """Say something worth knowing, once."""
