"""The JSON API."""

import math

import pytest

from preprocess.jsonl import line_of
from preprocess.outcomes import Outcome
from tests.preprocess.clip_folders import clip, failed, write_folder, write_manifest
from tests.preprocess.serve.small_root import EVIL, FRAMES, KEYS, append, client_of, make_root, run_of

API = "/api/v1"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def client(small):
    return client_of(small)


def test_runs(client):
    clips, shards = client.get(f"{API}/runs").json()
    assert (clips["name"], clips["kind"]) == ("clips", "clips")
    assert clips["outcomes"] == {"done": 3, "unavailable": 1, "temporary": 1}
    assert clips["index"]["read_bytes"] == clips["index"]["whole_bytes"] > 0
    assert (shards["shards"], shards["outcomes"]) == (2, {"done": 2})
    assert client.get(f"{API}/index").json()["read_bytes"] > clips["index"]["read_bytes"]


def test_clips_page_by_page(client):
    keys, after = [], ""
    while after is not None:
        page = client.get(f"{API}/clips", params={"limit": 2, "after": after}).json()
        keys += [clip["key"] for clip in page["clips"]]
        after = page["next"]
    assert keys == KEYS
    assert page["total"] == 7  # two of five clips are in two runs


def test_clips_by_label(client):
    page = client.get(f"{API}/clips", params={"label": EVIL}).json()
    (found,) = page["clips"]
    assert found["standings"][0]["label"] == EVIL


def test_one_clip(client):
    of_clips, of_shards = client.get(f"{API}/clip", params={"key": KEYS[0]}).json()["runs"]
    assert of_clips["lines"][0]["fields"]["duration_s"] == 10.0
    assert of_clips["shard"] is None
    assert of_shards["shard"]["frames"] == FRAMES
    assert of_shards["shard"]["settings"]["short side"] == "48 px"
    history = client.get(f"{API}/clip", params={"key": KEYS[3]}).json()["runs"][0]["lines"]
    assert [line["fields"]["cause"] for line in history] == ["server_error", "server_error", "private"]


def test_statistics(client):
    asked = {"run": run_of(client, "shards"), "key": KEYS[0]}
    found = client.get(f"{API}/clip/statistics", params=asked).json()
    assert (found["fields"], found["fields_of_clip"]) == (FRAMES - 1, FRAMES - 1)
    assert sum(found["u"]) == sum(found["v"]) == (FRAMES - 1) * 48 * 64
    assert len(found["edges_px"]) == len(found["u"]) + 1


def test_failures(client):
    found = client.get(f"{API}/failures").json()
    assert {(one["outcome"], one["clips"]) for one in found["counts"]} == {("unavailable", 1), ("temporary", 1)}
    assert {one["example"] for one in found["messages"]} == {KEYS[3], KEYS[4]}
    shards = run_of(client, "shards")
    assert client.get(f"{API}/failures", params={"run": shards}).json() == {"counts": [], "messages": []}


def test_failures_are_tried_again_by_the_command_that_made_the_folder(tmp_path):
    bad = failed(clip(9), Outcome.BAD_MEDIA, "damaged")
    write_manifest(tmp_path / "ucf101", [bad])
    write_folder(tmp_path / "clips", [clip(9)], [bad])
    found = client_of(tmp_path).get(f"{API}/failures").json()
    assert {one["advice"] for one in found["counts"]} == {
        "tried again by the next `preprocess index`, without an option",
        "tried again by `preprocess download` with `--retry bad_media`",
    }


def test_dataset(client):
    found = client.get(f"{API}/dataset", params={"run": run_of(client, "clips")}).json()
    assert {one["label"]: (one["done"], one["clips"]) for one in found["labels"]}["yoga"] == (2, 2)
    assert found["card"]["rows"]["wanted"] == 5
    shards = client.get(f"{API}/dataset", params={"run": run_of(client, "shards")}).json()
    assert shards["card"] is None
    assert shards["notes"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("clips?limit=0", 422),
        ("clips?limit=201", 422),
        ("clips?limit=x", 422),
        ("clips?run=../..", 422),
        ("clips?message=99999999999999999999", 422),
        (f"clips?q={'x' * 101}", 422),
        ("clips?q=%00", 422),
        ("clips?after=%0A", 422),
        (f"clips?label={'x' * 501}", 422),
        ("clip", 422),
        ("clip?key=", 422),
        ("clip?key=nope", 404),
        ("clip?key=%FF%FE", 404),
        ("clip/statistics?run=000000000000&key=x", 404),
        ("failures?run=000000000000", 404),
        ("dataset", 422),
        ("dataset?run=000000000000", 404),
        ("nope", 404),
    ],
)
def test_bad_requests_have_a_message(client, path, status):
    answer = client.get(f"{API}/{path}")
    assert answer.status_code == status
    assert answer.json()["message"]


def test_empty_filters_ask_for_nothing(client):
    query = "run=&split=&outcome=&cause=&label=&q=&after="
    assert len(client.get(f"{API}/clips?{query}").json()["clips"]) == len(KEYS)


def test_a_line_may_hold_what_json_cannot(tmp_path):
    root = make_root(tmp_path)
    entry = {"key": "k", "label": None, "split": "x", "outcome": "done", "fps": math.nan, "source": "\ud800"}
    append(root, [line_of(entry)])
    answer = client_of(root).get(f"{API}/clip", params={"key": "k"})
    fields = answer.json()["runs"][0]["lines"][0]["fields"]
    assert (fields["fps"], fields["source"]) == ("nan", "\\ud800")


def test_everything_is_described(client):
    document = client.get("/api/openapi.json").json()
    assert document["info"]["title"] == "kineflow"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert operation["description"], path
            if path.startswith(f"{API}/") and method == "get":
                assert {"401", "421", "503"} <= operation["responses"].keys(), path
    assert {f"{API}/runs", f"{API}/clips", f"{API}/jobs", "/metrics"} <= document["paths"].keys()
