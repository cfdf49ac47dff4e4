"""Who has called: what a worker on another machine takes on, so that it works as the caller's own process would."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from ... import __version__
from ...errors import Incompatible, NotFound
from ..provenance import record_command, recorded_command


@dataclass(frozen=True)
class Caller:
    """The process in which a call was made.

    Parameters
    ----------
    folder : str
        Its working folder: relative paths belong to it, and modules are found there.
    command : tuple of str or None
        Recorded with what is made.
    version : str
        Of Cryoprobe.
    """

    folder: str = field(default_factory=lambda: str(Path.cwd()))
    command: tuple[str, ...] | None = field(default_factory=lambda: _this_command())
    version: str = __version__

    def stand_in(self) -> None:
        """Let this process work for the caller: in its folder, if this machine has it, and under its command.

        Raises
        ------
        Incompatible
            If this machine has another version of Cryoprobe.
        """
        if self.version != __version__:
            raise Incompatible(
                f"The node {socket.gethostname()} has Cryoprobe {__version__}, and the caller {self.version}.",
                hint="Install the same version on all nodes.",
                expected=self.version,
                found=__version__,
            )
        if self.command is not None:
            record_command(self.command)
        if Path(self.folder).is_dir():
            os.chdir(self.folder)

    def explained(self, error: NotFound) -> NotFound:
        """Return an error of this machine with what it lacks, if that is the caller's folder."""
        if Path(self.folder).is_dir():
            return error
        lacks = f"The node {socket.gethostname()} has no folder {self.folder}, where this was called."
        return NotFound(error.message, hint=f"{lacks} {error.hint or ''}".strip(), key=error.key)


def _this_command() -> tuple[str, ...] | None:
    words = recorded_command()
    return None if words is None else tuple(words)
