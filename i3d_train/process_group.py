"""The processes that train one network together: one, those of torchrun, or those of Ray Train.

Process 0 reads and writes the folder of the run; all others only compute. What one process finds out alone and all
have to act on, such as a wish to stop, is agreed on here.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from preprocess.errors import EnvironmentProblem, KineflowError

Value = TypeVar("Value")

_RANK, _SIZE, _LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
"""Environment variables that torchrun, and Ray Train in its workers, set for each process."""
_SETTLE_S = 0.2


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and tells what happens."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, added up over all processes; in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def copy_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace `tensors` by those of process 0; in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def any(self, flag: bool, *, device: torch.device) -> bool:
        """Whether it is so in at least one process; the same answer in all."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=device)).item())

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes by rank, in each of them; picklable ones."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What process 0 makes, picklable, in all; so that a fault that it meets there ends all of them.

        Raises:
            KineflowError: as `make` does.
        """
        if self.size == 1:
            return make()
        found: list[Any] = [None, None]
        if self.is_first:
            try:
                found[0] = make()
            except KineflowError as error:
                found[1] = error
        dist.broadcast_object_list(found, src=0)
        made, fault = found
        if fault is not None:
            raise fault
        value: Value = made
        return value


ALONE = ProcessGroup()
"""The group of a process that trains by itself."""


def is_first_process() -> bool:
    """Whether this process is the one of its launcher that speaks; before `joined`, from the environment."""
    return os.environ.get(_RANK, "0") == "0"


def is_joined() -> bool:
    """Whether this process has been put into a group already, as Ray Train does with its workers."""
    return dist.is_initialized()


def launched_processes() -> int:
    """How many processes torchrun, or Ray Train, started together with this one, itself counted."""
    return int(os.environ.get(_SIZE, "1"))


@contextmanager
def joined(device: str) -> Iterator[ProcessGroup]:
    """The group that this process was started for; left at the end, unless it had been joined before.

    After an error nothing is left in order: other processes may still wait for this one, and end with it.

    Args:
        device: `auto`, `cpu` or `cuda`; under torchrun the GPU of this process becomes the current one.

    Raises:
        EnvironmentProblem: more processes than GPUs on this machine.
    """
    if dist.is_initialized():
        yield ProcessGroup(rank=dist.get_rank(), size=dist.get_world_size())
        return
    if launched_processes() == 1:
        yield ALONE
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        local, gpus = int(os.environ.get(_LOCAL_RANK, "0")), torch.cuda.device_count()
        if local >= gpus:
            raise EnvironmentProblem(
                f"process {local} of this machine has no GPU of its own, there are {gpus}; start "
                f"--nproc-per-node {gpus}, or use --device cpu"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    yield ProcessGroup(rank=dist.get_rank(), size=dist.get_world_size())
    # Gloo's threads may still want Python's lock to let go of the last tensors, and are joined by a thread that holds
    # it: without this pause, which gives it up, one run in a few never ends (torch 2.13)
    time.sleep(_SETTLE_S)
    dist.destroy_process_group()
