import errno
from unittest.mock import Mock

import cv2
import pytest
from click.testing import CliRunner

from pipelines.contact_sheet import sheet_size
from pipelines.show import main, show_clip, show_input
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.shards import ShardSet
from tests.pipelines.small_loader import open_small
from tests.pipelines.tiny_shards import flat_clip, write_set

SMALL = {"frames": 8, "crop": 32}


def test_command_writes_what_the_network_is_given(shards, tmp_path):
    out = tmp_path / "sheet.png"
    arguments = ["--seed", "3", "--epoch", "2", "--position", "4", "--clips", "3", "--frames", "8", "--crop", "32"]
    result = CliRunner().invoke(main, [str(shards), "--out", str(out), *arguments])
    assert result.exit_code == 0, result.output
    planned = open_small(shards, "torch", seed=3)
    keys = [planned.shards.key(clip) for clip in planned.sampler.order(2)[4:7]]
    assert result.output == f"{out}: {', '.join(keys)}\n"
    assert cv2.imread(str(out)).shape[0] > 3 * 400


def test_evaluation_shows_all_views_of_a_clip(shards, tmp_path):
    out = tmp_path / "sheet.png"
    arguments = ["--split", "val", "--evaluation", "--windows", "2", "--crops", "3", "--clips", "1", "--crop", "32"]
    result = CliRunner().invoke(main, [str(shards), "--out", str(out), *arguments])
    assert result.output == f"{out}: val0\n"
    assert cv2.imread(str(out)).shape[0] > 6 * 400


def test_fewer_clips_are_shown_at_the_end_of_the_epoch(shards, tmp_path):
    assert len(show_input(shards, out=tmp_path / "clip.png", position=9, clips=5, **SMALL)) == 2


@pytest.mark.parametrize("where", [{"position": 11}, {"position": -1}, {"epoch": -1}, {"clips": 0}], ids=str)
def test_position_beyond_the_epoch_fails(shards, tmp_path, where):
    with pytest.raises(InvalidInput, match="there are positions 0 to 10 in each epoch from 0"):
        show_input(shards, out=tmp_path / "clip.png", **SMALL, **where)


def test_sheet_that_nobody_could_look_at_fails(shards, tmp_path):
    with pytest.raises(InvalidInput, match="102 rows are more than the 100 of a sheet; show fewer clips, windows or"):
        show_input(shards, out=tmp_path / "clip.png", split="val", training=False, windows=102, clips=1, **SMALL)


def test_crop_larger_than_the_frames_fails_with_the_crop_to_use(shards, tmp_path):
    result = CliRunner().invoke(main, [str(shards), "--out", str(tmp_path / "clip.png")])
    assert result.exit_code == InvalidInput.exit_status
    assert "use crop 48 or less" in result.output


def test_key_shows_the_clip_as_it_is_stored(shards, tmp_path):
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(
        main, [str(shards), "--split", "val", "--key", "val3", "--out", str(out), "--columns", "4"]
    )
    assert result.exit_code == 0
    assert result.output == f"{out}: val3\n"
    assert cv2.imread(str(out)).shape[:2] == sheet_size(ShardSet(shards, "val"), clip=3, columns=4)


def test_first_split_is_shown_by_default(shards, tmp_path):
    show_clip(shards, out=tmp_path / "clip.png", key="train00")
    show_clip(shards, out=tmp_path / "same.png", key="train00", split="train")
    assert (tmp_path / "clip.png").read_bytes() == (tmp_path / "same.png").read_bytes()


def test_unknown_key_fails(shards, tmp_path):
    with pytest.raises(InvalidInput, match=r"no clip 'val33' in split 'val' .* try val3"):
        show_clip(shards, out=tmp_path / "clip.png", split="val", key="val33")


def test_command_ends_an_error_with_its_message_and_status(shards, tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == InvalidInput.exit_status
    assert result.output.startswith("Error: ")
    assert "index.json does not exist" in result.output


def test_output_without_room_ends_likewise(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("click.echo", Mock(side_effect=[OSError(errno.ENOSPC, "No space left on device"), None]))
    result = CliRunner().invoke(main, [str(shards), "--key", "train00", "--out", str(tmp_path / "clip.png")])
    assert result.exit_code == EnvironmentProblem.exit_status


class _NoText(str):
    """A key of somebody else's shard."""

    def encode(self, *_):
        return b"c\xff"


def test_key_that_is_no_utf8_is_named_all_the_same(tmp_path):
    folder = write_set(tmp_path, {"val": [[flat_clip(_NoText("c"), label=0, frames=9)]]})
    show_clip(folder, out=tmp_path / "clip.png", key=r"c\xff")
    with pytest.raises(InvalidInput, match=r"crop 64 does not fit clip c\\xff"):
        open_small(folder, "torch", training=False, crop=64)
