"""Which of several processes this one is, where the same command is started several times: told by what starts them.

torchrun, srun, mpirun, job arrays and indexed jobs number the processes that they start, each by variables of its own.
A number only says where to begin: every process goes on until all is done, whoever else is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import BadInput

_TOLD = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", None))
"""Variables of torchrun and of mpirun: the number, how many there are, and the number on this machine."""

_INDEXED_JOB = "JOB_COMPLETION_INDEX"
"""Of Kubernetes, which does not say how many there are."""


@dataclass(frozen=True)
class Rank:
    """One of several processes.

    Parameters
    ----------
    index : int
        From 0.
    of : int
        How many there are.
    local : int or None
        Which of those of its machine it is: it takes the GPU of that number.
    told_by : str
        What told that: an option, or variables of the environment.

    Examples
    --------
    >>> print(Rank(2, 8))
    2/8
    """

    index: int
    of: int
    local: int | None = None
    told_by: str = "--rank"

    def __str__(self) -> str:
        """Return it as it is given on the command line."""
        return f"{self.index}/{self.of}"

    def share(self, rows: int, multiple: int = 1) -> range:
        """Return this process's share of a number of rows.

        Parameters
        ----------
        rows : int
        multiple : int
            The share begins and ends at a multiple of that, or with the rows.

        Examples
        --------
        >>> [Rank(i, 3).share(100, 8) for i in range(3)]
        [range(0, 32), range(32, 64), range(64, 100)]
        """
        groups = -(-rows // multiple)
        first, end = (i * groups // self.of * multiple for i in (self.index, self.index + 1))
        return range(first, rows if self.index + 1 == self.of else end)


def read_rank(text: str) -> Rank:
    """Read what was given as ``--rank``.

    Raises
    ------
    ValueError
        If it is not a number from 0, a slash, and how many there are.

    Examples
    --------
    >>> read_rank("3/8")
    Rank(index=3, of=8, local=None, told_by='--rank')
    """
    found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    if found is None or not int(found[1]) < int(found[2]):
        raise ValueError(f"{text!r} is not a rank")
    return Rank(int(found[1]), int(found[2]))


def rank_here(environ: Mapping[str, str] | None = None) -> Rank | None:
    """Return which of several processes this one is, by the environment; None if it is told of no others.

    Parameters
    ----------
    environ : mapping, optional
        By default that of this process.

    Raises
    ------
    BadInput
        If the variables contradict each other.

    Examples
    --------
    >>> rank_here({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"})
    Rank(index=1, of=4, local=0, told_by='RANK and WORLD_SIZE')
    >>> rank_here({"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "3"})
    Rank(index=1, of=3, local=None, told_by='SLURM_ARRAY_TASK_ID')
    """
    env = os.environ if environ is None else environ
    for number, size, local in _TOLD:
        if number in env and size in env:
            return _checked(_int(env, number), _int(env, size), _local(env, local), f"{number} and {size}")
    if (slurm := _slurm(env)) is not None:
        return slurm
    if _INDEXED_JOB in env and "WORLD_SIZE" in env:
        return _checked(_int(env, _INDEXED_JOB), _int(env, "WORLD_SIZE"), None, f"{_INDEXED_JOB} and WORLD_SIZE")
    return None


def untold(environ: Mapping[str, str] | None = None) -> str | None:
    """Return what to say if the environment numbers this process, and not how many there are; None otherwise."""
    env = os.environ if environ is None else environ
    if _INDEXED_JOB not in env or "WORLD_SIZE" in env or "RANK" in env:
        return None
    return (
        f"{_INDEXED_JOB} is {env[_INDEXED_JOB]}, but nothing tells how many such processes there are: each reads all "
        f"of the data. Tell them: --rank ${_INDEXED_JOB}/N, or WORLD_SIZE=N in the environment."
    )


def _slurm(env: Mapping[str, str]) -> Rank | None:
    """Return the rank in a Slurm step, in a job array, or in a step of a job of an array."""
    index, of, told = 0, 1, []
    if "SLURM_ARRAY_TASK_ID" in env and "SLURM_ARRAY_TASK_COUNT" in env:
        step = _int(env, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in env else 1
        first = _int(env, "SLURM_ARRAY_TASK_MIN") if "SLURM_ARRAY_TASK_MIN" in env else 0
        of = max(1, _int(env, "SLURM_ARRAY_TASK_COUNT"))
        index = (_int(env, "SLURM_ARRAY_TASK_ID") - first) // max(1, step) % of  # an array may have gaps
        told.append("SLURM_ARRAY_TASK_ID")
    if "SLURM_PROCID" in env and (tasks := _int(env, "SLURM_NTASKS") if "SLURM_NTASKS" in env else 1) > 1:
        index, of = index * tasks + _int(env, "SLURM_PROCID"), of * tasks
        told.append("SLURM_PROCID")
    return _checked(index, of, _local(env, "SLURM_LOCALID"), " and ".join(told)) if told else None


def _local(env: Mapping[str, str], name: str | None) -> int | None:
    return _int(env, name) if name is not None and name in env else None


def _int(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except ValueError:
        raise _contradiction(f"{name} is {env[name]!r}, which is no number") from None


def _checked(index: int, of: int, local: int | None, told_by: str) -> Rank | None:
    if not 0 <= index < of:
        raise _contradiction(f"{told_by} say that this is process {index} of {of}, counted from 0")
    return Rank(index, of, local, told_by) if of > 1 else None


def _contradiction(what: str) -> BadInput:
    return BadInput(f"In the environment, {what}.", hint="Say which process this is: --rank 0/4", key="rank")
