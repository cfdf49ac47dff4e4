"""What an object of somebody's own holds, as JSON that is hashed: settings, weights, and what its functions refer to.

Code is not looked at: a version stands for it. What has no content that can be told (a lock, a handle) counts by its
class alone.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue

_BARE = frozenset(vars(torch.nn.Module()))
"""Attributes that every module has: of these only `_HELD` count."""

_HELD = ("_parameters", "_buffers", "_modules", "_forward_pre_hooks", "_forward_hooks")


def describe(value: Any) -> Any:
    """Return what a value holds, as JSON.

    Parameters
    ----------
    value : object
        A module, a transform, a function …

    Examples
    --------
    >>> from functools import partial
    >>> describe(partial(max, 1, key=abs))["partial"]
    ['builtins.max', [1], {'key': 'builtins.abs'}]
    """
    return _describe(value, {})


def modules_in(value: Any) -> Iterator[torch.nn.Module]:
    """Yield the modules that a function uses: that it is a method of, or refers to; or the module itself."""
    if isinstance(value, torch.nn.Module):
        yield value
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from modules_in(part)
    elif isinstance(value, types.MethodType):
        yield from modules_in(value.__self__)
    elif isinstance(value, types.FunctionType):
        for held in _referred(value).values():
            if isinstance(held, torch.nn.Module):
                yield held
            elif isinstance(held, types.FunctionType) and held is not value:
                yield from (part for part in _referred(held).values() if isinstance(part, torch.nn.Module))


def qualified(value: Any) -> str:
    """Return the dotted name of a function or class, or of an object's class."""
    owner = value if isinstance(getattr(value, "__qualname__", None), str) else type(value)
    return f"{owner.__module__}.{owner.__qualname__}"


def _describe(value: Any, met: dict[int, int]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float | complex):
        return value if isinstance(value, int) and abs(value) < 2**53 else repr(value)
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, torch.device | logging.Logger):  # where and how it runs
        return None
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return {"array": [str(value.dtype), list(value.shape), hashlib.sha256(np.asarray(value).tobytes()).hexdigest()]}
    if isinstance(value, torch.dtype | torch.Size | np.dtype):
        return str(value)
    if isinstance(value, Enum):
        return [qualified(value), value.name]
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
        return value.__name__ if isinstance(value, types.ModuleType) else qualified(value)
    if id(value) in met:
        return {"again": met[id(value)]}
    met[id(value)] = len(met)
    return _compound(value, met)


def _compound(value: Any, met: dict[int, int]) -> Any:
    if isinstance(value, list | tuple):
        return [_describe(v, met) for v in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted(repr(v) for v in value)}
    if isinstance(value, Mapping):
        return {"map": [[_describe(k, met), _describe(v, met)] for k, v in value.items()]}
    if isinstance(value, functools.partial):
        return {"partial": [_describe(part, met) for part in (value.func, list(value.args))] + [_named(value, met)]}
    if isinstance(value, types.MethodType):
        return {"method": [value.__func__.__qualname__, _describe(value.__self__, met)]}
    if isinstance(value, types.FunctionType):
        held = {name: _describe(v, met) for name, v in sorted(_referred(value).items())}
        return {"function": qualified(value), "defaults": _describe(value.__defaults__, met), "refers": held}
    if isinstance(value, torch.nn.Module):
        return _module(value, met)
    inside: Any = getattr(value, "__dict__", None)
    if isinstance(inside, dict):
        return {"object": qualified(value), "holds": {str(k): _describe(v, met) for k, v in inside.items()}}
    text = repr(value)
    return {"object": qualified(value), "is": "" if " at 0x" in text else text}


def _named(value: functools.partial[Any], met: dict[int, int]) -> dict[str, JsonValue]:
    return {name: _describe(v, met) for name, v in value.keywords.items()}


def _module(module: torch.nn.Module, met: dict[int, int]) -> dict[str, JsonValue]:
    """Return what a module holds, without what says how it is trained."""
    found: dict[str, JsonValue] = {"module": qualified(module)}
    code: Any = getattr(module, "code", None)  # of a traced or scripted one, whose class does not tell
    if isinstance(code, str):
        found["code"] = hashlib.sha256(code.encode()).hexdigest()
    if isinstance(module, torch.jit.ScriptModule):
        return {**found, "state": {name: _tensor(v) for name, v in module.state_dict().items()}}
    for name, value in vars(module).items():
        if name in _HELD:  # hooks have numbers for names, which count on
            values = value.values() if "hooks" in name else [[key, part] for key, part in value.items()]
            found[name] = [_describe(part, met) for part in values]
        elif name not in _BARE:
            found[name] = _describe(value, met)
    return found


def _tensor(value: torch.Tensor) -> dict[str, JsonValue]:
    if value.layout != torch.strided:
        value = value.to_dense()
    if value.is_quantized:
        return {"quantised": [str(value.dtype), _tensor(value.int_repr()), _tensor(value.dequantize())]}
    raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return {"tensor": [str(value.dtype), list(value.shape), hashlib.sha256(raw.numpy().data).hexdigest()]}


def _referred(function: types.FunctionType) -> dict[str, Any]:
    """Return what a function refers to outside of itself: values, and functions of the same file."""
    try:
        found = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return {}
    code = types.ModuleType, type, types.BuiltinFunctionType
    outside = {
        name: value
        for name, value in found.globals.items()
        if not isinstance(value, code)
        and not (isinstance(value, types.FunctionType) and value.__module__ != function.__module__)
    }
    return {**outside, **found.nonlocals}
