import cv2
import pytest
from click.testing import CliRunner

from pipelines.contact_sheet import sheet_size
from pipelines.show import main, show_clip
from preprocess.errors import InvalidInput
from preprocess.shards import ShardSet


def test_command_writes_a_png_of_the_expected_size(shards, tmp_path):
    out = tmp_path / "sheet.png"
    result = CliRunner().invoke(
        main, [str(shards), "--split", "val", "--key", "val3", "--out", str(out), "--columns", "4"]
    )
    assert result.exit_code == 0
    assert result.output == f"{out}: val3\n"
    assert cv2.imread(str(out)).shape[:2] == sheet_size(ShardSet(shards, "val"), clip=3, columns=4)


def test_first_clip_of_the_first_split_is_shown_by_default(shards, tmp_path):
    assert show_clip(shards, out=tmp_path / "clip.png") == "train00"


def test_unknown_key_fails(shards, tmp_path):
    with pytest.raises(InvalidInput, match=r"no clip 'val33' in split 'val' .* try val3"):
        show_clip(shards, out=tmp_path / "clip.png", split="val", key="val33")


def test_command_ends_an_error_with_its_message_and_status(shards, tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == InvalidInput.exit_status
    assert result.output.startswith("Error: ")
    assert "index.json does not exist" in result.output
