import pytest

from preprocess.annotations import Clip
from preprocess.config import DownloadConfig
from preprocess.errors import BadMedia, Cause, Unavailable
from preprocess.linking import link_or_copy
from preprocess.media import open_video
from preprocess.sources import directory
from preprocess.sources.fetched import Extent
from preprocess.store import store_clip
from preprocess.wanted import Wanted
from tests.preprocess.conftest import numbered_frames, write_video

LABEL = "mountain climber (exercise)"
CLIP = Clip(youtube_id="-abc_defGHI", time_start=4, time_end=6, split="train", label=LABEL, line=2)
SPELLINGS = ("mountain climber (exercise)", "mountain_climber_(exercise)", "mountain_climber_exercise")


@pytest.fixture
def config(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    return DownloadConfig(out=tmp_path / "out", source_dir=folder)


def fetch(config, clip=CLIP):
    return directory.fetch(clip, config.out, config=config, sections=True)


def put(config, *names, seconds=0.0):
    """A video, or something else when it has no length."""
    paths = [config.source_dir / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if seconds:
            write_video(path, numbered_frames(round(25 * seconds)))
        else:
            path.write_bytes(b"x")
    return paths


def write_list(config, *clips):
    config.out.mkdir(exist_ok=True)
    Wanted(sources=(), dataset=None, clips=tuple(sorted(clips, key=lambda one: one.key)), refused=()).write(config.out)


@pytest.mark.parametrize("label", [*SPELLINGS, "Mountain_Climber_(Exercise)"])
@pytest.mark.parametrize("split", ["train/", "videos_train/", ""])
def test_clip_is_found_in_all_spellings_of_class_folders(config, label, split):
    (path,) = put(config, f"{split}{label}/{CLIP.key}.mp4")
    found = fetch(config)
    assert (found.path, found.extent, found.borrowed) == (path, Extent.CLIP, True)


@pytest.mark.parametrize("name", [f"{CLIP.key}.mp4", f"train/{CLIP.key}.mkv", "-abc_defGHI_4_6.mp4"])
def test_clip_is_found_in_a_flat_tree(config, name):
    (path,) = put(config, name)
    assert fetch(config).path == path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_of_several_the_one_in_the_right_folders_comes_first(config, spelling):
    other, wrong_split, right, _ = put(
        config,
        f"a/{CLIP.key}.mp4",
        f"test/{spelling}/{CLIP.key}.mp4",
        f"train/{spelling}/{CLIP.key}.mp4",
        f"z/{CLIP.key}.mp4",
    )
    assert fetch(config).path == right
    right.unlink()
    directory._tree_of.cache_clear()
    assert fetch(config).path == wrong_split
    wrong_split.unlink()
    directory._tree_of.cache_clear()
    assert fetch(config).path == other


def test_finished_clip_by_key_comes_before_the_whole_video(config):
    put(config, "-abc_defGHI.mp4", f"z/{CLIP.key}.mp4")
    assert fetch(config).extent is Extent.CLIP


def test_video_that_reaches_the_clip_is_whole(config):
    (path,) = put(config, "some class/-abc_defGHI.mp4", seconds=5)  # half of second 4 to 6
    found = fetch(config)
    assert (found.path, found.extent, found.borrowed) == (path, Extent.WHOLE, True)


@pytest.mark.parametrize(
    ("seconds", "extent"),
    [(1.6, Extent.WHOLE), (1.84, Extent.CLIP), (2, Extent.CLIP), (2.24, Extent.CLIP), (2.4, Extent.WHOLE)],
)
def test_video_by_its_id_that_is_as_long_as_the_clip_is_the_clip(config, seconds, extent):
    write_list(config, CLIP)
    put(config, "-abc_defGHI.mp4", seconds=seconds)
    assert fetch(config).extent is extent


def test_clip_by_its_id_is_not_guessed_when_the_list_has_two_of_that_video(config):
    other = Clip(youtube_id="-abc_defGHI", time_start=50, time_end=52, split="val", label="yoga", line=3)
    write_list(
        config, CLIP, other, Clip(youtube_id="z" * 11, time_start=0, time_end=2, split="val", label=None, line=4)
    )
    put(config, "-abc_defGHI.mp4", seconds=2)
    with pytest.raises(Unavailable, match=rf"does not say of which seconds; call it {CLIP.key}\.mp4") as caught:
        fetch(config)
    assert caught.value.cause is Cause.NOT_FOUND


def test_clip_by_its_id_is_not_guessed_without_a_list(config):
    put(config, "-abc_defGHI.mp4", seconds=2)
    with pytest.raises(Unavailable, match="does not say of which seconds"):
        fetch(config)


def test_file_by_its_id_that_is_no_video_fails(config):
    put(config, "-abc_defGHI.mp4")
    with pytest.raises(BadMedia, match="not a video file"):
        fetch(config)


def test_links_are_not_followed(config, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / f"{CLIP.key}.mp4").write_bytes(b"x")
    (config.source_dir / f"{CLIP.key}.mp4").symlink_to(tmp_path / "secret" / f"{CLIP.key}.mp4")
    (config.source_dir / "train").symlink_to(tmp_path / "secret")
    with pytest.raises(Unavailable, match="; links are not followed, of which there are 2"):
        fetch(config)


@pytest.mark.parametrize(
    "name", [f"{CLIP.key}.json", f"{CLIP.key}.mp4.part", f"._{CLIP.key}.mp4", f".tmp/{CLIP.key}.mp4"]
)
def test_companions_and_hidden_files_are_no_videos(config, name):
    put(config, name)
    with pytest.raises(Unavailable):
        fetch(config)


def test_what_a_run_has_made_below_the_source_folder_is_not_its_source(config):
    config = DownloadConfig(out=config.source_dir / "out", source_dir=config.source_dir)
    put(config, f"out/train/mountain_climber_(exercise)/{CLIP.key}.mp4")
    (path,) = put(config, f"z/{CLIP.key}.mp4")
    assert fetch(config).path == path


def test_tree_can_be_taken_over_where_it_is(config):
    (path,) = put(config, f"train/mountain_climber_(exercise)/{CLIP.key}.mp4", seconds=2)
    config = DownloadConfig(out=config.source_dir, source_dir=config.source_dir)
    link_or_copy(fetch(config).path, config.out / "made.mp4")
    entry = store_clip(CLIP, config.out / "made.mp4", config=config, source="directory")
    assert config.out / entry.path == path
    assert path.is_file()


def test_clip_that_is_taken_over_by_a_link_is_verified_and_unchanged(config):
    (path,) = put(config, f"{CLIP.key}.mp4", seconds=2)
    path.chmod(0o444)
    content = path.read_bytes()
    config.out.mkdir()
    assert link_or_copy(fetch(config).path, config.out / "made.mp4")
    entry = store_clip(CLIP, config.out / "made.mp4", config=config, source="directory")
    assert (config.out / entry.path).samefile(path)
    assert (path.read_bytes(), entry.frame_count) == (content, 50)


def test_absent_video_fails(config):
    with pytest.raises(Unavailable, match=r"no -abc_defGHI_000004_000006\.\* and no -abc_defGHI\.\* below") as caught:
        fetch(config)
    assert caught.value.cause is Cause.NOT_FOUND


@pytest.mark.parametrize("name", [f"{CLIP.key}.mp4", "-abc_defGHI.mp4"])
def test_folder_is_walked_once_and_what_went_since_costs_itself_only(config, name):
    (path,) = put(config, name, seconds=7)
    fetch(config)
    path.rename(config.source_dir / "elsewhere")
    with pytest.raises(Unavailable, match="is gone, or may not be read by this user"):
        fetch(config)


def test_fetched_video_opens(config):
    put(config, "-abc_defGHI.mp4", seconds=7)
    with open_video(fetch(config).path) as video:
        assert video.stream.width == 64
