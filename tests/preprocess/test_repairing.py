import json
import shutil
from fractions import Fraction

import pytest
from click.testing import CliRunner

from preprocess.cli import main
from preprocess.config import FlowConfig, WorkerConfig
from preprocess.errors import EnvironmentProblem, InvalidInput, UnreadableFile, WorkerDied
from preprocess.paths import exclusive
from preprocess.repairing import repair_folder
from preprocess.sharding import make_shards
from tests.preprocess.conftest import textured_frames, write_video

HERE = WorkerConfig(workers=0)
CONFIG = FlowConfig(fps=Fraction(20), short_side=48, clips_per_shard=2, flow_quality=90)
FIRST, SECOND, VAL = "train-00000-of-00002.h5", "train-00001-of-00002.h5", "val-00000-of-00001.h5"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four clips, one of which is no video, and their shards."""
    folder = tmp_path_factory.mktemp("made")
    for index, split in enumerate(["train", "train", "train", "val"]):
        (folder / "clips" / split / "yoga").mkdir(parents=True, exist_ok=True)
        write_video(folder / "clips" / split / "yoga" / f"clip_{index}.mp4", textured_frames(4, seed=index))
    (folder / "clips" / "train" / "yoga" / "broken.mp4").write_bytes(b"\0" * 3000)
    make_shards(folder / "clips", folder / "shards", config=CONFIG, workers=HERE, labels=("archery", "yoga"))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "made")


@pytest.fixture
def shards(folder):
    return folder / "shards"


def repair(folder, **options):
    return repair_folder(folder / "shards", folder / "clips", workers=HERE, **options)


def contents(shards):
    return {path.name: path.read_bytes() for path in shards.iterdir() if path.name != ".lock"}


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def test_damaged_and_missing_shards_are_as_before_and_the_others_untouched(folder, shards):
    before = contents(shards)
    spoil(shards / FIRST)
    (shards / VAL).unlink()
    untouched = (shards / SECOND).stat()
    told = []
    report = repair(folder, on_finding=lambda found: told.append(found.shard))
    assert (report.shards, report.repaired, report.failed, report.sound) == (3, (FIRST, VAL), {}, 1)
    assert set(told) == {FIRST, VAL}
    assert contents(shards) == before
    after = (shards / SECOND).stat()
    assert (after.st_mtime_ns, after.st_ino) == (untouched.st_mtime_ns, untouched.st_ino)


def test_sound_folder_is_left_alone(folder, shards):
    before = {path.name: path.stat().st_mtime_ns for path in shards.glob("[!.]*")}
    assert repair(folder).repaired == ()
    assert {path.name: path.stat().st_mtime_ns for path in shards.glob("[!.]*")} == before


def test_clip_that_changed_since_is_never_put_in_place(folder, shards):
    """Its name and size in the plan are the same, its pictures are others."""
    spoil(shards / VAL)
    damaged = contents(shards)
    clip = folder / "clips" / "val" / "yoga" / "clip_3.mp4"
    size = clip.stat().st_size
    content = bytearray(clip.read_bytes())
    place = content.index(b"mdat") + 900  # in the coded pictures
    content[place : place + 40] = bytes(40)
    clip.write_bytes(content)
    assert clip.stat().st_size == size
    report = repair(folder)
    assert report.repaired == ()
    assert "index.json says" in report.failed[VAL]
    assert contents(shards) == damaged


def test_other_clips_are_refused_before_anything_is_computed(folder, shards):
    spoil(shards / VAL)
    write_video(folder / "clips" / "val" / "yoga" / "more.mp4", textured_frames(5, seed=9))
    with pytest.raises(InvalidInput, match=r"does not hold what .* was made from \(the clips or the labels are others"):
        repair(folder)
    (shards / "plan.json").unlink()
    for number in range(4):
        write_video(folder / "clips" / "val" / "yoga" / f"more_{number}.mp4", textured_frames(5, seed=9))
    with pytest.raises(InvalidInput, match=r"it gives 5 shards with the names .* has 3; give the clips of that run"):
        repair(folder)


def test_repair_without_room_computes_nothing(folder, shards, monkeypatch):
    (shards / FIRST).unlink()
    damaged = contents(shards)
    monkeypatch.setattr("preprocess.target.FolderTarget.free_bytes", lambda target, without: 1000)
    monkeypatch.setattr("preprocess.sharding.run_shards", None)
    with pytest.raises(EnvironmentProblem, match="has 1000 bytes free; the 1 shards to make are planned at"):
        repair(folder)
    assert contents(shards) == damaged


def test_lost_plan_is_written_again(folder, shards):
    before = contents(shards)
    (shards / "plan.json").write_text("{")
    spoil(shards / SECOND)
    repair(folder)
    assert contents(shards) == before


def test_missing_index_is_told(folder, shards):
    (shards / "index.json").unlink()
    with pytest.raises(InvalidInput, match=r"index\.json does not exist; `preprocess flow` writes it last"):
        repair(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": "x"}, "the configuration in index.json is not one of this version: config.fps: 'x' is not a number"),
        ({"fps": "1e5000000"}, "'1e5000000' is not a number"),
        ({"short_side": 4}, "short_side must be 16 to 2304"),
        ({"short_side": "48"}, "is not one of this version: config.short_side should be int, it is '48'"),
        ({"rgb_quality": 95.0}, "is not one of this version: config.rgb_quality should be int, it is 95.0"),
        ({"tvl1": {"tau": "fast"}}, "is not one of this version: config.tvl1 lacks"),
        ({"backend": "magic"}, "flow backend 'magic' is unknown"),
        ({"backend": ["magic"]}, r"is not one of this version: config.backend should be str, it is \['magic'\]"),
        ({"evil": 1}, "is not one of this version: config has evil"),
    ],
)
def test_strange_configuration_is_refused(folder, shards, change, message):
    document = json.loads((shards / "index.json").read_text())
    document["config"] |= change
    (shards / "index.json").write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match=message):
        repair(folder)


def test_folder_that_another_run_holds_is_left_to_it(folder, shards):
    with exclusive(shards), pytest.raises(EnvironmentProblem, match="is in use by process"):
        repair(folder)


@pytest.mark.parametrize("ending", ["dies", "fails"])
def test_run_that_ends_early_leaves_the_damaged_shard_and_nothing_beside_it(folder, shards, monkeypatch, ending):
    spoil(shards / FIRST)
    damaged = contents(shards)

    def run_shards(function, items, **options):
        (shards / items[0].name).write_bytes(b"half a shard")
        if ending == "fails":
            raise EnvironmentProblem("the disk is full")
        yield items[0], WorkerDied("its worker process died")

    monkeypatch.setattr("preprocess.sharding.run_shards", run_shards)
    if ending == "fails":
        with pytest.raises(EnvironmentProblem, match="the disk is full"):
            repair(folder)
    else:
        assert repair(folder).failed == {FIRST: "its worker process died"}
    assert contents(shards) == damaged


def test_command(folder, shards):
    spoil(shards / SECOND)
    arguments = ["repair", str(shards), str(folder / "clips"), "--cpus", "0"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert f"broken: {SECOND}: " in result.output
    assert result.output.endswith(f"made again: {SECOND}\n3 shards: 2 were sound, 1 made again\n")
    assert CliRunner().invoke(main, arguments).output == "3 shards: 3 were sound, 0 made again\n"


def test_command_on_other_clips(folder, shards):
    spoil(shards / SECOND)
    shutil.rmtree(folder / "clips" / "val")
    arguments = ["repair", str(shards), str(folder / "clips"), "--cpus", "0"]
    assert CliRunner().invoke(main, arguments).exit_code == 2
    (folder / "clips" / "train" / "yoga").rename(folder / "clips" / "train" / "surfing")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "clips does not hold what " in result.output


def test_shard_that_cannot_be_put_in_its_place_costs_itself_only(folder, shards):
    before = contents(shards)
    (shards / FIRST).unlink()
    (shards / FIRST).mkdir()
    (shards / VAL).unlink()
    report = repair(folder)
    assert (report.repaired, list(report.failed)) == ((VAL,), [FIRST])
    assert report.failed[FIRST].endswith(f"{FIRST} cannot be put in its place: Is a directory")
    (shards / FIRST).rmdir()
    assert contents(shards) == {name: content for name, content in before.items() if name != FIRST}


def test_clip_that_is_gone_costs_its_shard_only(folder, shards, monkeypatch):
    before = contents(shards)
    for name in (FIRST, VAL):
        spoil(shards / name)

    def check_bytes(clip, path):
        if clip.key == "clip_0":
            raise UnreadableFile(f"clip {clip.path} is gone")

    monkeypatch.setattr("preprocess.repairing.check_bytes", check_bytes)
    report = repair(folder)
    assert (report.repaired, report.failed) == ((VAL,), {FIRST: "clip train/yoga/clip_0.mp4 is gone"})
    assert (shards / VAL).read_bytes() == before[VAL]
