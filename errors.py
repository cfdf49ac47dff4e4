"""Every error that Cryoprobe raises on purpose, and the exit code of each; and its warning.

A message says what is wrong, where, and what to do. The parts are attributes too, so that a program need not parse
the text. Errors that are also built-in ones (``NotFound`` is a ``FileNotFoundError``) are caught by either name.
"""

from __future__ import annotations

from .redaction import redacted


class CryoprobeError(Exception):
    """Root of all errors raised on purpose. Credentials in a URL are taken out of what it says.

    Parameters
    ----------
    message : str
        What is wrong and where.
    hint : str, optional
        What to do about it; ends the message.
    key : str, optional
        The object, file, field or name that is concerned.
    expected, found : object, optional
        What should have been there, and what was.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        key: str | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        message, hint = redacted(message), None if hint is None else redacted(hint)
        super().__init__(message if hint is None else f"{message}\n{hint}")
        self.message = message
        self.hint = hint
        self.key = None if key is None else redacted(key)
        self.expected = redacted(expected) if isinstance(expected, str) else expected
        self.found = redacted(found) if isinstance(found, str) else found

    def __str__(self) -> str:
        # FileNotFoundError has a __str__ of its own, made for errno and file name.
        return str(self.args[0])


class BadInput(CryoprobeError):
    """The request cannot be carried out as it was put: an argument, a file's content, a combination of options."""

    exit_code = 2


class NotFound(CryoprobeError, FileNotFoundError):
    """A store, set, model, data set or file that was named does not exist."""

    exit_code = 3


class Corrupt(CryoprobeError):
    """An object of the store, or a saved probe, is not what was written: missing, cut short, changed or swapped."""

    exit_code = 4


class ReadOnly(CryoprobeError, PermissionError):
    """The store, or the folder of an output file, can be read but not written."""

    exit_code = 5


class Incompatible(CryoprobeError):
    """The store, an object in it or a saved probe has a format that this version does not know.

    Or a bucket cannot do what a store needs.
    """

    exit_code = 6


class Conflict(CryoprobeError):
    """Two things that must not be combined: sets or probes of different encoders, a file that changed while read."""

    exit_code = 7


class Unavailable(CryoprobeError, OSError):
    """The storage failed or cannot be reached: disk full, share gone, server down. Nothing that was sealed is lost.

    Or another of several ranks is gone.
    """

    exit_code = 8


class CryoprobeWarning(UserWarning):
    """Something that is ignored or taken in another way than somebody may expect."""


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""

TERMINATED = 143
"""Exit code after SIGTERM (128 + SIGTERM)."""


class Terminated(SystemExit):
    """The process was told to end by SIGTERM, while what it had made could still be kept."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)
