"""Many processes that work on one thing: who this process is, as ``torchrun`` says it.

This module reads the environment alone (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``) and costs nothing. What speaks to the
other processes is in :mod:`ganfeat.distributed.team` and :mod:`ganfeat.distributed.reduce`.
"""

from __future__ import annotations

import os

from ganfeat.errors import InputError


def rank() -> int:
    """Which of the processes this one is, from 0; 0 without torchrun."""
    return _number("RANK", 0) if world_size() > 1 else 0


def world_size() -> int:
    """How many processes there are on all machines together; 1 without torchrun.

    Raises
    ------
    InputError
        If the environment says something that cannot be.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 1
    size, number = _number("WORLD_SIZE", 1), _number("RANK", 0)
    if not 0 <= number < size:
        raise InputError(f"RANK={number} and WORLD_SIZE={size} cannot be: start the processes with torchrun")
    return size


def local_rank() -> int:
    """Which of the processes on this machine this one is, from 0."""
    return _number("LOCAL_RANK", rank()) if world_size() > 1 else 0


def local_world_size() -> int:
    """How many processes there are on this machine."""
    return _number("LOCAL_WORLD_SIZE", world_size()) if world_size() > 1 else 1


def machine() -> int:
    """Which of the machines this process is on, from 0, as torchrun counts them at this start."""
    return _number("GROUP_RANK", rank() // max(1, local_world_size())) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def _number(name: str, usual: int) -> int:
    value = os.environ.get(name, str(usual))
    if not value.isdecimal():
        raise InputError(f"{name}={value!r} in the environment is no number: start the processes with torchrun")
    return int(value)
