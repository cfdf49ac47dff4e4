"""The identity of encoders and data sets: frozen specs whose canonical JSON is hashed into ids.

Whatever changes the numbers is a field here; whatever does not (batch size, device, worker count, host, versions,
timings, file names) is provenance and stays out.

A field that has its default value is left out of what is hashed, so that a new field with a default changes no id. What
may still change, and what never will, is said in docs/compatibility.md.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue

from ..arrays import Targets
from ..canonical import digest
from ..id_arrays import AnyIds, sample_array

Tap: TypeAlias = str
"""Where in an encoder an embedding is read: one of `TAPS`, or what an encoder of somebody's own calls it."""

TAPS: tuple[Tap, ...] = ("post_projection", "pre_projection", "pooled", "cls", "patch_mean")

ADDED = "added"
"""Family and library of an encoder whose embeddings were computed elsewhere."""

ADDED_TAP: Tap = "given"
"""The tap of such embeddings."""

SCALED_JPEG = "jpeg scaled by its decoder"
"""The decoder of `--fast-decode`."""

NVJPEG = "nvjpeg"
"""The decoder of `--decoder nvjpeg`."""

StoredDtype = Literal["float16", "float32"]

_HASHED_ROWS = 1 << 16


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def id(self) -> str:
        """sha256 of the canonical JSON of `written`, 64 hexadecimal digits."""
        return digest(self.written)

    @property
    def written(self) -> dict[str, JsonValue]:
        """The spec as it is hashed and stored: without the fields that have their default value."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Preprocessing(_Spec):
    """Everything between a decoded image and the tensor that enters the encoder.

    A transform that these fields do not describe has more of its own, whose values are JSON.

    Parameters
    ----------
    library : str
        Whose transform it is: ``open_clip``, ``timm`` … They differ in the order of resize and colour conversion.
    image_size : tuple of int, optional
        Height and width of the input, in pixels.
    resize_mode : str, optional
        How the image is brought to that size, in the library's own word (``shortest``, ``center``, ``squash`` …).
    crop_fraction : float, optional
        Side of the centre crop over the side after resizing; 1.0 where nothing is cut off.
    interpolation : str, optional
        Resampling filter.
    mean, std : tuple of float, optional
        Per channel, on the 0–1 scale.
    color_mode : str, optional
        What the channels are and when the image is converted to them.
    background : str, optional
        ``white``, ``black`` or ``#rrggbb``: the colour on which images with transparency are laid before anything
        else. Otherwise the conversion to `color_mode` drops it.
    decoder : str, optional
        How files are decoded, if not whole by Pillow.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    library: str
    image_size: tuple[int, int] | None = None
    resize_mode: str | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color_mode: str | None = None
    background: str | None = None
    decoder: str | None = None


class EncoderSpec(_Spec):
    """What fixes an embedding, given an image.

    Parameters
    ----------
    family : str
        The library that builds the model: ``open_clip``, ``timm`` …
    architecture : str
        The library's name of the architecture, without a weights tag.
    weights : str
        sha256 over the state dict's tensors (names, dtypes, shapes, bytes), 64 hexadecimal digits; of an encoder of
        somebody's own, over all that it holds.
    preprocessing : Preprocessing
    tap : str
        Where in the encoder the embedding is read.
    precision : str
        Arithmetic of the forward pass.
    stored_dtype : str
        dtype of the embeddings in the store.
    schema_version : int
        Raised when a change of Cryoprobe changes the numbers.

    Examples
    --------
    >>> spec = EncoderSpec(
    ...     family="timm", architecture="vit_tiny", weights="00" * 32, preprocessing={"library": "timm"}, tap="cls"
    ... )
    >>> spec.written["preprocessing"], "precision" in spec.written
    ({'library': 'timm'}, False)
    """

    family: str
    architecture: str
    weights: str
    preprocessing: Preprocessing
    tap: Tap
    precision: str = "fp32"
    stored_dtype: StoredDtype = "float16"
    schema_version: int = 1


class DatasetSpec(_Spec):
    """What fixes the rows of a feature set, given an encoder.

    Parameters
    ----------
    samples : str
        sha256 over the ordered (sample id, label) pairs; see `samples_digest`.
    rows : int
        Number of those pairs.
    classes : tuple of str
        Class names; a label is an index into them.
    split : str
        The data set's own name of the part: ``train``, ``test``, ``all`` …
    multilabel : bool
        Whether a sample has any number of classes rather than exactly one.
    failed : tuple of str
        Sorted sample ids of the images that could not be decoded and so have no row.
    schema_version : int
    """

    samples: str
    rows: int
    classes: tuple[str, ...]
    split: str
    multilabel: bool = False
    failed: tuple[str, ...] = ()
    schema_version: int = 1


def samples_digest(ids: AnyIds, labels: Targets) -> str:
    """Hash ordered (sample id, label) pairs.

    Parameters
    ----------
    ids : sequence of bytes, or ndarray, uint8 [n, 32]
        Sample ids, 32 bytes each.
    labels : ndarray, int64 [n] or uint8 [n, C]
        Class index, or one 0/1 flag per class for multi-label data.

    Returns
    -------
    str
        sha256 over the concatenation of ``id || label`` for every row, where a label is 8 bytes little-endian, or C
        bytes for multi-label data.
    """
    if len(ids) != len(labels):
        raise ValueError(f"{len(ids)} sample ids, and {len(labels)} labels")
    h = hashlib.sha256()
    for start in range(0, len(ids), _HASHED_ROWS):  # as arrays: of a million rows one by one it would take seconds
        rows = sample_array(ids[start : start + _HASHED_ROWS])
        little = np.ascontiguousarray(labels[start : start + _HASHED_ROWS], dtype="<i8" if labels.ndim == 1 else "u1")
        flags = little[:, None].view(np.uint8) if labels.ndim == 1 else little
        h.update(np.concatenate([rows, flags], axis=1).data)
    return h.hexdigest()
