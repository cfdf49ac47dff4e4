"""The ranks of one call, connected: what they add up, and what they tell each other.

The same command is started N times, and every process does the same steps on its own rows. Whatever is a sum over rows
is added up here, so that all of them go on with the same numbers. The connection is torch.distributed's, with gloo over
TCP; torch is imported when the ranks connect.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from ..arrays import Array, Float64
from ..errors import BadInput, Unavailable
from .ranks import Rank

if TYPE_CHECKING:
    import torch

SECONDS = 1800
"""How long a rank waits for the others within a step, unless CRYOPROBE_RANK_TIMEOUT says otherwise.

The end of a process is noticed at once, since its connections close: only one that is stopped, or a machine that is
lost, takes so long.
"""

_PATIENCE = timedelta(days=20)
"""How long the others wait for what the first rank does alone: it scores, stores, or fits what cannot be shared."""

_APART = 1e-3
"""Relative difference of the numbers that ranks go on with from which they do not do the same any more. Processors of
two kinds differ by rounding, which is harmless."""

_DIMENSIONS = 3


class RankGroup:
    """The connection of one rank with the others.

    Every method but `here` is called by all ranks alike, in the same order.

    Parameters
    ----------
    rank : Rank
    environ : mapping, optional
        Has MASTER_ADDR, and MASTER_PORT unless it is 29500; by default that of this process.

    Attributes
    ----------
    rank : Rank
    sums : int
        How many times something was added up.
    given : Counter of str
        Bytes that this rank gave to be ``added``, ``compared`` or ``gathered``, or passed on as the ``first``.

    Raises
    ------
    BadInput
        If the environment does not say where the ranks meet.
    Unavailable
        By every method, if another rank ended or does not answer.
    """

    def __init__(self, rank: Rank, environ: Mapping[str, str] | None = None) -> None:
        import torch.distributed as dist

        env = os.environ if environ is None else environ
        self.rank, self.sums, self.given = rank, 0, Counter[str]()
        self._seconds = _seconds(env)
        timeout = timedelta(seconds=self._seconds)
        with self._answered():
            if not dist.is_initialized():
                dist.init_process_group(
                    "gloo", init_method=_meeting_point(env), rank=rank.index, world_size=rank.of, timeout=timeout
                )
            # Groups of our own: a program that uses torch.distributed itself keeps its own order of calls.
            self._group: Any = dist.new_group(backend="gloo", timeout=timeout)
            self._patient: Any = dist.new_group(backend="gloo", timeout=_PATIENCE)
        if (found := (dist.get_rank(), dist.get_world_size())) != (rank.index, rank.of):
            raise BadInput(
                f"This is rank {rank} by {rank.told_by}, and {found[0]}/{found[1]} of those that are connected.",
                hint="Leave --rank out.",
                key="rank",
            )

    @property
    def is_first(self) -> bool:
        """Whether this rank stores and prints results."""
        return self.rank.index == 0

    def add(self, *totals: torch.Tensor, about: torch.Tensor | None = None) -> None:
        """Add tensors up over the ranks, in place.

        Parameters
        ----------
        *totals : tensor
            This rank's part of each sum.
        about : tensor, optional
            What the sums are computed from beside the rows, which must be the same for all.

        Raises
        ------
        Unavailable
            If it is not, or the sums are of other shapes: the ranks do not do the same any more.
        """
        import torch
        import torch.distributed as dist

        flat = torch.cat([total.reshape(-1) for total in totals])
        self._check_step(flat, about)
        with self._answered():
            dist.all_reduce(flat, group=self._group)
        self.sums += 1
        self.given["added"] += flat.nbytes
        for total, part in zip(totals, torch.split(flat, [total.numel() for total in totals]), strict=True):
            total.copy_(part.view_as(total))

    def first(self, *tensors: torch.Tensor) -> None:
        """Overwrite tensors by the first rank's."""
        import torch.distributed as dist

        for tensor in tensors:
            whole = tensor.contiguous()
            with self._answered():
                dist.broadcast(whole, 0, group=self._group)
            self.given["first"] += whole.nbytes if self.is_first else 0
            tensor.copy_(whole)

    def largest(self, values: Array) -> Float64:
        """Return the largest of the ranks' values, each by itself, in float64."""
        import torch
        import torch.distributed as dist

        found = torch.from_numpy(np.array(values, dtype=np.float64))
        with self._answered():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self._group)
        self.given["compared"] += found.nbytes
        largest: Float64 = found.numpy()
        return largest

    def gather(self, own: Array | None) -> list[Array]:
        """Return the arrays of all ranks, which differ in their first axis alone; None stands for no rows."""
        import torch
        import torch.distributed as dist

        head = torch.zeros(_DIMENSIONS + 2, dtype=torch.int64)
        if own is not None:
            own = np.ascontiguousarray(own)
            head[: 2 + own.ndim] = torch.tensor([np.dtype(own.dtype).num, own.ndim, *own.shape])
        heads = [torch.zeros_like(head) for _ in range(self.rank.of)]
        with self._answered():
            dist.all_gather(heads, head, group=self._group)
        found = []
        for source, (code, ndim, *shape) in enumerate(each.tolist() for each in heads):
            if not ndim:
                continue
            mine = own if source == self.rank.index else None
            part = np.empty(shape[:ndim], _DTYPES[code]) if mine is None else mine
            self.given["gathered"] += 0 if mine is None else mine.nbytes
            if part.nbytes:
                flat = part.reshape(-1).view(np.uint8)
                with self._answered():
                    dist.broadcast(torch.from_numpy(flat if mine is None else flat.copy()), source, group=self._group)
            found.append(part)
        return found

    def told(self, document: JsonValue = None) -> Any:
        """Return what the first rank tells the others, however long it takes to know it: its `document`."""
        import torch
        import torch.distributed as dist

        data = np.frombuffer(json.dumps(document).encode() if self.is_first else b"", np.uint8)
        size = torch.tensor([len(data)])
        with self._answered():
            dist.broadcast(size, 0, group=self._patient)
            text = torch.from_numpy(data.copy()) if self.is_first else torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(text, 0, group=self._patient)
        return json.loads(text.numpy().tobytes())

    def _check_step(self, flat: torch.Tensor, about: torch.Tensor | None) -> None:
        """Refuse to add up what does not belong together."""
        numbers = [float(flat.numel()), float(flat.element_size())]
        if about is not None:
            numbers += [float(about.double().sum()), float(about.double().abs().sum())]
        told = np.nan_to_num(np.array([*numbers, *[0.0] * (4 - len(numbers))]), posinf=0.0, neginf=0.0)
        high = self.largest(np.concatenate([told, -told]))
        apart = high[:4] + high[4:]
        if apart[:2].any() or (apart[2:] > _APART * max(high[3], 1e-300)).any():
            raise Unavailable(
                f"The {self.rank.of} ranks do not take the same steps any more.",
                hint="Start them on machines with one kind of processor, all by the same command.",
                key="rank",
            )

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Say in one line that another rank is gone."""
        try:
            yield
        except RuntimeError as e:  # all that torch.distributed raises
            raise Unavailable(
                f"Rank {self.rank}: another rank ended, or did not answer for {self._seconds:g} s.",
                hint="Its own last line says why. Start all of them again: trials that are recorded stay.",
                key="rank",
            ) from e


_DTYPES = {np.dtype(t).num: np.dtype(t) for t in ("?", "u1", "i4", "i8", "u8", "f4", "f8")}


def _seconds(env: Mapping[str, str]) -> float:
    told = env.get("CRYOPROBE_RANK_TIMEOUT", str(SECONDS))
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < _PATIENCE.total_seconds():
        raise BadInput(f"CRYOPROBE_RANK_TIMEOUT is {told!r}.", hint="Give a number of seconds above 0.", key="rank")
    return seconds


def can_meet(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the environment says where the ranks meet."""
    return "MASTER_ADDR" in (os.environ if environ is None else environ)


def _meeting_point(env: Mapping[str, str]) -> str:
    if not can_meet(env):
        raise BadInput(
            "The ranks are to share the training rows, and MASTER_ADDR does not say where they meet.",
            hint="torchrun sets it. With srun: export MASTER_ADDR=$(scontrol show hostnames | head -n 1)",
            key="rank",
        )
    if env.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return "env://"  # torchrun keeps the meeting point itself
    return f"tcp://{env['MASTER_ADDR']}:{env.get('MASTER_PORT', '29500')}"
