"""Tests of preprocess.nodes; tests/test_two_nodes.py asks real nodes."""

from types import SimpleNamespace

import pytest

from preprocess.errors import EnvironmentProblem
from preprocess.nodes import installed, require, terms


class TimedOutError(Exception):
    """In place of one of Ray's."""


class LostError(Exception):
    """Likewise."""


class FakeRay:
    """Nodes that answer with what `answers` has for them: a change to what is installed, or an error."""

    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    )
    exceptions = SimpleNamespace(
        GetTimeoutError=TimedOutError, NodeDiedError=LostError, TaskUnschedulableError=LostError
    )

    def __init__(self, **answers):
        self._answers = answers

    def nodes(self):
        return [
            {"NodeID": node, "NodeManagerAddress": f"host-{node}", "Alive": node != "dead"} for node in self._answers
        ]

    def remote(self, **options):
        def remote(question):
            def options(*, scheduling_strategy):
                return SimpleNamespace(remote=lambda *arguments: (scheduling_strategy, question(*arguments)))

            return SimpleNamespace(options=options)

        return remote

    def get(self, reference, timeout):
        node, answer = reference
        given = self._answers[node]
        if isinstance(given, Exception):
            raise given
        return {**answer, **given} if isinstance(answer, dict) else answer


def test_nodes_with_the_same_versions_that_see_the_folders(tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"video")
    (tmp_path / "out").mkdir()
    with terms(folders=[tmp_path / "out"], files=[file]) as wanted:
        require(FakeRay(a={}, b={}, dead={"ray": "1.0"}, lost=LostError()), wanted)
        assert len(list((tmp_path / "out").iterdir())) == 1
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"kineflow": "9.9.9"}, rf"kineflow 9\.9\.9 \(here {installed()['kineflow']}\)"),
        ({"kineflow": "none", "its source": "none"}, r"kineflow none \(here .*\), its source none \(here"),
        ({"ray": "2.0.0"}, r"ray 2\.0\.0 \(here "),
    ],
)
def test_other_version_fails(there, said):
    with terms() as wanted, pytest.raises(EnvironmentProblem) as raised:
        require(FakeRay(a={}, b=there), wanted)
    assert raised.match(rf"^node host-b \(b\) has {said}.*; install the same on all nodes$")


def test_node_without_an_answer_fails():
    with terms() as wanted, pytest.raises(EnvironmentProblem, match=r"node host-a \(a\) did not answer within 120 s"):
        require(FakeRay(a=TimedOutError()), wanted)


def test_folder_that_is_another_one_fails(tmp_path):
    with terms(folders=[tmp_path]) as wanted:
        (marker,) = tmp_path.iterdir()
        assert wanted.unmet() == ""
        marker.write_text("of another folder of this name")
        with pytest.raises(EnvironmentProblem, match=rf"node host-a \(a\) does not see {tmp_path} as it is here"):
            require(FakeRay(a={}), wanted)


def test_file_that_is_not_there_fails(tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"video")
    with terms(files=[file]) as wanted:
        file.unlink()
        assert wanted.unmet().startswith(f"does not see {tmp_path} as it is here")


def test_folder_that_cannot_be_written_fails(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(EnvironmentProblem, match=rf"cannot write {missing}/\.nodes"), terms(folders=[missing]):
        pass
