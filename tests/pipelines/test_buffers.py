import gc
from pathlib import Path

import pytest
import torch

from pipelines.buffers import KEPT, Buffers
from preprocess.errors import EnvironmentProblem


def address(tensor):
    return tensor.untyped_storage().data_ptr()


def test_memory_is_used_again_once_nobody_holds_it():
    buffers = Buffers()
    first = buffers.take((2, 3))
    place = address(first)
    second = buffers.take((2, 3))
    assert address(second) != place
    del first
    assert address(buffers.take((3, 2))) == place


def test_a_view_holds_the_memory():
    buffers = Buffers()
    view = buffers.take((4, 4))[1:, 2]
    view.fill_(7)
    buffers.take((4, 4)).zero_()
    assert (view == 7).all()


def test_memory_outlives_the_buffers():
    buffers = Buffers()
    kept = buffers.take((1000,)).fill_(3)
    del buffers
    gc.collect()
    torch.empty(1000).fill_(4)
    assert (kept == 3).all()


def test_a_bounded_number_of_blocks_stays():
    buffers = Buffers()
    many = [buffers.take((8,)) for _ in range(KEPT + 3)]
    places = [address(tensor) for tensor in many]
    del many
    again = [buffers.take((8,)) for _ in range(KEPT + 3)]
    assert sum(address(tensor) in places[:KEPT] for tensor in again) == KEPT
    assert len(buffers._idle) == 0


def test_another_size_drops_what_is_idle():
    buffers = Buffers()
    buffers.take((8,))
    buffers.take((9,))
    assert len(buffers._idle) + len(buffers._lent) == 1


def test_shape_type_and_alignment():
    tensor = Buffers().take((2, 3, 5))
    assert tensor.shape == (2, 3, 5)
    assert tensor.dtype is torch.float32
    assert tensor.is_contiguous()
    assert address(tensor) % 4096 == 0
    assert Buffers().take((0, 3)).shape == (0, 3)


@pytest.mark.parametrize("size", [1 << 50, 1 << 62])
def test_more_than_there_is_fails(size):
    with pytest.raises(
        EnvironmentProblem, match=f"no memory for a batch of {size >> 28} GiB; use a smaller batch size"
    ):
        Buffers().take((size,))


def test_memory_is_private():
    # shared memory would change under a forked process, and gets no huge pages
    memory = Buffers().take((1000,))
    place = address(memory)
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= place < last:
            assert line.split()[1] == "rw-p"
            return
    pytest.fail("not mapped")
