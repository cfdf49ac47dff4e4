"""Thumbnails: small pictures inside the page, of verified images only, and within a number of bytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from ..inspecting.originals import Originals, originals_of
from ..joined_taps import BETWEEN
from .section import ReportData, escaped

if TYPE_CHECKING:
    from PIL import Image

SIDE = 64
"""Most pixels of a thumbnail's side."""

PAGE_BYTES = 1_500_000
"""All thumbnails of a page together, as text."""

_QUALITY = 60


class Thumbnails:
    """Makes thumbnails of rows of sets, until a number of bytes is used up.

    Parameters
    ----------
    data : ReportData

    Attributes
    ----------
    left : int
        Bytes that may still be used.
    """

    def __init__(self, data: ReportData) -> None:
        self._data = data
        self._originals: dict[str, Originals] = {}
        self._made: dict[tuple[str, int], str] = {}
        self.left = 0

    def originals(self, set_: str) -> Originals | None:
        """Return the images of a set; None if the page's store does not have it."""
        set_ = set_.split(BETWEEN)[0]  # of several taps read as one, all have the same rows
        if set_ not in self._originals and set_ in self._data.sets:
            root = None if self._data.images is None else self._data.images.data_root
            self._originals[set_] = originals_of(self._data.store, self._data.sets[set_], root)
        return self._originals.get(set_)

    def uri(self, set_: str, row: int, side: int = SIDE) -> str | None:
        """Return a thumbnail as a data URI; None if the image is not at hand, or no bytes are left.

        Parameters
        ----------
        set_ : str
            Id of a set.
        row : int
        side : int
            Most pixels of its side.
        """
        if (set_, row) in self._made:
            return self._made[set_, row]
        found = self.originals(set_)
        if found is None or found.problem or self.left <= 0:
            return None
        image = found.image(row)
        if image is None:
            return None
        text = data_uri(image, side)
        if len(text) > self.left:
            self.left = 0
            return None
        self.left -= len(text)
        self._made[set_, row] = text
        return text

    def html(self, set_: str, row: int, name: str) -> str:
        """Return an image element, or an empty frame."""
        uri = self.uri(set_, row)
        if uri is None:
            return '<span class="thumb">no image</span>'
        return f'<img class="thumb" src="{uri}" alt="{escaped(name)}">'

    def notes(self) -> list[str]:
        """Return what is to be said of images that were not found."""
        return list(dict.fromkeys(line for found in self._originals.values() for line in found.notes()))


def data_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return a thumbnail as WebP, or as JPEG if Pillow lacks WebP, in a data URI.

    Examples
    --------
    >>> from PIL import Image
    >>> data_uri(Image.new("RGB", (200, 100))).startswith("data:image/")
    True
    """
    from PIL import features

    small = image.convert("L" if image.mode in ("1", "L", "LA", "I;16") else "RGB")
    small.thumbnail((side, side))
    form = "WEBP" if features.check("webp") else "JPEG"
    file = io.BytesIO()
    small.save(file, form, quality=_QUALITY)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
