"""The protocols by name: Cryoprobe's own, and those that installed packages bring."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from ...errors import BadInput
from .. import doors
from .base import Protocol
from .clip import CLIP, CLIP_README
from .clip_benchmark import CLIP_BENCHMARK
from .dino_linear import DINOV2_LINEAR, DINOV2_LINEAR_TESTSELECT, DINOV3_LINEAR
from .dinov2 import DINOV2_KNN, DINOV2_LOGREG
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
            DINOV3_LINEAR,
            BIGVISION_FEWSHOT,
            COOP_FEWSHOT,
            MIEB,
            VTAB_1K,
        )
    }
)

_TAKEN = (*PROTOCOLS, "plain")
"""Names that packages cannot give: ``plain`` is the probe that is asked for, without a protocol."""


@dataclass(frozen=True)
class ProtocolInfo:
    """One row of the table of protocols.

    Parameters
    ----------
    name, description, source, features, tap, validation, parameters, shots, seeds, remarks
        See `Protocol`.
    package : str or None
        Which installed package brings it; None for Cryoprobe's own.
    problem : str or None
        Why the package's protocol cannot be used, and all other fields but the name are empty; None if it can.
    """

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
    package: str | None = None
    problem: str | None = None


def protocol_named(name: str) -> Protocol:
    """Return a protocol, Cryoprobe's own or an installed package's.

    Raises
    ------
    BadInput
        If there is none of that name, or the package's cannot be used.

    Examples
    --------
    >>> protocol_named("mieb").shots
    (16,)
    """
    if name in PROTOCOLS:
        doors.warn_if_taken(name, doors.PROTOCOLS)
        return PROTOCOLS[name]
    if (found := brought_protocol(name)) is not None:
        return found.thing
    known = [*PROTOCOLS, *sorted(set(doors.announced(doors.PROTOCOLS)) - set(_TAKEN))]
    close = difflib.get_close_matches(name, known, n=1)
    raise BadInput(
        f"There is no protocol called {name!r}" + (f"; did you mean {close[0]}?" if close else "."),
        hint=f"Give one of {', '.join(known)}; `cryoprobe protocols` describes them.",
        key="protocol",
        found=name,
    )


def brought_protocol(name: str) -> doors.Brought[Protocol] | None:
    """Return the protocol that an installed package brings; None for Cryoprobe's own."""
    return None if name in _TAKEN else doors.brought(name, doors.PROTOCOLS, Protocol)


def list_protocols() -> list[ProtocolInfo]:
    """Return what each protocol prescribes.

    A protocol of an installed package that cannot be used is a row with its `problem`.

    Examples
    --------
    >>> next(p.features for p in list_protocols() if p.name == "clip-benchmark")
    'unit'
    """
    table = [_row(protocol) for protocol in PROTOCOLS.values()]
    for found in doors.all_brought(doors.PROTOCOLS, Protocol, _TAKEN):
        if isinstance(found, doors.Broken):
            table.append(ProtocolInfo(found.name, "", "", "", None, "", {}, (), (), (), found.package, found.problem))
        else:
            table.append(_row(found.thing, found.package))
    return table


def _row(p: Protocol, package: str | None = None) -> ProtocolInfo:
    return ProtocolInfo(
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
        package,
    )
