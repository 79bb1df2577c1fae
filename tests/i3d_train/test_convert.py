"""Tests of i3d_train.convert and its command."""

import hashlib
import json
import os
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from i3d_train import weights
from i3d_train.commands.convert import convert as command
from i3d_train.convert import convert, write_safetensors
from i3d_train.weight_info import HEADER
from preprocess.console import CommandGroup
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import BUILDS, small
from tests.i3d_train.released_files import (
    random_i3d,
    released_variables,
    same_tensors,
    write_checkpoint,
    write_released,
)

WIDTH = 1 / 16


@pytest.fixture
def released(tmp_path):
    torch.manual_seed(1)
    network = random_i3d(num_classes=3, stream="flow", width=WIDTH)
    return write_released(tmp_path / "flow.npz", released_variables(network))


def same_arrays(left, right) -> bool:
    with np.load(left) as a, np.load(right) as b:
        return sorted(a) == sorted(b) and all(
            a[name].tobytes() == b[name].tobytes() and a[name].shape == b[name].shape for name in a
        )


def test_released_variables_come_back_to_the_bit(released, tmp_path):
    convert(released, tmp_path / "flow.safetensors")
    convert(tmp_path / "flow.safetensors", tmp_path / "again.npz")
    assert same_arrays(released, tmp_path / "again.npz")


@pytest.mark.parametrize("stream", ["rgb", "both"])
def test_network_of_ours_comes_back_to_the_bit_through_released_names(stream, tmp_path):
    network = small("i3d", stream)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    convert(tmp_path / "w.pt", tmp_path / "w.npz")
    assert same_tensors(network, weights.restore(tmp_path / "w.npz"))


def test_checkpoint_comes_back_to_the_bit_with_its_labels(tmp_path):
    network = small("convnet_lstm", "rgb", classes=2)
    path = write_checkpoint(tmp_path, network, model="convnet_lstm")
    done = convert(path, tmp_path / "w.safetensors")
    info = weights.describe(tmp_path / "w.safetensors")
    assert done.info == info
    assert (info.model, info.stream, info.labels) == ("convnet_lstm", "rgb", ("class 0", "class 1"))
    assert info.transfer == "full"
    assert same_tensors(network, weights.restore(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(("name", "stream"), BUILDS)
def test_every_network_comes_back_to_the_bit(name, stream, tmp_path):
    network = small(name, stream)
    info = weights.WeightsInfo(path=tmp_path / "run", model=name, stream=stream, num_classes=5, width=network.width)
    (tmp_path / "w.safetensors").write_bytes(write_safetensors(network, info, source={}))
    convert(tmp_path / "w.safetensors", tmp_path / "again.safetensors")
    assert same_tensors(network, weights.restore(tmp_path / "again.safetensors"))


def test_metadata_tell_the_source(released, tmp_path):
    done = convert(released, tmp_path / "w.safetensors")
    digest = hashlib.sha256(released.read_bytes()).hexdigest()
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        record = json.loads(file.metadata()[HEADER])
    assert record["source"] == {"name": "flow.npz", "sha256": digest}
    assert done.source_sha256 == digest


def test_source_whose_name_is_no_utf8_is_told(released, tmp_path):
    convert(released.rename(tmp_path / os.fsdecode(b"caf\xe9.npz")), tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()[HEADER])["source"]["name"] == "caf\\xe9.npz"


def test_same_weights_give_the_same_bytes(released, tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        convert(released, tmp_path / name)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_labels_of_the_caller_are_written(released, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    convert(released, tmp_path / "w.safetensors", labels=tmp_path / "labels.txt")
    assert weights.describe(tmp_path / "w.safetensors").labels == ("a", "b", "c")


def test_too_few_labels_fails(released, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(InvalidInput, match=r"labels\.txt names 2 classes, the network has 3"):
        convert(released, tmp_path / "w.safetensors", labels=tmp_path / "labels.txt")
    assert not (tmp_path / "w.safetensors").exists()


def test_tensors_and_numbers_are_those_of_the_file(released, tmp_path):
    done = convert(released, tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as archive:
        assert (done.tensors, done.numbers) == (len(archive), sum(archive[name].size for name in archive))
    assert done.notes == ()


def test_what_npz_does_not_hold_is_told(tmp_path):
    network = small("i3d", "rgb", classes=2)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    info = replace(weights.describe(tmp_path / "w.pt"), short_side=64, fps=Fraction(15), transfer="full", fold=1)
    (tmp_path / "w.safetensors").write_bytes(write_safetensors(network, info, source={}))
    (tmp_path / "labels.txt").write_text("a\nb\n")
    done = convert(tmp_path / "w.safetensors", tmp_path / "w.npz", labels=tmp_path / "labels.txt")
    told = [note.split(" is")[0].split(" are")[0] for note in done.notes]
    assert told == [
        "the class names",
        "the short side of 64 pixels",
        "the 15 frames a second",
        "transfer full, by which they were trained,",
        "fold 1, which they were trained on,",
        "BatchNorm's scale",
    ]
    assert done.info == weights.describe(tmp_path / "w.npz")


def test_unknown_ending_fails(released, tmp_path):
    with pytest.raises(InvalidInput, match=r"w\.onnx should end in \.safetensors or \.npz"):
        convert(released, tmp_path / "w.onnx")


def test_writing_over_the_source_fails(released, tmp_path):
    (tmp_path / "link.npz").symlink_to(released)
    with pytest.raises(InvalidInput, match=r"link\.npz is the file to read; write to another one"):
        convert(released, tmp_path / "link.npz")


def test_released_names_are_for_i3d_only_fails(tmp_path):
    path = write_checkpoint(tmp_path, small("c3d", "rgb"), model="c3d")
    with pytest.raises(InvalidInput, match=r"weights of c3d; \.npz is for i3d only, write \.safetensors"):
        convert(path, tmp_path / "w.npz")
    assert not (tmp_path / "w.npz").exists()


def test_width_that_released_names_do_not_tell_fails(tmp_path):
    network = small("i3d", "rgb", width=0.05)
    info = weights.WeightsInfo(path=tmp_path, model="i3d", stream="rgb", num_classes=5, width=network.width)
    (tmp_path / "w.safetensors").write_bytes(write_safetensors(network, info, source={}))
    with pytest.raises(InvalidInput, match=r"width 0\.05; \.npz is for widths of n/64 only, write \.safetensors"):
        convert(tmp_path / "w.safetensors", tmp_path / "w.npz")
    assert not (tmp_path / "w.npz").exists()


def test_torn_file_of_ours_fails(released, tmp_path):
    path = tmp_path / "w.safetensors"
    convert(released, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"w\.safetensors is not a whole safetensors file"):
        weights.describe(path)


def invoke(*arguments) -> tuple[int, str, str]:
    group = CommandGroup(commands={"convert": command})
    result = CliRunner().invoke(group, ["convert", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_command_says_what_it_wrote(released, tmp_path):
    status, shown, _ = invoke(released, tmp_path / "w.safetensors")
    assert status == 0
    numbers = sum(tensor.numel() for tensor in weights.restore(released).state_dict().values())
    assert shown.splitlines() == [
        f"i3d flow, 3 classes, 0 of them named, {numbers:,} numbers in 344 tensors",
        f"wrote {tmp_path / 'w.safetensors'}",
    ]


def test_command_names_what_is_wrong_fails(tmp_path):
    status, _, log = invoke(tmp_path / "none.npz", tmp_path / "w.safetensors")
    assert status == 2
    assert log == f"Error: weights {tmp_path / 'none.npz'} do not exist\n"


def test_released_rgb_network_comes_back_to_the_bit(released_weights, tmp_path):
    convert(released_weights, tmp_path / "rgb.safetensors")
    convert(tmp_path / "rgb.safetensors", tmp_path / "rgb.npz")
    assert same_arrays(released_weights, tmp_path / "rgb.npz")
