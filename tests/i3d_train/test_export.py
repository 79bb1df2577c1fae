"""Tests of i3d_train.export."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from i3d_train.export import ExportConfig, Program, export
from pipelines.loader import FLOW_STD, RGB_MEAN, RGB_STD
from preprocess.errors import EnvironmentProblem, InvalidInput, KineflowError
from preprocess.shards import ShardAttributes
from tests.i3d_train.small_weights import small_network, write_small


def config_for(folder: Path, model: str, *, stream: str, crop: int = 32, frames: int = 10) -> ExportConfig:
    weights = write_small(folder / "w.safetensors", small_network(model, stream=stream), model=model)
    return ExportConfig(weights=weights, out=folder / "program.pt2", frames=frames, crop=crop)


@pytest.fixture(scope="module")
def of_c3d(tmp_path_factory):
    """A network that sees frames of half the size."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    network = small_network("c3d", stream="rgb")
    weights = write_small(folder / "w.safetensors", network, model="c3d")
    config = ExportConfig(weights=weights, out=folder / "program.pt2", frames=10, crop=196)
    return network, config, export(config)


def load(path: Path) -> tuple[torch.nn.Module, dict]:
    extra = {"kineflow.json": ""}
    return torch.export.load(path, extra_files=extra).module(), json.loads(extra["kineflow.json"])


@pytest.mark.parametrize("clips", [1, 5])
def test_program_gives_the_networks_logits_for_any_number_of_clips(clips, of_c3d):
    network, config, _ = of_c3d
    program, _ = load(config.out)
    x = torch.rand(clips, 3, 10, 196, 196) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(program(x), network(network.sampling.take(x, stream="rgb")), atol=1e-5)


def test_file_says_what_the_program_takes(of_c3d):
    _, config, done = of_c3d
    _, found = load(config.out)
    assert found == done.metadata
    assert (found["model"], found["stream"], found["labels"]) == ("c3d", "rgb", ["dark", "light"])
    assert (found["frames"], found["crop"], found["fps"], found["short_side"]) == (10, 196, 25.0, 256)
    (taken,) = found["inputs"]
    assert (taken["shape"], taken["zero"], taken["span"]) == (["clips", 3, 10, 196, 196], 127.5, 127.5)


def test_clips_that_it_was_traced_with_are_not_in_the_file(of_c3d):
    _, config, _ = of_c3d
    assert torch.export.load(config.out).example_inputs is None


def test_program_runs_without_this_project(of_c3d):
    _, config, _ = of_c3d
    code = (
        "import sys, torch; program = torch.export.load(sys.argv[1]).module();"
        "print(tuple(program(torch.zeros(1, 3, 10, 196, 196)).shape), 'i3d_train' in sys.modules)"
    )
    run = [sys.executable, "-I", "-c", code, str(config.out)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "(1, 2) False\n"


def test_both_streams_are_taken_colour_first(tmp_path):
    config = config_for(tmp_path, "c3d", stream="both", crop=196)
    done = export(config)
    program, found = load(config.out)
    assert [taken["name"] for taken in found["inputs"]] == ["rgb", "flow"]
    assert [taken["order"] for taken in found["inputs"]] == ["red, green, blue", "u, v"]
    # as the loader normalises, or the program would be fed other numbers than the network was
    normalised = [(taken["zero"], taken["span"]) for taken in found["inputs"]]
    assert normalised == [(RGB_MEAN, RGB_STD), (ShardAttributes.flow_zero, FLOW_STD)]
    assert program(torch.zeros(1, 3, 10, 196, 196), torch.zeros(1, 2, 10, 196, 196)).shape == (1, 2)
    assert done.difference < 1e-4


@pytest.mark.parametrize("difference", [1, torch.nan])
def test_program_with_other_logits_is_not_written_fails(difference, tmp_path, monkeypatch):
    config = config_for(tmp_path, "c3d", stream="rgb", crop=196)
    real = Program.forward
    # what is traced differs from what it is compared with
    monkeypatch.setattr(
        Program, "forward", lambda self, *x: real(self, *x) + (difference if torch.compiler.is_exporting() else 0)
    )
    message = rf"gives other logits than the network, by up to {difference} on 1 clips"
    with pytest.raises(EnvironmentProblem, match=message):
        export(config)
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 8}, r"i3d needs at least 9 frames, got frames 8"),
        ({"frames": 1 << 34}, r"too small for 3 clips at a time; use fewer --frames, or a smaller --crop"),
        ({"labels": Path("missing.txt")}, r"label file missing.txt cannot be read"),
    ],
)
def test_what_does_not_fit_fails(changes, message, tmp_path):
    with pytest.raises(KineflowError, match=message):
        export(replace(config_for(tmp_path, "i3d", stream="rgb"), **changes))


@pytest.mark.parametrize(
    ("out", "problem"), [("/proc/self/a.pt2", EnvironmentProblem), ("TMP/folder.pt2", InvalidInput)]
)
def test_place_that_cannot_be_written_fails_before_the_work(out, problem, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.export.export", lambda *arguments, **options: pytest.fail("was exported"))
    (tmp_path / "folder.pt2").mkdir()
    config = config_for(tmp_path, "c3d", stream="rgb", crop=196)
    with pytest.raises(problem, match=r"cannot write|is a folder"):
        export(replace(config, out=Path(out.replace("TMP", str(tmp_path)))))


def test_other_ending_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"model.onnx should end in .pt2"):
        ExportConfig(weights=tmp_path / "w.pt", out=tmp_path / "model.onnx")
