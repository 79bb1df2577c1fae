"""Attacks by shards and their index, each with its outcome: refused, naming what, before any data are read."""

import json
import os
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from preprocess.errors import BadShard
from preprocess.shards import Index, Shard, ShardAttributes, ShardSet
from preprocess.shards.write import write_shard
from preprocess.verification import verify_folder
from tests.preprocess.shards.conftest import encoded_clip

NAME = "train-00000-of-00001.h5"
SECRET = b"root:x:0:0:" * 50


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with one shard of two clips, and a file that is nobody's business."""
    folder = tmp_path_factory.mktemp("sound")
    attributes = ShardAttributes(labels=("surfing", "yoga"), failed={"lost": "no video"})
    info = write_shard(folder / NAME, [encoded_clip(f"clip_{i}", label=i, seed=i) for i in range(2)], attributes)
    Index(config={}, labels=attributes.labels, shards=(info,)).write(folder)
    (folder / "secret").write_bytes(SECRET)
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = np.frombuffer(SECRET, np.uint8)
        file["clips/label"] = np.zeros(2, np.int32)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "shards")


def replaced(name, **options):
    def how(file):
        data = file[name][()]
        del file[name]
        file.create_dataset(name, **{"data": data, **options})

    return how


def external_link(file):
    del file["clips/label"]
    file["clips/label"] = h5py.ExternalLink("other.h5", "/clips/label")


def external_group(file):
    del file["clips"]
    file["clips"] = h5py.ExternalLink("other.h5", "/clips")


def soft_link(file):
    del file["clips/rgb_first"]
    file["clips/rgb_first"] = h5py.SoftLink("/clips/flow_first")


def soft_link_to_itself(file):
    del file["rgb"]
    file["rgb"] = h5py.SoftLink("/rgb")


def soft_link_to_a_group(file):
    file.move("flow", "rgb/hidden")
    file["flow"] = h5py.SoftLink("/rgb/hidden")


def external_storage(file):
    del file["rgb/data"]
    file.create_dataset("rgb/data", (len(SECRET),), np.uint8, external=[("secret", 0, len(SECRET))])


def virtual(file):
    del file["rgb/data"]
    layout = h5py.VirtualLayout((len(SECRET),), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "x", (len(SECRET),))
    file.create_virtual_dataset("rgb/data", layout)


def giant(**options):
    def how(file):
        del file["rgb/data"]
        file.create_dataset("rgb/data", (1 << 42,), np.uint8, **options)

    return how


def giant_column(file):
    del file["clips/width"]
    file.create_dataset("clips/width", (1 << 40,), np.int32)


def giant_key(file):
    del file["clips/key"]
    file.create_dataset("clips/key", (2,), "S1000000000")


def nothing_stored(file):
    """A size that the file would have room for, and no bytes: reading gives what stands at the file's start."""
    del file["rgb/data"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file["rgb"].id, b"data", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((500,)), dcpl=plist)


def type_in_place_of_data(file):
    del file["rgb/data"]
    file["rgb/data"] = np.dtype("uint8")


def group_in_place_of_data(file):
    del file["rgb/data"]
    file.create_group("rgb/data")


def data_in_place_of_group(file):
    del file["rgb"]
    file["rgb"] = np.zeros(10, np.uint8)


def cycle(file):
    file["clips/again"] = file["/"]


def thousand_groups(file):
    for number in range(1000):
        file.create_group(f"g{number}")


def references(file):
    del file["clips/label"]
    file.create_dataset("clips/label", data=np.array([file["rgb"].ref] * 2, h5py.ref_dtype), dtype=h5py.ref_dtype)


def compound(file):
    del file["clips/label"]
    file["clips/label"] = np.zeros(2, [("a", "i4"), ("b", "i4")])


def attribute(name, value, **options):
    return lambda file: file.attrs.create(name, value, **options)


def object_attribute(file):
    file.attrs.create("labels", file["rgb"].ref, dtype=h5py.ref_dtype)


def many_attributes(file):
    for number in range(500):
        file.attrs[f"a{number}"] = number


def value(name, row, new):
    return lambda file: file[name].__setitem__(row, new)


ATTACKS = {
    "external link": (external_link, "/clips/label is missing or a link"),
    "external link to a group": (external_group, "/clips is missing or a link"),
    "soft link": (soft_link, "/clips/rgb_first is missing or a link"),
    "soft link to itself": (soft_link_to_itself, "/rgb is missing or a link"),
    "soft link to a group": (soft_link_to_a_group, "/flow is missing or a link"),
    "external storage": (external_storage, "/rgb/data must be contiguous uint8 in this file"),
    "virtual dataset": (virtual, "/rgb/data must be contiguous uint8 in this file"),
    "4 TB in chunks": (giant(chunks=(1 << 20,)), "/rgb/data must be contiguous uint8 in this file"),
    "4 TB compressed": (giant(chunks=(1 << 20,), compression="gzip"), "/rgb/data must be contiguous"),
    "4 TB that are not there": (giant(), r"/rgb/data (declares \d+ bytes and stores none|ends at byte \d+ of a file)"),
    "4 TB column": (giant_column, r"/clips/width (declares \d+ bytes and stores none|ends at byte \d+ of a file)"),
    "2 GB of keys": (giant_key, r"/clips/key (declares 2000000000 bytes and stores none|ends at byte \d+ of a file)"),
    "nothing stored": (nothing_stored, "/rgb/data declares 500 bytes and stores none"),
    "lzf": (replaced("rgb/offset", chunks=(4,), compression="lzf"), "/rgb/offset must be contiguous int64"),
    "fletcher32": (replaced("rgb/offset", chunks=(4,), fletcher32=True), "/rgb/offset must be contiguous int64"),
    "resizable": (replaced("rgb/offset", maxshape=(None,)), "/rgb/offset must be contiguous int64"),
    "big endian": (replaced("clips/label", dtype=">i4"), "/clips/label must be contiguous int32 .* found >i4"),
    "floats": (replaced("clips/label", dtype="float64"), "/clips/label must be contiguous int32"),
    "references": (references, "/clips/label must be contiguous int32 in this file, found object"),
    "compound": (compound, "/clips/label must be contiguous int32"),
    "texts of any length": (
        replaced("clips/key", data=["a", "b"], dtype=h5py.string_dtype()),
        "/clips/key must be contiguous S in this file, found object",
    ),
    "matrix": (replaced("clips/label", data=np.zeros((2, 2), np.int32)), "/clips/label is not a one-dimensional"),
    "number": (replaced("clips/label", data=np.int32(1)), "/clips/label is not a one-dimensional"),
    "type in place of data": (type_in_place_of_data, "/rgb/data is not a one-dimensional dataset"),
    "group in place of data": (group_in_place_of_data, "/rgb/data is not a one-dimensional dataset"),
    "data in place of a group": (data_in_place_of_group, "/rgb is not a group"),
    "cycle": (cycle, "/clips/ has 13 members, the contract knows 12"),
    "thousand groups": (thousand_groups, "/ has 1003 members, the contract knows 3"),
    "attribute that is a reference": (object_attribute, "attribute labels must be one number or text, found object"),
    "attribute that is an array": (attribute("labels", np.zeros(8000)), "attribute labels must be one number or text"),
    "attribute that is empty": (attribute("labels", h5py.Empty("S1")), "attribute labels must be one number or text"),
    "attribute that is a vector of texts": (attribute("labels", ["a", "b"]), "attribute labels must be one number"),
    "attribute of 500 kB": (attribute("labels", "[" + " " * 500_000 + "]"), "attribute labels is a text of 500002"),
    "many attributes": (many_attributes, r"has 51\d attributes, the contract knows"),
    "attribute of a dataset": (lambda file: file["rgb/data"].attrs.create("x", 1), "/rgb/data has attributes"),
    "deep JSON": (attribute("labels", "[" * 60_000), "attribute missing or malformed: RecursionError"),
    "JSON of numbers": (attribute("labels", "[1, 2]"), "attribute missing or malformed: .*labels holds what is no"),
    "infinite": (attribute("short_side", np.inf), "attribute missing or malformed: OverflowError"),
    "no number": (attribute("flow_scale", np.nan), "attribute missing or malformed: .*flow_scale nan is not within"),
    "negative": (attribute("short_side", -1), "attribute missing or malformed: .*short_side -1 is not within"),
    "no time": (attribute("fps_den", 0), "attribute missing or malformed: ZeroDivisionError"),
    "label beyond the names": (value("clips/label", 1, 2), "clip clip_1 has label 2, outside -1 to 1"),
    "label below none": (value("clips/label", 0, -2), "clip clip_0 has label -2, outside -1 to 1"),
    "giant picture": (value("clips/height", 0, 2**31 - 1), "clip clip_0 has height 2147483647, outside 1 to 65500"),
    "counts that overflow": (value("clips/rgb_count", 0, 2**31 - 1), "rgb ranges do not cover"),
    "negative counts": (value("clips/rgb_count", 0, -4), "rgb ranges do not cover"),
    "time that is no number": (value("clips/time_end", 0, np.nan), "a clip has a time that is no number"),
    "no key": (value("clips/key", 0, b""), "a clip has no key"),
    "another label": (value("clips/label", 1, 0), "attributes and clip table have CRC-32"),
    "another scale": (attribute("flow_scale", 6.0), "attributes and clip table have CRC-32"),
    "no checksum": (lambda file: file.attrs.pop("head_crc32"), "written as None"),
}


def test_table_has_no_attack_on_a_shard_that_fails_anyway(folder):
    assert len(Shard(folder / NAME)) == 2
    assert verify_folder(folder).findings == ()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(folder, name):
    how, message = ATTACKS[name]
    with h5py.File(folder / NAME, "r+") as file:
        how(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadShard, match=message):
        Shard(folder / NAME)
    (found, *_) = [one for one in verify_folder(folder, workers=1).findings if "index says" not in one.problem]
    assert found.shard == NAME
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_user_block_is_refused(folder):
    """What comes before the HDF5 part could be a program that something else runs."""
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(b"#!/bin/sh\n".ljust(512) + content)
    with pytest.raises(BadShard, match=r"user block of 512 bytes|cannot be opened as HDF5"):
        Shard(folder / NAME)
    (folder / NAME).unlink()
    with h5py.File(folder / NAME, "w", userblock_size=512) as file:
        file["x"] = 1
    with pytest.raises(BadShard, match="begins with a user block of 512 bytes"):
        Shard(folder / NAME)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"<html>", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_what_is_no_shard_is_refused(folder, content):
    (folder / NAME).write_bytes(content)
    with pytest.raises(BadShard, match="cannot be opened as HDF5"):
        Shard(folder / NAME)


def test_pipe_device_and_folder_are_no_shards(folder):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()):
        (folder / NAME).unlink()
        make(folder / NAME)
        with pytest.raises(BadShard, match=f"{NAME} is missing"):
            ShardSet(folder, "train")
        assert verify_folder(folder).damaged == (NAME,)
        (folder / NAME).rmdir() if (folder / NAME).is_dir() else None
        (folder / NAME).touch()


PLUGIN = """
#include <stdio.h>
__attribute__((constructor)) static void go(void) { FILE *file = fopen(MARKER, "w"); if (file) fclose(file); }
"""
READ = """
import sys
{first}
import h5py
try:
    with h5py.File(sys.argv[1]) as file:
        file["rgb/data"][()]
except OSError:
    pass
"""


def test_plugins_are_not_loaded(folder, tmp_path):
    """A filter of an unknown number makes HDF5 look for a library, and run what it finds."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a plugin with")
    marker = tmp_path / "marker"
    (tmp_path / "plugin.c").write_text(PLUGIN)
    (tmp_path / "plugins").mkdir()
    library = str(tmp_path / "plugins" / "libevil.so")
    options = ["-shared", "-fPIC", f'-DMARKER="{marker}"', "-o", library, str(tmp_path / "plugin.c")]
    subprocess.run([compiler, *options], check=True)
    with h5py.File(folder / NAME, "r+") as file:
        del file["rgb/data"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((64,))
        plist.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((500,))
        data = h5py.h5d.create(file["rgb"].id, b"data", h5py.h5t.STD_U8LE, space, dcpl=plist)
        data.write_direct_chunk((0,), bytes(64))
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PRELOAD"}
    for first, loads in (("import preprocess.shards", False), ("", True)):
        script = [sys.executable, "-c", READ.format(first=first), str(folder / NAME)]
        subprocess.run(script, env={**environment, "HDF5_PLUGIN_PATH": str(tmp_path / "plugins")}, check=True)
        assert marker.exists() == loads
    with pytest.raises(BadShard, match="/rgb/data must be contiguous uint8 in this file"):
        Shard(folder / NAME)


SHARD = {"name": NAME, "bytes": 1000, "sha256": "0" * 64, "clips": 2}
INDEX = {"format": "kineflow-shard", "version": 1, "config": {}, "labels": ["a"], "shards": [SHARD]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": [{**SHARD, "name": "../train-00000-of-00001.h5"}]}, r"names a shard '\.\./train"),
        ({"shards": [{**SHARD, "name": "/etc/passwd"}]}, "names a shard '/etc/passwd'"),
        ({"shards": [{**SHARD, "name": "train-00000-of-00001.h5\n"}]}, "names a shard"),
        ({"shards": [{**SHARD, "name": "train-00000-of-00001.h5\0"}]}, "names a shard"),
        ({"shards": [{**SHARD, "name": "train-\x1b[2J"}]}, r"names a shard 'train-\\x1b\[2J'"),
        ({"shards": [{**SHARD, "name": 7}]}, "is damaged"),
        ({"shards": [SHARD, SHARD]}, "names a shard twice"),
        ({"shards": [{**SHARD, "clips": 10**15}]}, "is damaged .*clips 1000000000000000"),
        ({"shards": [{**SHARD, "clips": -1}]}, "is damaged"),
        ({"shards": [{**SHARD, "clips": True}]}, "is damaged"),
        ({"shards": [{**SHARD, "bytes": "1000"}]}, "is damaged"),
        ({"shards": [{**SHARD, "sha256": None}]}, "is damaged"),
        ({"shards": [{**SHARD, "run": "rm -rf"}]}, "is damaged"),
        ({"shards": {"a": 1}}, "is damaged"),
        ({"labels": [1]}, "is damaged"),
        ({"labels": 5}, "is damaged"),
        ({"config": 5}, "is damaged"),
    ],
)
def test_hostile_index_is_refused(folder, change, message):
    (folder / "index.json").write_text(json.dumps({**INDEX, **change}))
    with pytest.raises(BadShard, match=message):
        Index.read(folder)


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"format":' * 50_000, b"\xff\xfe", b"1e999", b"NaN"])
def test_index_that_is_no_json_is_refused(folder, text):
    (folder / "index.json").write_bytes(text)
    with pytest.raises(BadShard, match="is damaged"):
        Index.read(folder)
