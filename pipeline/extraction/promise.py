"""The encoder of an extraction: who it is, told at once where that is known, and itself when it is needed."""

from __future__ import annotations

import re

from ...differing_fields import fields_that_differ
from ...progress import Reporter
from ...stores.local.sample_index import now_ns
from ..encoders.base import Encoder
from ..encoders.files_read import files_noted
from ..encoders.known import KnownEncoder, Memory
from ..options import EncoderOptions, RunOptions
from .opening import open_encoder

_USUAL_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
"""Of any other the encoder's library says whether there is such a one."""


class OtherEncoder(Exception):
    """Raised by `Promise.open` if the encoder is not the one that was known by its name: start again with this one."""


class Promise:
    """An encoder that is asked for.

    Parameters
    ----------
    model : str or Encoder
    asked : EncoderOptions
    running : RunOptions
    reporter : Reporter
    trust : bool
        Whether to believe what this machine remembers of it. What is learned is kept either way.

    Attributes
    ----------
    known : KnownEncoder
        Who it is.

    Raises
    ------
    BadInput, NotFound
        If it has to be loaded to know that, and cannot be.
    """

    def __init__(
        self,
        model: str | Encoder,
        asked: EncoderOptions,
        running: RunOptions,
        reporter: Reporter,
        *,
        trust: bool = True,
    ) -> None:
        self._model = model
        self._asked = asked
        self._running = running
        self._reporter = reporter
        self._encoder: Encoder | None = None
        self._memory = Memory(model, asked) if isinstance(model, str) else None
        known = self._memory.recall() if self._memory is not None and trust else None
        if known is None or not _USUAL_DEVICE.fullmatch(running.device):
            known = self._load()
        self.known = known

    @property
    def is_open(self) -> bool:
        """Whether the encoder is loaded."""
        return self._encoder is not None

    def open(self) -> Encoder:
        """Return the encoder, loaded when this is first called.

        Raises
        ------
        OtherEncoder
            If it is not the one that was known by its name; `known` is right then.
        BadInput, NotFound
            If it cannot be loaded.
        """
        if self._encoder is None:
            before, self.known = self.known, self._load()
            if (what := _difference(before, self.known)) is not None:
                self._reporter.note(
                    f"{self.known.name} is another encoder than when it was last loaded on this machine, in {what}: "
                    "what was known of it is replaced."
                )
                raise OtherEncoder
        assert self._encoder is not None
        return self._encoder

    def _load(self) -> KnownEncoder:
        """Load the encoder; remember who it is."""
        started = now_ns()
        with files_noted() as files:
            self._encoder = open_encoder(self._model, self._asked, self._running)
        known = KnownEncoder.of(self._encoder)
        if self._memory is not None:
            self._memory.keep(known, files, started)
        return known


def _difference(before: KnownEncoder, now: KnownEncoder) -> str | None:
    """Return in which fields two differ that should be one; None if they do not."""
    if before.specs == now.specs and before.checkpoint_sha256 == now.checkpoint_sha256:
        return None
    was, is_ = (known.specs[0].model_dump(mode="json") for known in (before, now))
    return ", ".join(fields_that_differ(was, is_)) or "its taps or its file"
