"""Credentials that somebody typed into a URL: taken out of whatever is printed, raised or recorded."""

from __future__ import annotations

import re

# A revision of a data set on the Hub (hf://datasets/USER/NAME@REVISION) stays.
# Also if a bucket's or web server's URL is mistyped: with one slash, or another sign than the colon. A secret can have
# slashes in it, so everything up to the last @ goes.
_START = (
    r"(?:\b(?!file:|folder:|csv:|npz:|idx:|hf://datasets/[\w.-]+/[\w.-]+@)[a-z][a-z0-9+.-]*://"
    r"|(?<![\w/.-])(?:s3|gs|az|https?)(?:[:;.,]/{1,3}|/{2,}))"
)
_USER = re.compile(rf"({_START})[^\s'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(rf"({_START}[^?#\s'\"<>]*)[?#][^\s'\"<>]*", re.IGNORECASE)


def redacted(text: str, *, leave_marks: bool = True) -> str:
    """Return a text without what its URLs hold beside their place: user names, passwords, queries and fragments.

    With `leave_marks`, … says where something was.

    >>> redacted("https://me:secret@host/f?token=1 is not a store")
    'https://…@host/f?… is not a store'
    """
    if "/" not in text:
        return text
    user, query = (r"\1…@", r"\1?…") if leave_marks else (r"\1", r"\1")
    return _QUERY.sub(query, _USER.sub(user, text))
