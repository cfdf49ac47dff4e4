"""The page's sections, in order: a line for each module that makes some."""

from __future__ import annotations

from collections.abc import Sequence

from .section import Maker

MAKERS: Sequence[Maker] = ()
