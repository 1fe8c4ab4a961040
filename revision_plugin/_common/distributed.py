"""The processes of a torchrun launch: who they are, and how they share results and failures."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from ..errors import RevisionError

PATIENCE = timedelta(days=7)  # one process may have long work left when another is done
_joined = False  # a host's own process group (of a training, say) is none of ours: its processes do other things


def torchrun(processes: int) -> list[str]:
    """The words after `python` that start `processes` processes of one machine on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = ["--master_addr", "127.0.0.1", "--master_port", port]
    return ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), *address]


def _number(name: str, default: int) -> int:
    """A whole number from the environment. Raises RevisionError for anything else there."""
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RevisionError(f"the environment variable {name} is '{text}', not a number of a process; unset it")
    return int(text)


def launched_rank() -> int:
    """This process' number as its launcher (torchrun, deepspeed) tells it, joined or not."""
    return _number("RANK", 0)


def launched_processes() -> int:
    """How many processes the launcher started."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """This process' number on its machine, from 0: that of its GPU."""
    return _number("LOCAL_RANK", 0)


def start() -> None:
    """Join the processes of a torchrun launch to share work from here on; without such a launch, do nothing."""
    global _joined
    if launched_processes() > 1:
        dist.init_process_group("gloo", timeout=PATIENCE)
        _joined = True


def stop() -> None:
    """Leave the process group, where one was joined."""
    global _joined
    if _joined:
        dist.destroy_process_group()
        _joined = False


def world_size() -> int:
    """The number of processes that share this work."""
    if not _joined:
        return 1
    return dist.get_world_size()


def rank() -> int:
    """This process' number, from 0."""
    if not _joined:
        return 0
    return dist.get_rank()


def share(array: np.ndarray) -> list[np.ndarray]:
    """Every process' `array`, in the order of their ranks, in every process; all of one shape and dtype."""
    if world_size() == 1:
        return [array]
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor)
    return [part.numpy() for part in parts]


def fail_together(problem: str | None) -> None:
    """Raise RevisionError in every process where one of them has a `problem`: the lowest rank's."""
    if world_size() == 1:
        texts = [problem]
    else:
        encoded = (problem or "").encode()
        width = max(int(length[0]) for length in share(np.array([len(encoded)])))
        padded = np.frombuffer(encoded.ljust(width, b"\0"), np.uint8)
        texts = [bytes(part).rstrip(b"\0").decode() for part in share(padded)] if width else []
    for text in texts:
        if text:
            raise RevisionError(text)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A RevisionError inside, in one of the processes, is raised in all of them."""
    problem = None
    try:
        yield
    except RevisionError as error:
        problem = str(error)
    fail_together(problem)
