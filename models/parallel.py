"""Several single-threaded processes that train as one, by averaging their gradients in shared memory.

On a processor that other programs use too, threads inside one operation wait for the slowest of them thousands of
times a step; processes wait for one another once. On two shared cores that made steps up to half again as fast.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
import torch.multiprocessing as mp

#: How long one process waits for the others before it gives the run up (validation and saving included).
_PATIENCE_S = 600.0
#: How often a child looks whether its parent still lives.
_LOOK_S = 2.0


class Team:
    """`size` processes with one buffer each, written in turn so that one meeting a step is enough."""

    def __init__(self, size: int, numbers: int) -> None:
        context = mp.get_context("fork")  # children share the parent's images without copying them
        self.size = size
        self._context = context
        self._meeting: Barrier = context.Barrier(size)
        self._buffers = torch.zeros(2, size, numbers if size > 1 else 0)
        self._buffers.share_memory_()  # type: ignore[no-untyped-call]
        self._turn = 0

    def start(self, work: Callable[[int], object]) -> list[Any]:
        """Run ``work(rank)`` for ranks 1 and up in children; the caller is rank 0. Children end with the caller, soon
        after it even where it was killed."""

        def guarded(rank: int, parent: int) -> None:
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
            work(rank)

        children = [
            self._context.Process(target=guarded, args=(rank, os.getpid()), daemon=True)
            for rank in range(1, self.size)
        ]
        for child in children:
            child.start()
        return children

    def mean(self, rank: int, tensors: Iterable[torch.Tensor]) -> None:
        """Replace the tensors, in place, by their mean over the processes.

        Raises threading.BrokenBarrierError when another process has died or hangs.
        """
        if self.size == 1:
            return
        tensors = list(tensors)
        own = self._buffers[self._turn, rank]
        torch.cat([t.reshape(-1) for t in tensors], out=own)
        self._meeting.wait(_PATIENCE_S)
        mean = self._buffers[self._turn].mean(dim=0)
        self._turn = 1 - self._turn
        for tensor, part in zip(tensors, torch.split(mean, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _end_with(parent: int) -> None:
    """Wait until this process is no longer the child of `parent`, then end it."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
