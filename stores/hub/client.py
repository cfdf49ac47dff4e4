"""The calls to the Hugging Face Hub, all of them by its own client, and what their failures mean.

Tokens are the client's business: it takes them from ``HF_TOKEN`` or from what ``hf auth login`` has kept. They are
neither read nor printed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import BadInput, CryoprobeError, NotFound, ReadOnly, Unavailable
from .place import HubPlace

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TOKEN_HINT = "Log in (`hf auth login`), or set HF_TOKEN to a token that may {what} it."
_FIRST_LINE = 300  # characters of what the server says


class Commit(NamedTuple):
    """A commit of a data set: its id, the paths of its files, and whether the data set is private."""

    id: str
    paths: frozenset[str]
    private: bool


class HubClient:
    """Reads and writes one data set of the Hub.

    Parameters
    ----------
    place : HubPlace
    """

    def __init__(self, place: HubPlace) -> None:
        self.place = place
        self._api = _api()

    def newest(self) -> Commit | None:
        """Return the commit that the place means; None if there is no such data set, or this token may not see it."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        with _failing(self.place, writing=False):
            try:
                info = self._api.dataset_info(self.place.repo, revision=self.place.revision)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
        paths = frozenset(file.rfilename for file in info.siblings or ())
        return Commit(str(info.sha), paths, bool(info.private))

    def fetch(self, path: str, commit: str) -> Path:
        """Return a file of a commit on this machine, fetched unless the client's cache has it."""
        with _failing(self.place, writing=False), _no_bars():
            found = self._api.hf_hub_download(self.place.repo, path, repo_type="dataset", revision=commit)
            return Path(found)

    def create(self, *, private: bool) -> None:
        """Make the data set; nothing happens if it is there."""
        with _failing(self.place, writing=True):
            self._api.create_repo(self.place.repo, repo_type="dataset", private=private or None, exist_ok=True)

    def upload(self, path: str, file: Path) -> Any:
        """Send a large file ahead of the commit that it is for; return the operation for `commit`.

        What the Hub has already is not sent again: so an interrupted push goes on.
        """
        from huggingface_hub import CommitOperationAdd

        operation = CommitOperationAdd(path, file)
        with _failing(self.place, writing=True), _no_bars():
            self._api.preupload_lfs_files(self.place.repo, [operation], repo_type="dataset")
        return operation

    def commit(self, operations: Sequence[Any], deleted: Sequence[str], message: str, parent: str) -> str | None:
        """Make one commit of everything; return its id, or None if somebody else has made one since `parent`."""
        from huggingface_hub import CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        gone = [CommitOperationDelete(path, is_folder=False) for path in deleted]
        with _failing(self.place, writing=True), _no_bars():
            try:
                done = self._api.create_commit(
                    self.place.repo,
                    [*operations, *gone],
                    commit_message=message,
                    repo_type="dataset",
                    parent_commit=parent,
                )
            except HfHubHTTPError as e:
                if e.response.status_code == 412:
                    return None
                raise
        return str(done.oid)


def operation(path: str, content: Path | bytes) -> Any:
    """Return the operation for `HubClient.commit` that adds or replaces a small file."""
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(path, content)


def _api() -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise BadInput(
            "The Hugging Face Hub needs one more package.",
            hint="Install it: pip install 'cryoprobe[hf]'",
            key="store",
        ) from None
    from ... import __version__  # a package's version is set before its functions are called

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="cryoprobe", library_version=__version__)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Let the client draw no progress bars of its own beside ours."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextmanager
def _failing(place: HubPlace, *, writing: bool) -> Iterator[None]:
    """Raise what the client raises as one of our errors, with one message."""
    try:
        yield
    except CryoprobeError:
        raise
    except Exception as error:  # the client, its HTTP library and the operating system share no root
        if (found := _meaning(error, place, writing=writing)) is None:
            raise
        raise found from error


def _meaning(error: BaseException, place: HubPlace, *, writing: bool) -> CryoprobeError | None:
    """Return the error to raise; None if it is not about the Hub."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    chain = list(_chain(error))
    answered = next((e for e in chain if isinstance(e, HfHubHTTPError)), None)
    if any(isinstance(e, HFValidationError) for e in chain):
        return BadInput(
            f"{place.repo} cannot be the name of a data set on the Hub.",
            hint="Write hf://datasets/USER/NAME.",
            key="store",
        )
    if any(isinstance(e, OfflineModeIsEnabled) for e in chain):
        return Unavailable(
            f"{place.url} is not reached: HF_HUB_OFFLINE is set.", hint="Unset it to use the Hub.", key=place.url
        )
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"{place.repo} has no revision {place.revision!r}.", hint="Check it.", key=place.url)
    if answered is not None:
        status = answered.response.status_code
        if status in (401, 403) or isinstance(error, GatedRepoError):
            return _refused(place, status, writing=writing)
        if status == 404:
            what = "file" if isinstance(error, EntryNotFoundError) else "data set"
            return NotFound(
                f"The Hub has no such {what} at {place.url}, or this token may not see it.",
                hint=_TOKEN_HINT.format(what="read"),
                key=place.url,
            )
        if status == 429:
            return Unavailable(
                f"The Hub takes no more requests for now (429), at {place.url}.",
                hint="Wait some minutes, then run the same command again: it goes on. With a token more are allowed.",
                key=place.url,
            )
        return Unavailable(
            f"The Hub answered {status} for {place.url}: {_first_line(answered)}",
            hint="Run the same command again: it goes on.",
            key=place.url,
        )
    if isinstance(error, LocalEntryNotFoundError | ConnectionError) or _is_of_network(chain):
        return Unavailable(
            f"The Hub cannot be reached for {place.url}: {_first_line(chain[-1])}",
            hint="Look at the network, then run the same command again: it goes on.",
            key=place.url,
        )
    if isinstance(error, OSError):
        return Unavailable(
            f"What {place.url} has cannot be kept on this machine: {_first_line(error)}",
            hint="Look at the disk and HF_HOME, then run the same command again: it goes on.",
            key=place.url,
        )
    return None


def _refused(place: HubPlace, status: int, *, writing: bool) -> CryoprobeError:
    """Return the error for 401 and 403: the store cannot be written, or the server refuses to be read."""
    if writing:
        return ReadOnly(
            f"The Hub does not let this token write to {place.url} ({status}).",
            hint=_TOKEN_HINT.format(what="write to"),
            key=place.url,
        )
    return Unavailable(
        f"The Hub does not let this token read {place.url} ({status}).",
        hint=_TOKEN_HINT.format(what="read"),
        key=place.url,
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came of."""
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1


def _is_of_network(chain: Sequence[BaseException]) -> bool:
    """Return whether an error is one of the HTTP library that the client uses, whichever that is."""
    modules = {type(e).__module__.partition(".")[0] for e in chain}
    return bool(modules & {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"})


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_FIRST_LINE]
