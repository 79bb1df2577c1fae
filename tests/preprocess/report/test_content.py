import json

import pytest

from preprocess.errors import InvalidInput
from preprocess.report.content import Report, Sampling
from preprocess.report.making import make_report
from tests.preprocess.report.shard_sets import clip, write_set


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return make_report(write_set(tmp_path_factory.mktemp("shards"), {"val": [[clip("a", label=-1)]]})).report


def test_json_reads_back_the_same(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    assert Report.read(path) == report
    assert json.loads(path.read_text())["version"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "kineflow-card"}, "is no report"),
        ({"version": 2}, "has version 2, this reader knows 1"),
        ({"shards": "many"}, "shards should be int"),
        ({"all": None}, "all should be an object"),
    ],
)
def test_another_document_fails(report, tmp_path, change, message):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(report.to_json()) | change))
    with pytest.raises(InvalidInput, match=message):
        Report.read(path)


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), (None, "cannot read the report")])
def test_no_document_fails(tmp_path, text, message):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        Report.read(path)


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"clips": 100_001}, {"frames": 0}, {"per_class": -1}, {"seed": -1}])
def test_sampling_names_what_is_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(InvalidInput, match=f"{name} of a report is .*, got {wrong[name]}"):
        Sampling(**wrong)
