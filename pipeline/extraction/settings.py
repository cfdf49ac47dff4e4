"""How a run is to go, and what it has done so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from .encoding import BatchSize
from .looks import Looks
from .profile import Profile


@dataclass(frozen=True)
class Settings:
    """How to run; nothing here changes a number that is stored.

    Parameters
    ----------
    batch_size : BatchSize
    workers : int
        Threads that read, and as many that decode.
    unit_rows : int
        Rows in a unit, if it is not sealed before, and in a chunk.
    max_bad : int
        Failures that are tolerated.
    made_by : mapping
        The versions and the device, recorded with what is encoded.
    max_pixels : int or None
        Images of more are refused; None for the usual limit.
    profile : Profile
    decode_in : {"threads", "processes"} or None
        None for processes where they are faster.
    """

    batch_size: BatchSize
    workers: int
    unit_rows: int
    max_bad: int
    made_by: Mapping[str, JsonValue]
    max_pixels: int | None = None
    profile: Profile = field(default_factory=Profile)
    decode_in: Literal["threads", "processes"] | None = None


@dataclass
class Own:
    """What this process has encoded of a split, if rows were removed meanwhile in several runs.

    Parameters
    ----------
    encoded : int
        Images.
    units : set of str
        Ids of the units that it sealed.
    seconds : float
        That it took, without waiting for others.
    looks : Looks or None
        What the images looked like that it decoded.
    goes_on : callable
        Is called from time to time while a set is put together.
    """

    encoded: int = 0
    units: set[str] = field(default_factory=set)
    seconds: float = 0.0
    looks: Looks | None = None
    goes_on: Callable[[], None] = lambda: None
