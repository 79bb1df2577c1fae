import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import Unavailable
from preprocess.sources import directory, source_of
from preprocess.sources.fetched import Extent

CLIP = Clip(youtube_id="-abc_defGHI", time_start=4, time_end=6, split="train", label="yoga", line=2)


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return DownloadConfig(out=tmp_path / "out", source_dir=folder)


def fetch(config):
    return directory.fetch(CLIP, config.out, config=config, sections=True)


def test_whole_video_by_id_in_a_subfolder(config):
    path = config.source_dir / "some class" / "-abc_defGHI.webm"
    path.parent.mkdir()
    path.write_bytes(b"x")
    assert (fetch(config).path, fetch(config).extent) == (path, Extent.WHOLE)


def test_finished_clip_by_key_comes_first(config):
    for name in ("-abc_defGHI.mp4", "-abc_defGHI_000004_000006.mp4"):
        (config.source_dir / name).write_bytes(b"x")
    assert fetch(config).extent is Extent.CLIP


def test_links_are_not_followed(config, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    (config.source_dir / "-abc_defGHI.mp4").symlink_to(tmp_path / "secret")
    with pytest.raises(Unavailable):
        fetch(config)


def test_absent_video_fails(config):
    with pytest.raises(Unavailable, match=r"no -abc_defGHI_000004_000006\.\* and no -abc_defGHI\.\* below"):
        fetch(config)


def test_source_of(config, tmp_path):
    assert source_of(config) == "directory"
    assert source_of(DownloadConfig(out=tmp_path)) == "youtube"
    assert source_of(DownloadConfig(out=tmp_path, url_template="https://x/{youtube_id}")) == "url"
