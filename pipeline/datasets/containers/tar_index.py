"""What is in a tar file of samples: found by its headers, seeking over the images, and without unpacking anything.

Members are grouped into samples as webdataset does it (`group_by_keys`, `base_plus_ext`): by their names up to the
first dot behind the last slash, as long as they follow each other.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from ....amounts import count
from ....errors import BadInput
from ..folders import IMAGE_ENDINGS

LABELS = ("cls", "json", "txt")
"""Extensions that hold labels, the first one that a sample has."""

_JSON_FIELDS = ("label", "cls")
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_BLOCK = tarfile.BLOCKSIZE
_LARGEST_LABEL = 4 << 20
_LONGEST_LABEL = 200
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


class Wanted(NamedTuple):
    """Which members of a sample are its image and its label.

    Parameters
    ----------
    image : str or None
        Extension of the image; by default the only one that is an image's.
    label : str or None
        Extension of the label, or ``json.FIELD``; by default one of `LABELS`; empty to look for none.
    """

    image: str | None = None
    label: str | None = None


@dataclass
class TarIndex:
    """The samples of a tar file, in its order.

    Parameters
    ----------
    names : list of str
        Of the members that are images.
    offsets, sizes : list of int
        Where their bytes begin, and how many these are.
    labels : list of str or None
    sources : list of str or None
        Extensions that the labels come from.
    others : dict of str to int
        What is not used, by its kind.
    without_image, twice : list of str
        Keys of samples that have none, and of those that occur in several places.
    ended : bool
        Whether the mark of its end is there.
    """

    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    without_image: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    ended: bool = True

    def __len__(self) -> int:
        return len(self.names)


class _Member(NamedTuple):
    extension: str
    name: str
    offset: int
    size: int
    text: bytes | None
    """The content of what may be a label."""


def key_of(name: str) -> tuple[str, str] | None:
    """Split the name of a member into its key and its extension, in lower case; None if it has none.

    Examples
    --------
    >>> key_of("train/cat.1.left.JPG"), key_of("v1.0/cat.jpg"), key_of("README")
    (('train/cat', '1.left.jpg'), ('v1.0/cat', 'jpg'), None)
    """
    found = _NAME.match(name)
    return None if found is None else (found[1], found[2].lower())


def index_tar(file: IO[bytes], where: str, wanted: Wanted) -> TarIndex:
    """Look through a tar file.

    Parameters
    ----------
    file : binary file
        At its beginning; it is sought in.
    where : str
        What it is called in messages.
    wanted : Wanted

    Raises
    ------
    BadInput
        If it is damaged, cut short or compressed; if it is not said which of several images of a sample is meant; if a
        label is not one class.
    """
    index, seen = TarIndex(), set()
    others: Counter[str] = Counter()
    for key, members in _samples(_members(file, where, wanted, others, index), where):
        if key in seen:
            index.twice.append(key)
        seen.add(key)
        image = _image(key, members, where, wanted)
        if image is None:
            index.without_image.append(key)
            continue
        label, source = _label(key, members, where, wanted)
        index.names.append(image.name)
        index.offsets.append(image.offset)
        index.sizes.append(image.size)
        index.labels.append(label)
        index.sources.append(source)
    index.others = dict(others)
    return index


def _members(
    file: IO[bytes], where: str, wanted: Wanted, others: Counter[str], index: TarIndex
) -> Iterator[tuple[str, _Member]]:
    """Yield members that belong to samples, with their keys; count the others."""
    start = file.read(6)
    file.seek(0)
    if not start:
        others["empty files"] += 1
        return
    for magic, (what, tool) in _COMPRESSED.items():
        if start.startswith(magic):
            raise BadInput(
                f"{where} is compressed ({what}): single images cannot be read from it.",
                hint=f"Unpack it once to a .tar: {tool} FILE. Images are compressed already.",
                key=where,
            )
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  # what it would close is not ours
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # or else it remembers all
            found = None if _META.match(info.name) else key_of(info.name)
            if info.isdir():
                continue
            if not info.isreg():
                others["links and devices"] += 1
            elif info.sparse is not None:
                others["sparse files"] += 1
            elif found is None:
                others["names without an ending"] += 1
            else:
                text = None
                if _holds_label(found[1], wanted) and info.size <= _LARGEST_LABEL:
                    content = tar.extractfile(info)
                    text = b"" if content is None else content.read()
                yield found[0], _Member(found[1], info.name, info.offset_data, info.size, text)
        file.seek(tar.offset)
        end = file.read(_BLOCK)
    except (tarfile.TarError, ValueError, EOFError) as e:
        what = " ".join(str(e).split()) or type(e).__name__
        raise BadInput(
            f"{where} cannot be read as a tar file: {what}.",
            hint="It may be cut short: fetch it again. Or it is no tar file.",
            key=where,
        ) from None
    if end.strip(b"\0"):
        raise BadInput(
            f"{where} is damaged: there is no header of a member at byte {tar.offset}.",
            hint="Fetch it again.",
            key=where,
            found=tar.offset,
        )
    index.ended = bool(end)


def _holds_label(extension: str, wanted: Wanted) -> bool:
    if wanted.label is None:
        return extension in LABELS
    return extension == wanted.label.lower().lstrip(".") or (wanted.label.startswith("json.") and extension == "json")


def _samples(members: Iterator[tuple[str, _Member]], where: str) -> Iterator[tuple[str, list[_Member]]]:
    """Yield members of one key that follow each other."""
    current, group = None, list[_Member]()
    for key, member in members:
        if key != current:
            if current is not None:
                yield current, group
            current, group = key, []
        if any(member.extension == other.extension for other in group):
            raise BadInput(
                f"{where}: the sample {key} has two members .{member.extension}, such as {member.name}.",
                hint="webdataset refuses it too: give every sample a name of its own.",
                key=where,
            )
        group.append(member)
    if current is not None:
        yield current, group


def _image(key: str, members: list[_Member], where: str, wanted: Wanted) -> _Member | None:
    if wanted.image is not None:
        return next((m for m in members if m.extension == wanted.image.lower().lstrip(".")), None)
    images = [m for m in members if m.extension.rpartition(".")[2] in IMAGE_ENDINGS]
    if len(images) > 1:
        named = ", ".join(f".{m.extension}" for m in images)
        raise BadInput(
            f"{where}: the sample {key} has several images: {named}.",
            hint=f"Say which: --image-column {images[0].extension}",
            key=where,
        )
    return images[0] if images else None


def _label(key: str, members: list[_Member], where: str, wanted: Wanted) -> tuple[str | None, str | None]:
    """Return the label of a sample as a text, and the extension of the member that has it."""
    by_extension = {m.extension: m for m in members if _holds_label(m.extension, wanted)}
    order = LABELS if wanted.label is None else list(by_extension)
    for extension in order:
        member = by_extension.get(extension)
        if member is None:
            continue
        if member.text is None:
            raise BadInput(f"{where}: {member.name} has {count(member.size, 'byte')}, and is no label.", key=where)
        what = f"{where}: {member.name}"
        if extension == "json":
            label = _json_label(member.text, what, wanted)
        else:
            label = _text(member.text, what).strip()
            if len(label) > _LONGEST_LABEL and extension == "txt" and wanted.label is None:
                label = ""  # a caption
        if label:
            return label, extension
    return None, None


def _json_label(raw: bytes, what: str, wanted: Wanted) -> str | None:
    try:
        found = json.loads(_text(raw, what))
    except (ValueError, RecursionError):
        raise BadInput(f"{what} is not JSON.", hint="Write it anew, or choose: --label-column cls", key=what) from None
    field_ = (wanted.label or "").partition(".")[2]
    fields = (field_,) if field_ else _JSON_FIELDS
    values = [found[name] for name in fields if name in found] if isinstance(found, dict) else [found]
    if not values or values[0] is None:
        return None
    if isinstance(values[0], bool) or not isinstance(values[0], int | str):
        raise BadInput(
            f"{what}: the label is {json.dumps(values[0])[:80]}, not an integer or a text.",
            hint="Name another field: --label-column json.FIELD",
            key=what,
        )
    return str(values[0]).strip()


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadInput(f"{what} is not UTF-8.", hint="A label is a text or a number.", key=what) from None
