"""What of a protocol belongs into a trial's key, if a package brings it: whatever changes the numbers."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pydantic import JsonValue

from ...errors import BadInput
from ..probes.own_code import Code, code_behind, versions_of
from .base import Protocol
from .registry import PROTOCOLS, brought_protocol


def code_of(protocol: Protocol) -> Code:
    """Return the code that a protocol runs beside Cryoprobe's.

    Of Cryoprobe's own, that is the versions of the packages whose estimators it uses. Of one that a package brings, it
    is also the source of the module that the entry point leads to, of those that define the protocol's functions, and
    of all that these import.

    Raises
    ------
    BadInput
        If one of the protocol's `packages` is not installed.
    """
    try:
        versions = versions_of(protocol.packages)
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(
            f"Protocol {protocol.name} uses the package {error.name}, which is not installed.",
            hint=f"Install it: pip install {error.name}",
            key="protocol",
        ) from error
    brought = None if _is_ours(protocol) else brought_protocol(protocol.name)
    if brought is None:
        return Code(versions=versions)
    called = (protocol.run, protocol.draw, protocol.hold_out, protocol.metric_of)
    modules = [brought.module, *(module for function in called if function is not None for module in _homes(function))]
    code = code_behind(modules, [module.partition(".")[0] for module in modules])
    code.versions |= versions
    return code


def prescribed(protocol: Protocol) -> dict[str, JsonValue]:
    """Return what a protocol that a package brings prescribes; empty for Cryoprobe's own.

    The name alone says what Cryoprobe's own prescribe, since a change of one raises the schema of trials. A package may
    change its protocol at any time, and read what it prescribes from a file.
    """
    if _is_ours(protocol):
        return {}
    return {
        "features": protocol.features,
        "validation": protocol.validation,
        "val_fraction": protocol.val_fraction,
        "val_shots": protocol.val_shots,
        "rows": None if protocol.rows is None else list(protocol.rows),
        "parameters": dict(protocol.parameters),
        "random": protocol.random,
    }


def _is_ours(protocol: Protocol) -> bool:
    return PROTOCOLS.get(protocol.name) is protocol


def _homes(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the modules that define a function: of a partial also those of its arguments, of a method its object's."""
    if isinstance(function, partial):
        yield from _homes(function.func)
        for value in (*function.args, *function.keywords.values()):
            if callable(value):
                yield from _homes(value)
        return
    function = inspect.unwrap(function)
    yield str(getattr(function, "__module__", None) or type(function).__module__)
    if (owner := getattr(function, "__self__", None)) is not None:
        yield type(owner).__module__
