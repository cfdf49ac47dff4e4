"""What is run in every trial of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from .probes import ProbeRequest, needs_validation
from .protocols import Protocol, protocol_named
from .resolve import Sets
from .trial_rows import Carving

PLAIN = "plain"


@dataclass(frozen=True)
class Plan:
    """What is run in every trial of one call.

    Parameters
    ----------
    request : ProbeRequest or None
        The probe; None where the protocol prescribes it.
    protocol : str
        `PLAIN`, or a protocol's name.
    parameters : dict
        Of the protocol, complete.
    test_seed : int
        See `Carving`.
    memory : int or None
        Bytes that a fit may take beside its features, where these are read for every pass.
    metric : str
        The score that is reported; see `Protocol.score`. Empty where it is not settled yet, and for a plain probe.
    """

    request: ProbeRequest | None
    protocol: str
    parameters: Mapping[str, JsonValue]
    test_seed: int
    memory: int | None = None
    metric: str = ""

    @property
    def published(self) -> Protocol | None:
        """The protocol; None for the plain one."""
        return None if self.protocol == PLAIN else protocol_named(self.protocol)

    @property
    def raw(self) -> bool:
        """Whether features are wanted as the encoder gave them."""
        return self.published is not None and self.published.features == "raw"

    @property
    def carving(self) -> Carving:
        """How rows are drawn and held out."""
        p = self.published
        if p is None:
            return Carving(test_seed=self.test_seed)
        return Carving(p.draw, p.hold_out, p.val_shots, p.rows, self.test_seed)

    @property
    def chooses(self) -> bool:
        """Whether a value is chosen on validation rows; a protocol may do without where there are none."""
        if self.request is not None:
            return needs_validation(self.request)
        return self.published is not None and self.published.validation != "none"

    def choosing(self, sets: Sets) -> bool:
        """Say whether validation rows are wanted."""
        return self.chooses and (self.request is not None or sets.val is not None)
