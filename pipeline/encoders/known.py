"""Who a named encoder is, known without loading it: from when it was last loaded on this machine.

A name with its options is the same encoder while nothing changes that takes part: the code of this package, timm and
open_clip, the versions of the libraries below, what the environment tells them, the processor, and the files that it is
made of: weights, configuration, image processor, graph. All of that is in the key, or is looked at before what is known
is believed. Encoders of somebody's own are never known so: their code is not ours to look through. Nothing is known
either in a process that has imported timm, open_clip or transformers already: it may have registered or changed a
model.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from ...canonical import plain_json
from ...stores.local.remembered import Remembered
from ..options import EncoderOptions
from ..specs import EncoderSpec, StoredDtype
from .base import Encoder, notes_of
from .families import canonical_model
from .installed import installation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SCHEMA = 1
"""Raised when what is remembered changes its form."""

_FAMILIES = ("open_clip", "timm", "quickstart", "hf", "onnx")
"""Those whose loaders note every file that they read, see `files_read`."""

_CHANGEABLE = ("timm", "open_clip", "transformers")
"""Modules in which a program can register or replace models."""


class KnownEncoder(BaseModel):
    """What is known of an encoder.

    Parameters
    ----------
    name : str
    specs : tuple of EncoderSpec
        One for each tap.
    untrained, seed, checkpoint_sha256
        See `base.Encoder`.
    notes : tuple of str
        What it tells of how its weights were read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    specs: tuple[EncoderSpec, ...]
    untrained: bool = False
    seed: int | None = None
    checkpoint_sha256: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, encoder: Encoder) -> KnownEncoder:
        """Return what is known of an encoder that is loaded."""
        return cls(
            name=encoder.name,
            specs=tuple(encoder.spec(tap) for tap in encoder.taps),
            untrained=encoder.untrained,
            seed=encoder.seed,
            checkpoint_sha256=encoder.checkpoint_sha256,
            notes=tuple(notes_of(encoder)),
        )

    def stored_as(self, dtype: StoredDtype) -> list[EncoderSpec]:
        """Return the specs for embeddings that are stored in a dtype."""
        return [spec.model_copy(update={"stored_dtype": dtype}) for spec in self.specs]


class Memory:
    """What this machine remembers of one named encoder.

    Parameters
    ----------
    model : str
        Its name.
    asked : EncoderOptions
    """

    def __init__(self, model: str, asked: EncoderOptions) -> None:
        self._remembered = Remembered("encoders")
        self._is_changeable = any(module in sys.modules for module in _CHANGEABLE)
        self._key = None if self._is_changeable else _key_of(model, asked)
        self._has_files = not asked.untrained

    def recall(self) -> KnownEncoder | None:
        """Return what is known; None if that is nothing."""
        if self._key is None:
            return None
        try:
            return KnownEncoder.model_validate(self._remembered.read(self._key))
        except ValidationError:  # nothing, or damaged
            return None

    def keep(self, known: KnownEncoder, files: Sequence[Path], since_ns: int) -> None:
        """Remember an encoder that was just loaded from `files`, reading which began at `since_ns`."""
        if self._key is None or (self._has_files and not files) or _has_foreign_text_tower(known):
            return
        self._remembered.write(self._key, known.model_dump(mode="json"), files, since_ns)


def _key_of(model: str, asked: EncoderOptions) -> str | None:
    """Return the key of a named encoder; None for those that are never remembered."""
    if model.partition(":")[0] not in _FAMILIES:
        return None
    options = {name: getattr(asked, name) for name in EncoderOptions.model_fields}
    if asked.checkpoint is not None:
        options["checkpoint"] = os.path.abspath(asked.checkpoint)  # noqa: PTH100
    key = {"schema": _SCHEMA, "model": canonical_model(model), "options": options, "installed": installation()}
    try:
        return hashlib.sha256(plain_json(key)).hexdigest()
    except ValueError:  # a path or a variable that is not UTF-8
        return None


def _has_foreign_text_tower(known: KnownEncoder) -> bool:
    """Return whether open_clip builds a tower by a configuration from a hub, which it reads by itself."""
    if known.specs[0].family != "open_clip":
        return False
    import open_clip

    config = open_clip.get_model_config(known.specs[0].architecture) or {}
    return "hf_model_name" in config.get("text_cfg", {})
