"""Going on from a saved state; what needs pixels runs on both loaders."""

import json
import shutil

import numpy as np
import pytest
import torch

from pipelines import LOADERS
from preprocess.errors import InvalidInput
from preprocess.shards import Index
from tests.pipelines.small_loader import assert_equal, assert_same_epochs, open_small
from tests.pipelines.tiny_shards import textured_clip, write_set

both = pytest.mark.parametrize("backend", LOADERS)


@both
@pytest.mark.parametrize("stop", [1, 4, 5])
def test_resume_goes_on_bit_for_bit(shards, backend, stop):
    loader, resumed = open_small(shards, backend), open_small(shards, backend)
    list(loader)
    iteration = iter(loader)
    for _ in range(stop):
        next(iteration)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == ((1, stop) if stop < 5 else (2, 0))
    resumed.load_state_dict(state)
    rest = list(iteration)
    for expected, found in zip([*rest, *loader], [*(resumed if rest else []), *resumed], strict=True):
        assert_equal(expected, found)


@both
def test_a_used_loader_can_be_sent_back(shards, backend):
    loader = open_small(shards, backend)
    state = loader.state_dict()
    first = list(loader)
    next(iter(loader))
    loader.load_state_dict(state)
    for expected, found in zip(first, loader, strict=True):
        assert_equal(expected, found)


@both
def test_resume_inside_an_epoch_with_another_number_of_ranks(shards, backend):
    alone = open_small(shards, backend, batch_size=4)
    iteration = iter(alone)
    next(iteration)
    state = alone.state_dict()
    (expected,) = iteration
    found = {}
    for rank in range(2):
        loader = open_small(shards, backend, num_shards=2, shard_id=rank)
        loader.load_state_dict(state)
        (batch,) = loader
        found.update(zip(batch["key"], batch["rgb"], strict=True))
    assert found.keys() == set(expected["key"])
    for key, rgb in zip(expected["key"], expected["rgb"], strict=True):
        assert torch.equal(found[key], rgb)


@both
def test_rank_that_was_through_with_an_evaluation_stays_so(shards, backend):
    longer = open_small(shards, backend, training=False, batch_size=1, num_shards=2, shard_id=0)
    shorter = open_small(shards, backend, training=False, batch_size=1, num_shards=2, shard_id=1)
    iteration = iter(longer)
    next(iteration)
    next(iteration)
    shorter.load_state_dict(longer.state_dict())
    assert list(shorter) == []
    assert len(list(shorter)) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"balanced": True},
        {"shuffle_shards": 1},
        {"training": False, "split": "train", "windows": 3, "crops": 3, "batch_size": 6},
    ],
    ids=str,
)
def test_resume_goes_on_bit_for_bit_however_clips_are_chosen(shards, options):
    loader, resumed = open_small(shards, "torch", **options), open_small(shards, "torch", **options)
    iteration = iter(loader)
    next(iteration)
    next(iteration)
    resumed.load_state_dict(loader.state_dict())
    assert_same_epochs(resumed, list(iteration))
    assert_same_epochs(resumed, loader)


@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 4), (3, 1), (2, 3)])
def test_epoch_start_resumes_with_any_number_of_ranks(shards, ranks, batch_size):
    saved = open_small(shards, "torch", batch_size=2)
    list(saved)
    state = saved.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)
    keys = []
    for rank in range(ranks):
        loader = open_small(shards, "torch", batch_size=batch_size, num_shards=ranks, shard_id=rank)
        loader.load_state_dict(state)
        keys += [key for batch in loader for key in batch["key"]]
    step = ranks * batch_size
    order = saved.shards.clips.key[saved.sampler.order(1)].astype(str).tolist()
    assert sorted(keys) == sorted(order[: 11 // step * step])


def test_state_is_plain_and_survives_json_and_torch(shards, tmp_path):
    loader = open_small(shards, "torch")
    next(iter(loader))
    state = loader.state_dict()
    torch.save(state, tmp_path / "state.pt")
    for copy in (json.loads(json.dumps(state)), torch.load(tmp_path / "state.pt", weights_only=True)):
        resumed = open_small(shards, "torch")
        resumed.load_state_dict(copy)
        assert resumed.state_dict() == state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 3}, "seed is 3 there and 0 here"),
        ({"frames": 4}, "frames is 4 there and 8 here; use the values of then, or start anew"),
        ({"crop": 16}, "crop is 16 there and 32 here"),
        ({"flip": False}, "flip is False there and True here"),
        ({"balanced": True}, "balanced is True there and False here"),
        ({"shuffle_shards": 2}, "shuffle_shards is 2 there and None here"),
        ({"streams": ("rgb",)}, r"streams is \['rgb'\] there"),
        ({"training": False, "split": "train"}, "training is False there and True here"),
        (
            {"split": "test"},
            r"shard test-00000-of-00001\.h5 is there and not here; 2 shards are here and not there: tra",
        ),
    ],
)
def test_state_of_another_loader_fails(shards, options, message):
    state = open_small(shards, "torch", **options).state_dict()
    with pytest.raises(InvalidInput, match=message):
        open_small(shards, "torch").load_state_dict(state)


def test_inside_an_epoch_another_step_fails(shards):
    loader = open_small(shards, "torch")
    next(iter(loader))
    with pytest.raises(InvalidInput, match=r"clips_per_step is 2 there and 4 here; inside an epoch"):
        open_small(shards, "torch", batch_size=4).load_state_dict(loader.state_dict())


def test_inside_an_evaluation_of_several_windows_other_ranks_fail(shards):
    options = {"training": False, "windows": 3}
    loader = open_small(shards, "torch", batch_size=2, **options)
    next(iter(loader))
    with pytest.raises(InvalidInput, match="num_shards is 1 there and 2 here; inside an epoch"):
        open_small(shards, "torch", batch_size=1, num_shards=2, **options).load_state_dict(loader.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "version 1, this loader knows 3"),
        ({"epoch": -1}, "epoch -1"),
        ({"epoch": "1"}, "epoch '1', batch 0; it is damaged"),
        ({"batch": -1}, "batch -1; it is damaged"),
        ({"batch": 6}, "batch 6 of 5"),
        ({"batch": "1"}, "batch '1'; it is damaged"),
        ({"batch": True}, "batch True; it is damaged"),
        ({"crop": None}, "crop is None there and 32 here"),
        ({"shards": None}, "says None of shard ''; it is damaged"),
        ({"shards": {"a": 3}}, "says 3 of shard 'a'; it is damaged"),
        ({"shards": {"a": ("0", "all", "more")}}, "of shard 'a'; it is damaged"),
        ({"shards": {"a": ("0", "xyz")}}, "of shard 'a'; it is damaged"),
    ],
)
def test_damaged_state_fails(shards, change, message):
    loader = open_small(shards, "torch")
    with pytest.raises(InvalidInput, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_refused_state_leaves_the_loader_as_it_was(shards):
    loader = open_small(shards, "torch")
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(InvalidInput):
        loader.load_state_dict({**before, "seed": 5})
    assert loader.state_dict() == before


def test_shards_that_are_gone_or_new_are_named(shards, tmp_path):
    state = open_small(shards, "torch").state_dict()
    shutil.copytree(shards, tmp_path / "changed")
    extra = [textured_clip(f"new{n}", label=0, frames=9, size=(48, 64)) for n in range(2)]
    changed = write_set(tmp_path / "changed", {"train": [extra]})
    with pytest.raises(
        InvalidInput,
        match=r"2 shards are there and not here: train-00000-of-00002\.h5, train-00001-of-00002\.h5; "
        r"shard train-00000-of-00001\.h5 is here and not there; open the loader with the shards and clips",
    ):
        open_small(changed, "torch").load_state_dict(state)


def test_shard_with_other_bytes_is_named(tmp_path):
    folders = [
        write_set(tmp_path / name, {"train": [[textured_clip(f"{name}{n}", label=0, frames=9, size=(48, 64))]]})
        for n, name in enumerate(("before", "after"))
    ]
    was, now = (Index.read(folder).shards[0].sha256[:16] for folder in folders)
    state = open_small(folders[0], "torch", batch_size=1).state_dict()
    with pytest.raises(
        InvalidInput,
        match=rf"1 of 1 shards have other bytes, the first train-00000-of-00001\.h5: sha256 {was}\.\.\. there, {now}",
    ):
        open_small(folders[1], "torch", batch_size=1).load_state_dict(state)


def test_other_clips_of_the_same_shards_are_named(shards, tmp_path):
    for name, numbers in (("was", (0, 1, 2, 7, 8)), ("now", (0, 1, 2, 3, 8))):
        rows = [f"train{n:02d},{('archery', 'yoga', 'zumba')[n % 3]},train\n" for n in numbers]
        (tmp_path / f"{name}.csv").write_text("key,label,split\n" + "".join(rows))
    was, now = (open_small(shards, "torch", clips=tmp_path / f"{name}.csv") for name in ("was", "now"))
    with pytest.raises(InvalidInput, match="clip train07 is there and not here; clip train03 is here and not there"):
        now.load_state_dict(was.state_dict())
    everything = open_small(shards, "torch").state_dict()
    with pytest.raises(InvalidInput, match=r"6 clips are there and not here: train04, train05, train06, \.\.\.; open"):
        now.load_state_dict(everything)
    now.load_state_dict(now.state_dict())


def test_mixture_with_other_weights_fails(shards):
    state = open_small([(shards, 1), (shards, 2)], "torch").state_dict()
    with pytest.raises(InvalidInput, match=r"weights is \[1\.0, 2\.0\] there and \[1\.0, 3\.0\] here"):
        open_small([(shards, 1), (shards, 3)], "torch").load_state_dict(state)


@pytest.mark.parametrize("state", [None, [1]])
def test_state_that_is_none_fails(shards, state):
    with pytest.raises(InvalidInput, match="version None, this loader knows 3"):
        open_small(shards, "torch").load_state_dict(state)


def test_state_holds_plain_numbers_whatever_the_options_were(shards):
    options = {"seed": np.int64(3), "frames": np.int64(8), "crop": np.uint8(32), "batch_size": np.int32(2)}
    for backend in ("torch", "dali"):
        loader = open_small([(shards, np.float64(1))], backend, **options)
        state = json.loads(json.dumps(loader.state_dict()))
        assert_same_epochs(loader, open_small([(shards, 1)], backend, seed=3))
        open_small([(shards, 1)], backend, seed=3).load_state_dict(state)
