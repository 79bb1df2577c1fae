import json
import os
import re
import shutil
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from preprocess import verification
from preprocess.cli import main
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards import Index, Shard, ShardAttributes
from preprocess.shards.jpeg import read_jpeg_header
from preprocess.shards.write import write_shard
from preprocess.verification import verify_folder
from tests.preprocess.shards.conftest import encoded_clip

NAMES = [f"train-0000{number}-of-00003.h5" for number in range(3)]
CONFIG = {"fps": "25", "short_side": 256, "rgb_quality": 95, "flow_quality": 95, "backend": "cpu", "tvl1": {"tau": 0.2}}
ATTRIBUTES = ShardAttributes(labels=("surfing", "yoga"), tvl1={"tau": 0.2, "backend": "cpu"})


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Three shards of two clips each."""
    folder = tmp_path_factory.mktemp("sound")
    infos = [
        write_shard(
            folder / name,
            [encoded_clip(f"clip_{number}{i}", label=i, seed=2 * number + i) for i in range(2)],
            ATTRIBUTES,
        )
        for number, name in enumerate(NAMES)
    ]
    Index(config=CONFIG, labels=ATTRIBUTES.labels, shards=tuple(infos)).write(folder)
    return folder


@pytest.fixture
def shards(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "shards")


def rewrite(shards, number, clips, attributes=ATTRIBUTES):
    """Another shard in place of one, with an index that says so."""
    index = Index.read(shards)
    info = write_shard(shards / NAMES[number], clips, attributes)
    infos = [*index.shards[:number], info, *index.shards[number + 1 :]]
    replace(index, shards=tuple(infos)).write(shards)


def declaring(jpeg, *, height, width):
    """The same JPEG with another size in its header."""
    at = read_jpeg_header(jpeg).frame_at + 5
    return jpeg[:at] + height.to_bytes(2) + width.to_bytes(2) + jpeg[at + 4 :]


def flip(path, place, mask=1):
    content = bytearray(path.read_bytes())
    content[place] ^= mask
    path.write_bytes(content)


def findings(shards, **options):
    return [str(found) for found in verify_folder(shards, workers=1, **options).findings]


def place_of(path, *, seed, frame, stream="rgb", at=0):
    """Where a byte of a frame lies in a shard file; `at` may count from the frame's end."""
    jpeg = getattr(encoded_clip("", seed=seed), stream)[frame]
    return path.read_bytes().index(jpeg) + at % len(jpeg)


def test_sound_shards_pass(shards):
    found = verify_folder(shards, decode=True)
    assert (found.shards, found.clips, found.findings, found.damaged) == (3, 6, (), ())
    assert found.bytes == sum(path.stat().st_size for path in shards.glob("*.h5"))


def test_every_damage_is_found_and_named_at_once(shards):
    flip(shards / NAMES[0], place_of(shards / NAMES[0], seed=1, frame=2, at=300))
    (shards / NAMES[1]).unlink()
    os.truncate(shards / NAMES[2], 2000)
    found = findings(shards)
    assert found[0].startswith(f"{NAMES[0]}: clip clip_01: rgb has CRC-32 ")
    assert found[1].startswith(f"{NAMES[0]}: has sha256 ")
    assert found[2] == f"{NAMES[1]}: is missing"
    assert found[3].startswith(f"{NAMES[2]}: has 2000 bytes, the index says ")
    assert found[4].startswith(f"{NAMES[2]}: cannot be opened as HDF5")
    assert verify_folder(shards).damaged == tuple(NAMES)


@pytest.mark.parametrize("where", [0, 1, -1, -2])
def test_frame_without_its_markers_is_named(shards, where):
    flip(shards / NAMES[1], place_of(shards / NAMES[1], seed=2, frame=3, at=where))
    assert f"{NAMES[1]}: clip clip_10: rgb frame 3 is not a whole JPEG" in findings(shards)


def test_offset_that_is_off_by_one_is_found(shards):
    """It still rises, and the clip's bytes are the same."""
    path = shards / NAMES[0]
    length = len(encoded_clip("", seed=0).flow[0])
    place = path.read_bytes().index(np.array([0, length], np.int64).tobytes()) + 8
    flip(path, place)
    assert f"{NAMES[0]}: clip clip_00: flow frame 0 is not a whole JPEG" in findings(shards)


def swapped_stream(clip):
    return replace(clip, rgb=[clip.flow[0]] * 4)


def other_size(clip):
    return replace(clip, width=41)


def no_subsampling(clip):
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return replace(clip, rgb=[cv2.imencode(".jpg", np.zeros((32, 40, 3), np.uint8), options)[1].tobytes()] * 4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (swapped_stream, "clip x: rgb frame 0 is a JPEG of 64x40 pixels, not 32x40"),
        (other_size, "clip x: rgb frame 0 is a JPEG of 32x40 pixels, not 32x41"),
        (no_subsampling, r"clip x: rgb frame 0 has chroma sampling 0x11, not 0x22 \(4:2:0\)"),
    ],
)
def test_frames_that_are_not_as_promised_are_not_published(tmp_path, how, message):
    with pytest.raises(BadShard, match=message):
        write_shard(tmp_path / NAMES[0], [encoded_clip("w"), how(encoded_clip("x"))], ATTRIBUTES)


def test_frames_of_another_encoder_pass(tmp_path):
    """Its headers differ from frame to frame, so that each is looked at."""
    clip = encoded_clip("x")
    comment = b"\xff\xfe\x00\x04ab"
    mixed = replace(clip, rgb=[clip.rgb[0], *(jpeg[:2] + comment + jpeg[2:] for jpeg in clip.rgb[1:])])
    assert write_shard(tmp_path / NAMES[0], [mixed], ATTRIBUTES).clips == 1


def test_shards_of_two_configurations_are_told(shards):
    rewrite(shards, 1, [encoded_clip("x")], replace(ATTRIBUTES, short_side=128, labels=("surfing", "yoga", "z")))
    assert findings(shards) == [
        f"{NAMES[1]}: has short_side 128, {NAMES[0]} has 256",
        f"{NAMES[1]}: has labels ('surfing', 'yoga', 'z'), {NAMES[0]} has ('surfing', 'yoga')",
        f"{NAMES[1]}: has short_side 128, index.json says 256",
        f"{NAMES[1]}: has label names other than those of index.json",
    ]


def test_flow_of_another_solver_is_told(shards):
    for number in range(3):
        other = replace(ATTRIBUTES, tvl1={"tau": 0.1, "backend": "opencv"})
        rewrite(shards, number, [encoded_clip(f"clip_{number}")], other)
    assert findings(shards)[:2] == [
        f"{NAMES[0]}: has backend opencv, index.json says cpu",
        f"{NAMES[0]}: has tvl1 {{'tau': 0.1}}, index.json says {{'tau': 0.2}}",
    ]


def test_flow_of_an_unknown_solver_passes(shards):
    for number in range(3):
        rewrite(shards, number, [encoded_clip(f"clip_{number}")], replace(ATTRIBUTES, tvl1={}))
    assert findings(shards) == []


def test_key_in_two_shards_is_named(shards):
    rewrite(shards, 2, [encoded_clip("clip_00"), encoded_clip("y")])
    assert findings(shards) == [f"{NAMES[2]}: clip clip_00: is in {NAMES[0]} too"]


def test_index_without_one_of_its_shards_is_told(shards):
    index = Index.read(shards)
    replace(index, shards=index.shards[1:]).write(shards)
    gap = f"index.json: names 2 of 3 train shards; {NAMES[0]} is not among them"
    assert findings(shards) == [gap, f"index.json: does not name {NAMES[0]}, which lies beside it"]
    (shards / NAMES[0]).unlink()
    assert findings(shards) == [gap]


def test_index_without_a_whole_split_is_told(shards):
    shutil.copy(shards / NAMES[0], shards / "val-00000-of-00001.h5")
    (shards / "features.h5").touch()
    assert findings(shards) == ["index.json: does not name val-00000-of-00001.h5, which lies beside it"]


def test_picture_that_cannot_be_decoded_is_found_by_decoding(shards):
    clip = encoded_clip("x")
    start = clip.rgb[1].index(b"\xff\xc4")  # a Huffman table that is none; markers and size are as they should be
    spoilt = clip.rgb[1][: start + 5] + b"\xff" * 16 + clip.rgb[1][start + 21 :]
    rewrite(shards, 0, [replace(clip, rgb=[clip.rgb[0], spoilt, *clip.rgb[2:]])])
    # header and table may agree on more pixels than OpenCV takes
    huge = [declaring(jpeg, height=32_000, width=65_500) for jpeg in encoded_clip("y").rgb]
    flow = [declaring(jpeg, height=64_000, width=65_500) for jpeg in encoded_clip("y").flow]
    rewrite(shards, 1, [replace(encoded_clip("y"), rgb=huge, flow=flow, height=32_000, width=65_500)])
    assert findings(shards) == []
    assert findings(shards, decode=True) == [
        f"{NAMES[0]}: clip x: 1 of 4 rgb frames cannot be decoded (1)",
        f"{NAMES[1]}: clip y: 4 of 4 rgb frames cannot be decoded (0, 1, 2, ...)",
        f"{NAMES[1]}: clip y: 3 of 3 flow frames cannot be decoded (0, 1, 2)",
    ]


def test_shard_that_is_replaced_while_it_is_decoded_costs_no_other(shards, monkeypatch):
    def other(path):
        if path.name == NAMES[1]:
            raise BadShard(f"{path} is not marked complete")
        return Shard(path)

    monkeypatch.setattr("preprocess.verification.Shard", other)
    assert findings(shards, decode=True) == [f"{NAMES[1]}: {shards / NAMES[1]} is not marked complete"]


def test_stop_checks_no_further_shard(shards, monkeypatch):
    checked, check = [], verification.check_shard

    def slow(path, *, info):
        checked.append(path.name)
        time.sleep(0.1)
        return check(path, info=info)

    def stop(total, found):
        raise KeyboardInterrupt

    monkeypatch.setattr("preprocess.verification.check_shard", slow)
    with pytest.raises(KeyboardInterrupt):
        verify_folder(shards, workers=1, on_shard=stop)
    assert checked in (NAMES[:1], NAMES[:2])


def test_stop_decodes_no_further_clip(shards, monkeypatch):
    a_clip = sum(len(getattr(encoded_clip(""), stream)) for stream in ("rgb", "flow"))
    decoded, asked = [], threading.Event()

    def decodes(jpeg, shape):
        decoded.append(shape)
        if len(decoded) == 2 * a_clip + 1:  # the second shard
            asked.wait(10)
            time.sleep(0.1)
        return True

    def stop(total, found):
        asked.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "_decodes", decodes)
    with pytest.raises(KeyboardInterrupt):
        verify_folder(shards, decode=True, workers=1, on_shard=stop)
    assert len(decoded) in (2 * a_clip, 3 * a_clip)


def test_clips_and_bytes_are_of_what_could_be_read(shards):
    (shards / NAMES[0]).unlink()
    found = verify_folder(shards)
    assert (found.shards, found.clips, found.damaged) == (3, 4, (NAMES[0],))
    assert found.bytes == sum(path.stat().st_size for path in shards.glob("*.h5"))


def test_pipe_in_place_of_a_shard_is_not_waited_for(shards):
    (shards / NAMES[0]).unlink()
    os.mkfifo(shards / NAMES[0])
    assert findings(shards) == [f"{NAMES[0]}: is not a regular file"]


def test_shard_that_may_not_be_read_is_an_environment_problem(shards, monkeypatch):
    real = os.open

    def refusing(path, *arguments, **options):
        if str(path).endswith(NAMES[0]):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)  # root, as in a container, may read everything
    with pytest.raises(EnvironmentProblem, match="may not be read by this user"):
        verify_folder(shards)


def test_no_workers_fails(shards):
    with pytest.raises(InvalidInput, match="workers must be at least 1, got 0"):
        verify_folder(shards, workers=0)


def test_workers_find_the_same_in_the_same_order(shards):
    for name in NAMES:
        flip(shards / name, -1)
    assert [str(found) for found in verify_folder(shards, workers=3).findings] == findings(shards)


# --- the command --------------------------------------------------------------------------------------------------


def command(*arguments):
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_command_on_sound_shards(shards):
    result = command(shards)
    assert result.exit_code == 0
    assert re.match(r"checked: 3 shards, 6 clips, [1-9]\d*\.\d KiB in \d+\.\d s \(\d+\.\d [KM]iB/s\)\n", result.output)
    assert result.output.endswith("nothing is broken\n")


def test_command_names_what_is_broken(shards):
    flip(shards / NAMES[0], place_of(shards / NAMES[0], seed=1, frame=2, at=300))
    result = command(shards)
    assert result.exit_code == 1
    assert f"broken: {NAMES[0]}: clip clip_01: rgb has CRC-32" in result.output
    assert "broken: 1 shards, 2 findings\n" in result.output
    assert "`preprocess repair " in result.output


def test_command_as_json(shards):
    (shards / NAMES[1]).unlink()
    result = command(shards, "--json", "--workers", 2)
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert document["damaged"] == [NAMES[1]]
    assert document["findings"] == [{"shard": NAMES[1], "clip": "", "problem": "is missing"}]


def test_command_without_index_and_with_a_damaged_one(shards, tmp_path):
    assert command(tmp_path).exit_code == 2
    (shards / "index.json").write_text("[" * 100_000)  # as deep as no parser goes
    result = command(shards)
    assert result.exit_code == 1
    assert "index.json is damaged" in result.output


def test_terminal_escapes_of_a_hostile_key_are_not_sent(shards):
    rewrite(shards, 0, [encoded_clip("a\x1b[2J[red]b")])
    rewrite(shards, 1, [encoded_clip("a\x1b[2J[red]b")])
    result = command(shards)
    assert "clip a\\x1b[2J[red]b: is in" in result.output
    assert "\x1b" not in result.output
