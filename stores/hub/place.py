"""Names of data sets on the Hub, as people write them after `push` and `pull`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ...errors import BadInput
from ..local.config import known_as

_SCHEME = re.compile(r"hf:(//)?", re.IGNORECASE)
_WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_PLACE = re.compile(rf"hf://datasets/({_WORD}/{_WORD})(?:@([A-Za-z0-9_][A-Za-z0-9._/-]{{0,199}}))?/?", re.IGNORECASE)


class HubPlace(NamedTuple):
    """A data set of the Hub.

    Parameters
    ----------
    repo : str
        ``USER/NAME``.
    revision : str or None
        A branch, tag or commit; None for the newest commit of the main branch.
    """

    repo: str
    revision: str | None = None

    @property
    def url(self) -> str:
        """The place as it is written: ``hf://datasets/USER/NAME``."""
        return f"hf://datasets/{self.repo}" + (f"@{self.revision}" if self.revision else "")


def hub_place(place: object, *, create: bool = False) -> HubPlace | None:
    """Return the data set of the Hub that a place, or a name from a configuration file, means; None for any other.

    With `create`, something may be made there, as for `local.config.known_as`.

    Raises
    ------
    BadInput
        If it begins like one and names none.

    Examples
    --------
    >>> hub_place("hf://datasets/me/birds@v1")
    HubPlace(repo='me/birds', revision='v1')
    >>> hub_place("s3://bucket/features") is None
    True
    """
    if not isinstance(place, str):
        return None
    text = known_as(place, create=create).place
    slashes = _SCHEME.match(text)
    if slashes is None or (slashes[1] is None and Path(text).exists()):
        return None
    found = _PLACE.fullmatch(text)
    if found is None:  # the rest is not repeated: it may hold a token
        raise BadInput(
            "The place begins like one on the Hugging Face Hub, and names no data set there.",
            hint="Write hf://datasets/USER/NAME, for `pull` also hf://datasets/USER/NAME@REVISION. "
            "A token is taken from HF_TOKEN, or from what `hf auth login` has kept.",
            key="store",
        )
    return HubPlace(found[1], found[2])
