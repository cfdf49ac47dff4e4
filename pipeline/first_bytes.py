"""What a file is that is neither an image nor a checkpoint, told by its first bytes, and what to do."""

from __future__ import annotations

import re

HEAD = 1024
"""Bytes that are looked at."""

FETCH_AGAIN = "fetch it again"

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself", "git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself", "git annex get ."),
    (b"\x1f\x8b", "gzip-compressed", "gunzip it"),
    (b"BZh", "bzip2-compressed", "bunzip2 it"),
    (b"\xfd7zXZ\0", "xz-compressed", "unxz it"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "unzstd it"),
)
"""Of files that begin so: what they are, and what to do."""


def recognised(raw: bytes) -> tuple[str, str] | None:
    r"""Return what a file is, and what to do about it; None if that is not known.

    Examples
    --------
    >>> recognised(b"version https://git-lfs.github.com/spec/v1\noid sha256:00")
    ('a Git LFS pointer, not the file itself', 'git lfs pull')
    """
    for beginning, what, remedy in _BEGINNINGS:
        if raw.startswith(beginning):
            return what, remedy
    if raw and not raw[:HEAD].strip(b"\0"):
        return "zeros, such as an interrupted download leaves", FETCH_AGAIN
    return _markup(raw[:HEAD])


def _markup(head: bytes) -> tuple[str, str] | None:
    """Recognise text: web pages, drawings, and what servers answer instead of a file."""
    try:
        # A byte order mark of either kind; the head may end in the middle of a character.
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "ignore")
    except UnicodeError:
        return None
    text = re.sub(r"\A(\s+|<\?xml[^>]*>|<!--.*?-->)+", "", text, flags=re.DOTALL).lower()
    if re.match(r"(<!doctype svg|<svg|<svg:svg)\b", text):
        return "an SVG drawing", "render it to PNG, such as by rsvg-convert or inkscape"
    if re.match(r"(<!doctype html|<html|<head|<body|<script|<meta)\b", text):
        return "a web page (HTML), such as a server's error message", FETCH_AGAIN
    if re.match(r"<[a-z!][^<>]*>", text):
        return "XML, such as a server's error message", FETCH_AGAIN
    if re.match(r'[{\[]\s*("|[{\[}\]])', text):
        return "JSON, such as a server's error message", FETCH_AGAIN
    return None
