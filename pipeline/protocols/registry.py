"""The protocols by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from ...errors import BadInput
from .base import Protocol
from .clip import CLIP, CLIP_README
from .clip_benchmark import CLIP_BENCHMARK
from .dinov2 import DINOV2_KNN, DINOV2_LINEAR, DINOV2_LINEAR_TESTSELECT, DINOV2_LOGREG
from .few_shot import BIGVISION_FEWSHOT, COOP_FEWSHOT, MIEB
from .vtab import VTAB_1K

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            CLIP,
            CLIP_README,
            CLIP_BENCHMARK,
            DINOV2_KNN,
            DINOV2_LOGREG,
            DINOV2_LINEAR,
            DINOV2_LINEAR_TESTSELECT,
            BIGVISION_FEWSHOT,
            COOP_FEWSHOT,
            MIEB,
            VTAB_1K,
        )
    }
)


@dataclass(frozen=True)
class ProtocolInfo:
    """One row of the table of protocols."""

    name: str
    description: str
    source: str
    features: str
    tap: str | None
    validation: str
    parameters: dict[str, JsonValue]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    remarks: tuple[str, ...]


def protocol_named(name: str) -> Protocol:
    """Return a protocol.

    Raises
    ------
    BadInput
        If there is none of that name.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = difflib.get_close_matches(name, PROTOCOLS, n=1)
    raise BadInput(
        f"There is no protocol called {name!r}" + (f"; did you mean {close[0]}?" if close else "."),
        hint=f"Give one of {', '.join(PROTOCOLS)}; `cryoprobe protocols` describes them.",
        key="protocol",
        found=name,
    )


def list_protocols() -> list[ProtocolInfo]:
    """Return what each protocol prescribes."""
    return [
        ProtocolInfo(
            p.name,
            p.description,
            p.source,
            p.features,
            p.tap,
            p.validation,
            dict(p.parameters),
            p.shots,
            p.seeds,
            p.remarks,
        )
        for p in PROTOCOLS.values()
    ]
