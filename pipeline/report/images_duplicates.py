"""Near-duplicates side by side, and plain images, with thumbnails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...amounts import count
from ..inspecting.gathered import gather
from ..near_duplicates import Duplicate, duplicates_among
from ..plain_images import PlainImage, plain_among
from .images_thumbnails import Thumbnails
from .section import ReportData, escaped

if TYPE_CHECKING:
    from ..trials.result import Trial

PAIRS, PLAIN = 18, 18


def duplicates_html(data: ReportData, trial: Trial, thumbnails: Thumbnails, most: int) -> str:
    """Return the closest pairs, and the plain images.

    Parameters
    ----------
    data : ReportData
    trial : Trial
        Its train and test sets are looked at.
    thumbnails : Thumbnails
    most : int
        Rows of each set that are looked at.

    Raises
    ------
    CryoprobeError
        If they cannot be read.
    """
    held = gather(data.store, trial.trial, max_rows=most, seed=0)
    root = None if data.images is None else data.images.data_root
    pictures, notes = held.pictures(data.store, root)
    found = duplicates_among(held, pictures, top=PAIRS, notes=notes)
    plain = plain_among(held, pictures)
    more = "".join(f" {note}." for note in dict.fromkeys((*found.notes, *plain.notes)))
    command = f"cryoprobe near-duplicates {trial.trial[:12]} --store {data.store.url}"
    shown = f", {found.across:,} across sets; {len(found)} shown" if found.found else ""
    said = f"{count(found.found, 'pair')} among {found.of:,} rows{shown}. A pair: {found.criterion}.{more}"
    pairs = "".join(_pair(one, thumbnails) for one in found)
    html = f'<p>{escaped(said)} All of them: <code>{escaped(command)}</code></p><ul class="thumbs pairs">{pairs}</ul>'
    if plain.by == "pixels":
        about = f"{len(plain):,} of {plain.looked_at:,} images are of one colour."
    else:
        about = f"{len(plain):,} of {plain.of:,} rows share their embedding with a different image."
    listed = "".join(_plain(one, thumbnails) for one in plain[:PLAIN])
    return f'{html}<p>{escaped(about)}</p><ul class="thumbs">{listed}</ul>'


def _pair(one: Duplicate, thumbnails: Thumbnails) -> str:
    name, other = one.name or f"row {one.row}", one.other_name or f"row {one.other_row}"
    how = "same bytes" if one.same_bytes else f"cosine {one.cosine:.4f}"
    if not one.same_bytes and one.pixels is not None:
        how += f", pixels {one.pixels:.4f}"
    labels = one.label if one.label == one.other_label else f"{one.label} / {one.other_label}"
    return (
        f"<li>{thumbnails.html(one.set, one.row, name)}{thumbnails.html(one.other_set, one.other_row, other)}"
        f"<span>{escaped(one.split)} / {escaped(one.other_split)}: {escaped(labels)}</span><span>{how}</span>"
        f'<span class="soft">{escaped(name)} / {escaped(other)}</span></li>'
    )


def _plain(one: PlainImage, thumbnails: Thumbnails) -> str:
    name = one.name or f"row {one.row}"
    return (
        f"<li>{thumbnails.html(one.set, one.row, name)}<span>{escaped(one.split)}: {escaped(one.label)}</span>"
        f'<span>{escaped(one.colour or "-")}</span><span class="soft">{escaped(name)}</span></li>'
    )
