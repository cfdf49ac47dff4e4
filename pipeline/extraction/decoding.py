"""The stage that decodes: jobs of a plan become preprocessed images, in threads."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ...errors import Conflict, CryoprobeError
from ..datasets.base import Split, UndecodableImage
from ..encoders.embedding import ImageLoader
from ..passing import patiently
from .decoding_processes import DecodingProcesses
from .planner import Plan
from .profile import Profile

if TYPE_CHECKING:
    import torch


class Job(NamedTuple):
    """One image of a plan, or the end of the plan where `sample` is None."""

    plan: Plan
    sample: bytes | None = None
    row: int = -1


class Decoded(NamedTuple):
    """What became of a job: an image, decoded and preprocessed; or why not."""

    job: Job
    tensor: torch.Tensor | None = None
    error: str | None = None
    has_changed: bool = False
    """Whether it is another sample than somebody else has told: it is to be identified again."""


class Changed(Conflict):
    """Raised for a sample that is not the one that was identified."""


@dataclass(frozen=True)
class Decoding:
    """Reads what has not been read yet, and decodes. Called from several threads at once.

    Parameters
    ----------
    split : Split
    images : ImageLoader or DecodingProcesses
    profile : Profile
    turn : Event
        Set while images may be decoded.
    """

    split: Split
    images: ImageLoader | DecodingProcesses
    profile: Profile
    turn: threading.Event

    def decode(self, job: Job) -> Decoded:
        """Decode the image of a job; the end of a plan passes as it is."""
        if job.sample is None:
            return Decoded(job)
        what = self.split.describe(job.row)
        self.turn.wait()
        try:
            raw = job.plan.raw.pop(job.row, None) or self.read_again(job.row, job.sample, what)
            with self.profile.measured("decode"):
                return Decoded(job, self.images.load(self.split.decode, raw, what))
        except Changed:
            if job.row not in job.plan.told:
                raise
            return Decoded(job, has_changed=True)
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return Decoded(job, error=f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return Decoded(job, error=str(e))

    def read_again(self, row: int, sample_id: bytes, what: str) -> bytes:
        """Read a sample whose id the sample index knows, or which was put off.

        Raises
        ------
        Changed
            If the file has other content now.
        """
        with self.profile.measured("read"):
            raw = patiently(partial(self.split.read, row), what)
            if hashlib.sha256(raw).digest() != sample_id:
                raise Changed(
                    f"{what} changed while it was being extracted.",
                    hint="Run the same command again, with --rehash if the file's dates cannot be trusted.",
                    key=what,
                )
        return raw
