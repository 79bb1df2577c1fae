import gc
import itertools
from types import SimpleNamespace

import pytest
import torch

from pipelines import ClipLoader, TorchClipLoader, dali_graph
from pipelines.dali_source import Source
from pipelines.normalise import normalise
from preprocess.errors import InvalidInput
from tests.pipelines.small_loader import assert_same_epochs
from tests.pipelines.tiny_shards import textured_clip, write_set

GPU_CODES = 2
"""Largest difference between nvJPEG and libjpeg-turbo that is taken for rounding, in codes of 255."""


ALL_STREAMS = pytest.mark.parametrize("streams", [("rgb",), ("flow",), ("rgb", "flow"), ("flow", "rgb")], ids="-".join)
KINDS = pytest.mark.parametrize(
    "options",
    [
        pytest.param({"training": True, "batch_size": 4}, id="training"),
        pytest.param({"training": True, "batch_size": 2, "num_shards": 2, "shard_id": 1}, id="rank"),
        pytest.param({"training": False, "batch_size": 4}, id="evaluation"),
        pytest.param({"training": False, "batch_size": 2, "frames": 60, "crop": 48}, id="looped"),
        pytest.param({"training": False, "batch_size": 1, "frames": None}, id="whole-clip"),
        pytest.param({"training": False, "batch_size": 6, "windows": 4, "crops": 3}, id="views"),
        pytest.param({"training": False, "batch_size": 3, "frames": None, "crops": 3}, id="whole-clip-crops"),
    ],
)


@ALL_STREAMS
@KINDS
def test_cpu_equals_torch_loader_bit_for_bit(shards, streams, options):
    # an odd crop: its borders fall between two chroma samples, where decoders may differ
    options = {"frames": 8, "crop": 31, "threads": 2, "device": "cpu", "streams": streams, **options}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    assert len(dali) == len(oracle) > 0
    assert_same_epochs(dali, oracle, epochs=2)


@ALL_STREAMS
@KINDS
def test_graph_of_a_gpu_does_the_same_where_it_runs_on_the_cpu(shards, streams, options, monkeypatch):
    monkeypatch.setattr("pipelines.dali.Source", lambda reader, finishes: Source(reader, finishes=not finishes))
    options = {"frames": 8, "crop": 31, "threads": 2, "device": "cpu", "streams": streams, **options}
    assert_same_epochs(ClipLoader(shards, **options), TorchClipLoader(shards, **options), epochs=2)


def test_state_moves_between_the_loaders(shards):
    options = {"frames": 8, "crop": 31, "batch_size": 2, "threads": 2, "device": "cpu"}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    iteration = iter(dali)
    next(iteration)
    oracle.load_state_dict(dali.state_dict())
    assert_same_epochs(iteration, oracle)


@pytest.mark.parametrize("call", [1, 2, 5])
def test_batch_that_is_broken_off_is_read_anew(shards, monkeypatch, call):
    options = {"frames": 8, "crop": 31, "batch_size": 4, "threads": 2, "device": "cpu", "streams": ("rgb",)}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    state, calls = dali.state_dict(), iter(range(1, 6))

    def broken_off(*arguments, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        normalise(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.dali.normalise", broken_off)
        with pytest.raises(KeyboardInterrupt):
            list(dali)
    dali.load_state_dict(state)
    assert_same_epochs(dali, oracle, epochs=2)


@pytest.mark.parametrize("call", [1, 2, 3, 6])
@pytest.mark.parametrize("of", ["run", "source"])
def test_interrupt_inside_dali_shifts_no_clip(shards, monkeypatch, of, call):
    options = {"frames": 8, "crop": 31, "batch_size": 4, "threads": 2, "device": "cpu", "streams": ("rgb",)}
    dali, oracle = ClipLoader(shards, **options), TorchClipLoader(shards, **options)
    state, calls = dali.state_dict(), itertools.count(1)

    def interrupted(method):
        def call_it(*arguments):
            result = method(*arguments)
            if next(calls) == call:
                raise KeyboardInterrupt
            return result

        return call_it

    with monkeypatch.context() as patch:
        if of == "run":  # as the handler of a signal that came while DALI worked
            patch.setattr(dali._pipeline, "run", interrupted(dali._pipeline.run))
        else:
            patch.setattr(Source, "_arrays", interrupted(Source._arrays))
        with pytest.raises(KeyboardInterrupt):
            list(dali)
    dali.load_state_dict(state)
    assert_same_epochs(dali, oracle, epochs=2)


def test_gpu_is_never_asked_for_a_region(shards, monkeypatch):
    asked = []

    def decoder(name):
        def made(*arguments, device, hw_decoder_load, jpeg_fancy_upsampling, **options):
            asked.append((name, device, hw_decoder_load, jpeg_fancy_upsampling))
            return getattr(real, name)(*arguments, **options)

        return made

    real = dali_graph.fn.decoders
    instead = SimpleNamespace(image=decoder("image"), image_slice=decoder("image_slice"))
    monkeypatch.setattr(dali_graph.fn, "decoders", instead)
    fed = {"rgb": dali_graph.fn.external_source(name="rgb")}
    dali_graph._codes("rgb", fed, whole=True, on_gpu=True, hw_decoder_load=0.5)
    assert asked == [("image", "mixed", 0.5, True)]


def test_batch_outlives_its_loader(shards):
    loader = ClipLoader(shards, frames=5, crop=31, batch_size=4, threads=2, device="cpu")
    kept = next(iter(loader))
    copies = {stream: kept[stream].clone() for stream in ("rgb", "flow")}
    del loader
    gc.collect()
    # another pipeline, which would take memory that is free
    list(ClipLoader(shards, frames=5, crop=31, batch_size=4, threads=2, device="cpu", seed=1))
    for stream, copy in copies.items():
        assert torch.equal(kept[stream], copy)


def test_share_of_the_hardware_decoder_out_of_range_fails(shards):
    with pytest.raises(InvalidInput, match=r"hw_decoder_load is 1\.5; it must be from 0 to 1"):
        ClipLoader(shards, hw_decoder_load=1.5)


@pytest.mark.gpu
@pytest.mark.parametrize("training", [True, False])
def test_gpu_equals_cpu_within_rounding(shards, training):
    options = {"frames": 8, "crop": 31, "batch_size": 4, "threads": 2, "training": training}
    gpu, cpu = ClipLoader(shards, device="cuda", **options), TorchClipLoader(shards, device="cpu", **options)
    for _ in range(2):
        for found, expected in zip(gpu, cpu, strict=True):
            assert found["key"] == expected["key"]
            for stream in ("rgb", "flow"):
                assert found[stream].is_cuda
                assert (found[stream].cpu() - expected[stream]).abs().max() <= GPU_CODES / 127


@pytest.mark.gpu
def test_gpu_batch_stays_valid_after_the_next_ones(shards):
    loader = ClipLoader(shards, frames=8, crop=31, batch_size=2, device="cuda")
    iteration = iter(loader)
    kept = next(iteration)
    copy = kept["rgb"].clone()
    list(iteration)
    assert torch.equal(kept["rgb"], copy)


def test_jpeg_with_a_damaged_header_does_not_reach_dali(tmp_path, monkeypatch):
    # DALI 2.4 crashes on one now and then, see pipelines.jpeg_header
    clips = [textured_clip(f"clip{n}", label=0, frames=9, size=(48, 64)) for n in range(4)]
    clips[1].rgb[4] = b"\xff\xd8" + bytes(40) + b"\xff\xd9"
    clips[2].flow[4] = clips[2].flow[4].replace(b"\xff\xc4", b"\xff\xaa")
    folder = write_set(tmp_path, {"train": [clips]})

    def reached(*_):
        pytest.fail("DALI was given a JPEG that it cannot decode")

    monkeypatch.setattr(ClipLoader, "_reject_undecodable", reached)
    options = {"frames": 8, "crop": 31, "batch_size": 2, "threads": 2, "device": "cpu"}
    loader = ClipLoader(folder, on_bad_shard="skip", **options)
    assert {key for _ in range(2) for batch in loader for key in batch["key"]} == {"clip0", "clip3"}
