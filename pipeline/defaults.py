"""Defaults of one's own for `extract`, from configuration files: a table ``[extract]`` with ``precision = "bf16"``.

An option that is given wins. Where `probe` finds several extractions, it takes the one that has these defaults. What
one data set or one model is cannot be a default of all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..progress import Reporter
from ..stores.local.config import extract_defaults
from .encoders.registry import FAMILIES
from .keywords import read
from .options import DatasetOptions, EncoderOptions, ExtractionOptions, ExtractRunOptions, PixelOptions

_OF_ONE_MODEL = ("checkpoint", "checkpoint_key", "untrained", "seed")
_OF_ONE_DATASET = (*DatasetOptions.model_fields, "max_bad")
_IN_NAMES = (*PixelOptions.model_fields, "precision", "stored_dtype")
"""Options that can have a default of one's own and are part of a set's name."""


_INSTEAD_OF = {
    "image_size": ("resize", "crop"),
    "resize": ("image_size",),
    "crop": ("image_size",),
    "fast_decode": ("decoder",),
    "decoder": ("fast_decode",),
}
"""Options that say the same in another way: where one is given, what files say of the others does not hold."""


def with_defaults(options: Mapping[str, Any], model: object, reporter: Reporter) -> dict[str, Any]:
    """Add to the keyword arguments of `extract` what configuration files say of those that are not given.

    What fixes an encoder, and its device, is left out for encoders of somebody's own, which take no such options. A
    line says which file a default came from that is part of the identity of what is stored.

    Raises
    ------
    BadInput
        If a file has a key that is none, or a value that is wrong.
    """
    asked = dict(options)
    for name, (value, file) in _without(_checked(), options).items():
        if not _is_for(name, model):
            continue
        asked[name] = value
        if name in ExtractionOptions.model_fields:
            reporter.note(f"{name} = {value} (by {file})")
    return asked


def defaults_in_names(model: str, given: Mapping[str, Any]) -> dict[str, tuple[Any, Path]]:
    """Return the defaults of configuration files that are part of the name of a model's sets, each with its file.

    Parameters
    ----------
    model : str
    given : mapping
        Options that were given.

    Returns
    -------
    dict of str to (value, Path)
        By field of `Name`. Options of the encoder are left out for encoders of somebody's own, as by `extract`.

    Raises
    ------
    BadInput
        As `with_defaults`.
    """
    found = _checked()
    taken = read(ExtractionOptions, {name: value for name, (value, _) in found.items()})
    return {
        name: (getattr(taken, name), file)
        for name, (_, file) in _without(found, given).items()
        if name in _IN_NAMES and _is_for(name, model) and getattr(taken, name)
    }


def _without(found: Mapping[str, tuple[Any, Path]], given: Mapping[str, Any]) -> dict[str, tuple[Any, Path]]:
    """Return those defaults that hold beside what was given."""
    said = {name for name, value in given.items() if value not in (None, (), [])}
    said |= {other for name in said for other in _INSTEAD_OF.get(name, ())}
    return {name: of for name, of in found.items() if name not in said}


def allowed() -> list[str]:
    """Return the options that can have a default of one's own."""
    refused = {*_OF_ONE_MODEL, *_OF_ONE_DATASET}
    fields = {**ExtractionOptions.model_fields, **ExtractRunOptions.model_fields}
    return [name for name in fields if name not in refused]


def _is_for(name: str, model: object) -> bool:
    """Return whether an encoder takes an option: one of somebody's own takes none that fixes it, and no device."""
    family = model.partition(":")[0] if isinstance(model, str) else None
    return family in FAMILIES or name not in (*EncoderOptions.model_fields, "device")


def _checked() -> dict[str, tuple[Any, Path]]:
    """Return what configuration files say, each value with its file."""
    found = extract_defaults()
    for name, (_, file) in found.items():
        _check_name(name, file)
    values = {name: value for name, (value, _) in found.items()}
    try:
        for model in (ExtractionOptions, ExtractRunOptions):
            read(model, values)  # together: some go with others
    except BadInput as error:
        option = str(error.key).replace("-", "_")
        files = [found[option][1]] if option in found else dict.fromkeys(file for _, file in found.values())
        where = " and ".join(map(str, files))
        raise BadInput(f"[extract] in {where}: {error.message}", hint=error.hint, key=where) from None
    return found


def _check_name(name: str, file: Path) -> None:
    if name in (*_OF_ONE_MODEL, *_OF_ONE_DATASET):
        whose = "model" if name in _OF_ONE_MODEL else "data set"
        raise BadInput(
            f"[extract] in {file} has {name!r}, which is not the same for every {whose}.",
            hint=f"Take it out, and give it to the command: --{name.replace('_', '-')}",
            key=str(file),
        )
    if name not in (known := allowed()):
        near = difflib.get_close_matches(name, known, n=1)
        raise BadInput(
            f"[extract] in {file} has no option {name!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else f"It may have: {', '.join(known)}.",
            key=str(file),
        )
