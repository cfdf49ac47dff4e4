"""The command that runs one cell alone, with every option that was given."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ...stores.store import Store
from ..option_values import several
from ..options import PLAIN
from .suite import DataRow, ModelRow, ProtocolRow, Suite

_NOT_IN_COMMANDS = {"models", "data", "protocols", "store", "rank"}
_PROBE_OPTIONS = {"params": "param", "fractions": "fraction"}
"""Options of `probe` that have another name on the command line."""
_REPEATED = {"log_to"}
"""Options of `probe` that are given once for each value."""


def given(row: BaseModel) -> dict[str, Any]:
    """Return the options of a row that were given; None is what is not."""
    options = {name: getattr(row, name) for name in type(row).model_fields if name in row.model_fields_set}
    return {name: value for name, value in options.items() if value is not None}


def text_of(options: Mapping[str, Any]) -> str:
    """Return options in a line.

    Examples
    --------
    >>> text_of({"untrained": True, "seed": 1})
    'untrained, seed=1'
    """
    return ", ".join(name if value is True else f"{name}={value_text(value)}" for name, value in options.items())


def run_command(suite: Suite, store: Sequence[str], model: ModelRow, data: DataRow, row: ProtocolRow) -> str:
    """Return the command that extracts and probes one cell of a suite, in the store that some options mean."""
    words = ["cryoprobe", "run", "--model", model.name, "--dataset", data.name]
    words += ["--probe", row.probe] if row.protocol == PLAIN and row.probe else ["--protocol", row.protocol]
    words += store
    words += [f"{name}={value_text(value)}" for name, value in given(suite).items() if name not in _NOT_IN_COMMANDS]
    for kind, of in (("models", model), ("data", data), ("protocols", row)):
        options = {name: value for name, value in given(of).items() if name not in ("name", "protocol", "probe")}
        words += [f"{kind}.0.{name}={value_text(value)}" for name, value in options.items()]
    return shlex.join(words)


def store_options(store: Store) -> list[str]:
    """Return the options that open a store as it was opened, with those below it."""
    return ["--store", store.url, *store.opened_with]


def probe_command(store: Sequence[str], options: Mapping[str, Any]) -> str:
    """Return the command that probes one cell.

    Examples
    --------
    >>> options = {"model": "timm:m", "dataset": "folder:/d", "protocol": "plain", "params": {"k": 5}, "C": (0.1, 1)}
    >>> probe_command(["--store", "features"], options)
    'cryoprobe probe --model timm:m --dataset folder:/d --param k=5 --C 0.1,1 --store features'
    """
    words = ["cryoprobe", "probe"]
    for name, value in options.items():
        option = f"--{_PROBE_OPTIONS.get(name, name).replace('_', '-')}"
        if isinstance(value, Mapping):
            texts = [f"{key}={_commas(of) if name == 'grid' else json.dumps(of)}" for key, of in value.items()]
            words += [word for text in texts for word in (option, text)]
        elif name in _REPEATED:
            words += [word for of in several(value) for word in (option, str(of))]
        elif (name, value) != ("protocol", PLAIN):
            words += [option] if value is True else [option, _commas(value)]
    return shlex.join([*words, *store])


def _commas(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def value_text(value: Any) -> str:
    """Return a value as an override has it: TOML, or text.

    Examples
    --------
    >>> value_text(True), value_text(("cls", 1)), value_text({"k": 5}), value_text("bf16"), value_text("2007")
    ('true', '["cls", 1]', '{"k" = 5}', 'bf16', '"2007"')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_quoted(name)} = {_toml(of)}' for name, of in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int | float):
        return str(value)
    return str(value) if value_of(str(value)) == str(value) else _quoted(str(value))


def value_of(text: str) -> Any:
    """Return what a text means as the value of an override: TOML, or else itself.

    Examples
    --------
    >>> value_of("64"), value_of("bf16"), value_of('"2007"')
    (64, 'bf16', '2007')
    """
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _toml(value: Any) -> str:
    return value_text(value) if isinstance(value, int | float | list | tuple | Mapping) else _quoted(str(value))


def _quoted(text: str) -> str:
    # TOML has JSON's escapes, but no pairs of surrogates, and DEL is to be escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
