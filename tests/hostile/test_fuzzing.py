"""A flipped byte anywhere is found or harmless: never a wrong result, never an end other than one of our own errors."""

import csv
import json
import shutil
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from preprocess.annotations import read_kinetics
from preprocess.errors import BadShard, InvalidInput
from preprocess.kinetics_csv import SPLITS
from preprocess.outcomes import MANIFEST_NAME, ManifestEntry, Outcome, append_manifest, read_manifest
from preprocess.shards import Index, Shard, ShardAttributes, ShardSet
from preprocess.shards.layout import STREAMS, ClipTable
from preprocess.shards.verify import check_shard
from preprocess.shards.write import write_shard
from preprocess.verification import verify_folder
from tests.preprocess.shards.conftest import encoded_clip

NAME = "train-00000-of-00001.h5"
FLIP = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
"""Where, as a share of the file, and which bits."""


def fuzz(examples):
    return settings(
        derandomize=True,
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def flipped(content, flip):
    share, mask = flip
    damaged = bytearray(content)
    damaged[int(share * len(content))] ^= mask
    return bytes(damaged)


# --- lists --------------------------------------------------------------------------------------------------------

LIST = (
    b"label,youtube_id,time_start,time_end,split\n"
    b'"dancing, ""wild""",-bcdefghijk,0,10,train\n'
    b"yoga,abcdefghij_,3,13,validate\n"
    b"r\xc3\xa9sum\xc3\xa9,ABCDEFGHIJ0,120,130,test\n"
)


def check_list(path):
    """Every row is a clip or refused, and what is a clip is sound."""
    try:
        read = read_kinetics(path)
    except InvalidInput:
        return None
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    rows = [line for line in text.splitlines(keepends=True)[1:] if not line.isspace()] if "\r" not in text else None
    if rows is not None and not set("\v\f\x1c\x1d\x1e\x85\u2028\u2029") & set(text):
        assert len(read.clips) + len(read.refused) == len(rows)
    for clip in read.clips:
        assert len(clip.youtube_id) == 11
        assert set(clip.youtube_id) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
        assert 0 <= clip.time_start < clip.time_end
        assert clip.split in SPLITS.values()
        assert clip.label is None or (clip.label.isprintable() and clip.label.strip() == clip.label != "")
    return read


@fuzz(150)
@given(flip=FLIP)
def test_list_with_a_flipped_byte(tmp_path, flip):
    path = tmp_path / "train.csv"
    path.write_bytes(LIST)
    whole = read_kinetics(path)
    path.write_bytes(flipped(LIST, flip))
    read = check_list(path)
    if read is not None:
        same = {clip.line: clip for clip in read.clips}
        # one byte costs two rows at most: where it was the end of a line
        assert sum(same.get(clip.line) != clip for clip in whole.clips) <= 3


@fuzz(150)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
@example(b"\x00" * 100)
@example(b'"' * 301)
@example(b"," * 5000)
def test_list_of_any_bytes(tmp_path, content):
    path = tmp_path / "train.csv"
    for start in (b"", LIST[:43]):
        path.write_bytes(start + content)
        check_list(path)


@fuzz(80)
@given(st.lists(st.lists(st.text(max_size=30), min_size=1, max_size=7), max_size=4))
def test_list_of_any_cells(tmp_path, rows):
    path = tmp_path / "train.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        file.write(LIST[:43].decode())
        csv.writer(file, lineterminator="\n").writerows(rows)
    check_list(path)


# --- shards -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    attributes = ShardAttributes(labels=("surfing", "yoga"), failed={"lost": "no video"}, tvl1={"tau": 0.25})
    clips = [encoded_clip(f"clip_{i}", label=i, seed=i, frames=2) for i in range(2)]
    Index(config={}, labels=attributes.labels, shards=(write_shard(folder / NAME, clips, attributes),)).write(folder)
    return folder


@pytest.fixture(scope="module")
def folder(sound, tmp_path_factory):
    """A copy whose files are written anew by each example."""
    return shutil.copytree(sound, tmp_path_factory.mktemp("damaged") / "shards")


@pytest.fixture(scope="module")
def whole(sound):
    return everything(Shard(sound / NAME))


def everything(shard):
    """All that a reader gets from a shard."""
    table = [getattr(shard.clips, field.name).tolist() for field in fields(ClipTable)]
    jpegs = [
        shard.jpeg(stream, number).tobytes()
        for stream, count in zip(STREAMS, (4, 2), strict=True)
        for number in range(count)
    ]
    return shard.attributes, table, jpegs


@fuzz(80)
@given(flip=FLIP)
def test_shard_with_a_flipped_byte(sound, folder, whole, flip):
    """The head is right or refused when it is opened; the whole file by `verify`, with and without an index."""
    content = (sound / NAME).read_bytes()
    (folder / NAME).write_bytes(flipped(content, flip))
    (info,) = Index.read(folder).shards
    assert check_shard(folder / NAME, info=info).findings
    try:
        found = everything(Shard(folder / NAME))
    except BadShard:
        assert check_shard(folder / NAME).findings
        return
    assert found[:2] == whole[:2]
    assert found[2] == whole[2] or check_shard(folder / NAME).findings


@fuzz(40)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 3000), st.binary(max_size=300))
def test_shard_with_a_piece_replaced(sound, folder, whole, share, length, piece):
    content = (sound / NAME).read_bytes()
    place = int(share * len(content))
    (folder / NAME).write_bytes(content[:place] + piece + content[place + length :])
    try:
        found = everything(Shard(folder / NAME))
    except BadShard:
        return
    assert found[:2] == whole[:2]


@fuzz(60)
@given(flip=FLIP)
def test_index_with_a_flipped_byte(sound, folder, flip):
    """What is read is what was written, or it is refused; what a reader does not look at, `verify` finds."""
    shutil.copy(sound / NAME, folder)
    content = (sound / "index.json").read_bytes()
    (folder / "index.json").write_bytes(flipped(content, flip))
    try:
        shards = ShardSet(folder, "train")
        read = shards.labels, shards.clips.key.tolist(), shards.clips.label.tolist()
    except (BadShard, InvalidInput):
        read = None
    finally:
        same = _parsed(folder / "index.json") == _parsed(sound / "index.json")
        try:
            findings = verify_folder(folder, workers=1).findings
        except (BadShard, InvalidInput):
            findings = ("refused",)
        (folder / "index.json").write_bytes(content)
    assert read is None or read == (("surfing", "yoga"), [b"clip_0", b"clip_1"], [0, 1])
    assert same or findings


def _parsed(path):
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


# --- the manifest -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifest")
    for number in range(4):
        values = {"key": f"abcdefghijk_00000{number}_00001{number}", "youtube_id": "abcdefghijk", "split": "train"}
        values |= {"time_start": number, "time_end": 10 + number, "label": "r\u00e9sum\u00e9", "path": "train/x/k.mp4"}
        append_manifest(folder, ManifestEntry(outcome=Outcome.DONE, sha256="ab" * 32, duration_s=9.96, **values))
    return folder


@fuzz(200)
@given(flip=FLIP)
def test_manifest_with_a_flipped_byte(manifest, tmp_path, flip, caplog):
    """An entry is what was written, or it is left out with a line in the log."""
    whole = read_manifest(manifest)
    caplog.clear()
    (tmp_path / MANIFEST_NAME).write_bytes(flipped((manifest / MANIFEST_NAME).read_bytes(), flip))
    found = read_manifest(tmp_path)
    assert found.items() <= whole.items()
    assert len(found) >= 2
    assert len(found) == 4 or "is torn or malformed and was left out" in caplog.text


@fuzz(100)
@given(st.binary(max_size=300) | st.sampled_from([b"[" * 100_000, b"{}\n", b"[1]\n", b"null\n", b'{"outcome": []}\n']))
def test_manifest_of_any_bytes(tmp_path, content):
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    assert read_manifest(tmp_path) == {}
