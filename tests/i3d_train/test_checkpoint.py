"""Tests of i3d_train.checkpoint."""

import copy
import errno
import logging
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch

from i3d_train import checkpoint
from i3d_train.checkpoint import Checkpoint, NewerVersion
from preprocess.errors import EnvironmentProblem, InvalidInput


def example(step: int = 7) -> Checkpoint:
    return Checkpoint(
        step=step,
        model_name="i3d",
        stream="flow",
        num_classes=2,
        labels=("dark", "light"),
        model={"w": torch.arange(1000.0)},
        optimizer={"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        loader={"epoch": 1, "batch": 2},
        rng=[{"cpu": torch.get_rng_state()}],
        config={"frames": 64, "lr": None},
        scaler={"scale": 65536.0},
        schedule={"drops": 1, "best": float("inf")},
        validated_step=5,
        best_top1=0.5,
    )


def saved_content(path) -> dict:
    return torch.load(path, weights_only=True)


class Gadget:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("field", ["model", "rng"])
def test_tensors_survive(field, tmp_path):
    loaded = checkpoint.load(checkpoint.save(tmp_path, example(), keep=1))
    torch.testing.assert_close(getattr(loaded, field), getattr(example(), field), rtol=0, atol=0)


@pytest.mark.parametrize(
    "field",
    [
        *("step", "model_name", "stream", "num_classes", "labels", "loader", "config"),
        *("ema", "scaler", "schedule", "validated_step", "best_top1"),
    ],
)
def test_plain_values_survive(field, tmp_path):
    loaded = checkpoint.load(checkpoint.save(tmp_path, example(), keep=1))
    assert getattr(loaded, field) == getattr(example(), field)


def test_only_the_newest_are_kept(tmp_path):
    for step in (5, 10, 15, 100):
        checkpoint.save(tmp_path, example(step), keep=2)
    assert checkpoint.saved_steps(tmp_path) == [15, 100]


@pytest.mark.parametrize(("keep", "kept"), [(1, [4]), (2, [3, 4])])
def test_damaged_later_one_does_not_count_and_goes(keep, kept, tmp_path):
    checkpoint.save(tmp_path, example(3), keep=5)
    checkpoint.checkpoint_path(tmp_path, 6).write_bytes(b"")
    assert checkpoint.newest(tmp_path).step == 3
    checkpoint.save(tmp_path, example(4), keep=keep)
    assert checkpoint.saved_steps(tmp_path) == kept


def test_newest_is_by_number_not_by_name(tmp_path):
    for step in (9, 10):
        checkpoint.save(tmp_path, example(step), keep=5)
    assert checkpoint.newest(tmp_path).step == 10


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.newest(tmp_path / "nowhere") is None


def test_flipped_bit_is_noticed_fails(tmp_path):
    path = checkpoint.save(tmp_path, example(), keep=1)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 500] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"is damaged in .*; use an older one"):
        checkpoint.load(path)


def test_damaged_newest_falls_back_and_says_so(tmp_path, caplog):
    for step in (5, 10):
        checkpoint.save(tmp_path, example(step), keep=5)
    newest = checkpoint.checkpoint_path(tmp_path, 10)
    newest.write_bytes(newest.read_bytes()[:2000])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest(tmp_path).step == 5
    assert "checkpoint-10.pt cannot be read" in caplog.text
    assert "falling back to the one before" in caplog.text


def test_checkpoint_that_the_disk_does_not_give_is_not_passed_over(tmp_path, monkeypatch):
    # the next one saved would delete it
    for step in (5, 10):
        checkpoint.save(tmp_path, example(step), keep=5)

    def fails(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "archive_fault", fails)
    with pytest.raises(EnvironmentProblem, match=r"checkpoint-10\.pt cannot be read here and now \(.*Input/output"):
        checkpoint.newest(tmp_path)


def test_all_damaged_fails(tmp_path):
    checkpoint.checkpoint_path(tmp_path, 5).write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"all 1 checkpoints of .* are damaged"):
        checkpoint.newest(tmp_path)


def test_newer_version_is_not_passed_over_fails(tmp_path):
    checkpoint.save(tmp_path, example(5), keep=5)
    path = checkpoint.save(tmp_path, example(10), keep=5)
    torch.save(saved_content(path) | {"version": checkpoint.VERSION + 1}, path)
    with pytest.raises(NewerVersion, match=r"checkpoint-10\.pt has version 2, this one knows 1; upgrade"):
        checkpoint.newest(tmp_path)


@pytest.mark.parametrize("version", [None, "1"])
def test_version_that_is_no_number_fails(version, tmp_path):
    path = checkpoint.save(tmp_path, example(5), keep=5)
    torch.save(saved_content(path) | {"version": version}, path)
    with pytest.raises(InvalidInput, match=r"has version .*; it is damaged"):
        checkpoint.load(path)


def test_best_is_kept_beside_the_newest(tmp_path):
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, example(step), keep=1)
        if step == 5:
            checkpoint.save_best(tmp_path, example(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "checkpoint-15.pt"]
    assert checkpoint.load(tmp_path / "best.pt").step == 5


def test_best_of_a_run_is_its_newest_where_none_was_validated(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(InvalidInput, match=r"holds no checkpoint of a run; give the folder of a run, or a file"):
            checkpoint.best_path(folder)
    for step in (9, 10):
        newest = checkpoint.save(tmp_path, example(step), keep=2)
    assert checkpoint.best_path(tmp_path) == newest
    best = checkpoint.save_best(tmp_path, example(1))
    assert checkpoint.best_path(tmp_path) == best
    newest.unlink()
    checkpoint.checkpoint_path(tmp_path, 9).unlink()
    assert checkpoint.best_path(tmp_path) == best


def test_weights_to_use_are_the_running_average_where_there_is_one(tmp_path):
    average = {"w": torch.zeros(3)}
    path = checkpoint.save(tmp_path, replace(example(), ema=average), keep=1)
    assert torch.equal(checkpoint.load(path).weights["w"], average["w"])
    assert example().weights["w"].numel() == 1000


def test_gadget_is_refused_without_running_fails(tmp_path):
    torch.save({"format": checkpoint.FORMAT, "model": Gadget(f"touch {tmp_path}/ran")}, tmp_path / "evil.pt")
    with pytest.raises(InvalidInput, match=r"holds more than plain data and was not loaded"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_plain_pickle_is_refused_without_running_fails(tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Gadget(f"touch {tmp_path}/ran")))
    with pytest.raises(InvalidInput, match=r"evil\.pt cannot be read"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1]])
def test_other_tensors_fail(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InvalidInput, match=r"is not a checkpoint of `i3d_train run`"):
        checkpoint.load(tmp_path / "other.pt")


def test_missing_part_fails(tmp_path):
    path = checkpoint.save(tmp_path, example(), keep=1)
    content = saved_content(path)
    del content["optimizer"]
    torch.save(content, path)
    with pytest.raises(InvalidInput, match=r"lacks 'optimizer'"):
        checkpoint.load(path)


def test_packed_archive_is_not_unpacked_fails(tmp_path):
    """A few kB that unpack to gigabytes."""
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(InvalidInput, match=r"holds packed entries such as 'archive/data.pkl', which PyTorch does not"):
        checkpoint.load(path)


def test_archive_whose_entries_overlap_is_not_read_fails(tmp_path):
    """A thousand names for the same bytes: read one by one, they are a thousand times the file."""
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(100_000))
        first = archive.infolist()[0]
        for number in range(1000):
            twin = copy.copy(first)
            twin.filename = f"b{number}"
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    with pytest.raises(InvalidInput, match=r"declares 100100000 bytes and has \d+"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", [1], "has a list for model"),
        ("model", {"w": 1}, "holds what is no Tensor in model"),
        ("ema", {"w": "x"}, "holds what is no Tensor in ema"),
        ("optimizer", None, "has a NoneType for optimizer"),
        ("step", "5", "has a str for step"),
        ("step", -1, "is of step -1"),
        ("rng", [1], "holds what is no dict in rng"),
        ("labels", [1, 2], "holds what is no str in labels"),
        ("labels", None, r"is damaged \('NoneType' object is not iterable\)"),
        ("config", [], "has a list for config"),
    ],
)
def test_field_of_another_kind_fails(tmp_path, field, value, message):
    path = checkpoint.save(tmp_path, example(), keep=1)
    torch.save({**saved_content(path), field: value}, path)
    with pytest.raises(InvalidInput, match=message):
        checkpoint.load(path)
