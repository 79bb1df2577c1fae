"""Frames, flow and pictures as bytes."""

from urllib.parse import quote

import cv2
import numpy as np
import pytest

from preprocess.flow.quantise import dequantise
from preprocess.flow_color import flow_to_color
from preprocess.shards import Shard
from tests.pipelines.tiny_shards import write_set
from tests.preprocess.serve.small_root import FRAMES, KEYS, SIZE, client_of, make_root, run_of

SHARD = "train-00000-of-00002.h5"
ESCAPES = ("../clips", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "....//", "%00", "\\..\\", "rgb/../flow")


@pytest.fixture
def small(tmp_path):
    return make_root(tmp_path)


@pytest.fixture
def client(small):
    return client_of(small)


def sliced(content):
    count = int(np.frombuffer(content, "<u4", 1)[0])
    *lengths, data = *np.frombuffer(content, "<u4", count + 1)[1:].tolist(), content[4 * (count + 1) :]
    assert sum(lengths) == len(data)
    ends = np.cumsum(lengths).tolist()
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


@pytest.mark.parametrize(("stream", "count"), [("rgb", FRAMES), ("flow", FRAMES - 1)])
def test_all_jpegs_of_a_stream(small, client, stream, count):
    asked = {"run": run_of(client, "shards"), "key": KEYS[1]}
    answer = client.get(f"/media/{stream}.bin", params=asked)
    assert answer.headers["content-type"] == "application/octet-stream"
    shard = Shard(small / "shards" / "train-00001-of-00002.h5")
    assert sliced(answer.content) == [shard.jpeg(stream, number).tobytes() for number in range(count)]


def test_thumbnail_is_small_and_kept(client):
    asked = {"run": run_of(client, "shards"), "key": KEYS[0]}
    answer = client.get("/media/thumbnail", params=asked)
    assert answer.headers["content-type"] == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (*SIZE, 3)
    assert answer.headers["cache-control"] == "private, no-cache"
    again = client.get("/media/thumbnail", params=asked, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["colors/5.png", "legend.png"])
def test_colours_are_kept(client, path):
    tag = client.get(f"/media/{path}").headers["etag"]
    assert client.get(f"/media/{path}", headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize("px", [5, 10, 20])
def test_colours_are_those_of_flow_to_color(client, px):
    answer = client.get(f"/media/colors/{px}.png")
    colors = cv2.cvtColor(cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert colors.shape == (256, 256, 3)
    assert colors[128, 128].tolist() == [255, 255, 255]
    for u, v in ((128, 128), (255, 128), (1, 200), (140, 30), (255, 255)):
        flow = np.array([dequantise(np.uint8(u)), dequantise(np.uint8(v))]).reshape(2, 1, 1)
        assert colors[v, u].tolist() == flow_to_color(flow, max_magnitude=px)[0, 0].tolist()


def test_legend_has_the_colours_in_their_places(client):
    answer = client.get("/media/legend.png")
    wheel = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    side = len(wheel)
    blue, green, red, alpha = (int(value) for value in wheel[side // 2, side - 3])
    assert red > 240
    assert green < 30
    assert alpha > 200
    assert wheel[0, 0, 3] == 0
    assert blue < 60


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_name_leads_to_a_file(client, escape):
    run = run_of(client, "shards")
    part = quote(escape, safe="%")  # clients resolve what is not quoted themselves; see test_server.py
    for path in (f"/media/{part}.bin", f"/static/{part}", f"/media/colors/{part}.png", f"/runs/{part}"):
        assert client.get(path, params={"run": run, "key": KEYS[0]}).status_code in {404, 422}
    for asked in ({"run": escape, "key": KEYS[0]}, {"run": run, "key": escape}):
        assert client.get("/media/rgb.bin", params=asked).status_code in {404, 422}
        assert client.get("/media/thumbnail", params=asked).status_code in {404, 422}


def test_what_is_in_no_shard(client):
    for run, key in (("shards", KEYS[2]), ("clips", KEYS[0])):
        assert client.get("/media/rgb.bin", params={"run": run_of(client, run), "key": key}).status_code == 404
    assert client.get("/media/rgb.bin", params={"run": "0" * 12, "key": KEYS[0]}).status_code == 404
    assert client.get("/media/depth.bin", params={"run": run_of(client, "shards"), "key": KEYS[0]}).status_code == 404


def test_a_shard_that_changed_or_went_since(small, client):
    asked = {"run": run_of(client, "shards"), "key": KEYS[0]}
    write_set(small / "shards", {"train": [[], []]})
    assert client.get("/media/rgb.bin", params=asked).status_code == 409
    (small / "shards" / SHARD).unlink()
    assert client.get("/media/thumbnail", params=asked).status_code == 409
    (small / "shards" / SHARD).symlink_to("/etc/passwd")
    answer = client.get("/media/rgb.bin", params=asked)
    assert answer.status_code == 409
    assert "is a link" in answer.text


def test_a_damaged_frame_is_an_answer(small, client):
    path = small / "shards" / SHARD
    content = path.read_bytes()
    shard = Shard(path)
    frame = shard.jpeg("rgb", FRAMES // 2).tobytes()
    field = shard.jpeg("flow", 0).tobytes()
    path.write_bytes(content.replace(frame, bytes(len(frame))).replace(field, bytes(len(field))))
    asked = {"run": run_of(client, "shards"), "key": KEYS[0]}
    for address in ("/media/thumbnail", "/fragments/statistics", "/api/v1/clip/statistics"):
        answer = client.get(address, params=asked)
        assert answer.status_code == 409
        assert "no whole JPEG" in answer.text


def test_a_frame_that_declares_another_size_is_not_decoded(small, client):
    """A few bytes could ask for gigabytes."""
    path = small / "shards" / SHARD
    content = path.read_bytes()
    frame = Shard(path).jpeg("rgb", FRAMES // 2).tobytes()
    at = frame.index(b"\xff\xc0") + 5
    huge = frame[:at] + (65_500).to_bytes(2, "big") * 2 + frame[at + 4 :]
    path.write_bytes(content.replace(frame, huge))
    answer = client.get("/media/thumbnail", params={"run": run_of(client, "shards"), "key": KEYS[0]})
    assert answer.status_code == 409
    assert "48x64" in answer.text
