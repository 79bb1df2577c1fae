"""Tests of i3d_train.inflate: a video in which nothing moves gives the answer of the two-dimensional network."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import nn

from i3d_train import inflate
from i3d_train.models import build
from i3d_train.models.convolution import ConvUnit
from i3d_train.models.inception_i3d import InceptionI3D
from preprocess.errors import InvalidInput
from tests.i3d_train.googlenet import GoogLeNet

WIDTH = 1 / 8
TOLERANCE = 1e-5
"""Of the largest value."""


@pytest.fixture(scope="module")
def flat() -> GoogLeNet:
    torch.manual_seed(3)
    return GoogLeNet(width=WIDTH)


@pytest.fixture(scope="module")
def path(flat, tmp_path_factory):
    path = tmp_path_factory.mktemp("flat") / "googlenet.pth"
    torch.save(flat.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def full() -> GoogLeNet:
    """At the published width."""
    torch.manual_seed(4)
    return GoogLeNet()


@pytest.fixture(scope="module")
def full_path(full, tmp_path_factory):
    path = tmp_path_factory.mktemp("full") / "googlenet.pth"
    torch.save(full.state_dict(), path)
    return path


def inflated(path, *, name: str = "i3d", stream: str = "rgb", width: float = WIDTH, edges: bool = False):
    network = build(name, num_classes=4, stream=stream, width=width).eval()
    inflate.load(network, path)
    for unit in network.modules():
        if isinstance(unit, ConvUnit):
            unit.edge_in_time = edges
    return network


def last_map(network: InceptionI3D, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        *_, (_, last_BCTHW) = network.end_points(x)
    return last_BCTHW


def still(image: torch.Tensor, frames: int) -> torch.Tensor:
    return image[:, :, None].expand(-1, -1, frames, -1, -1)


def worst_by_step(found_BCTHW: torch.Tensor, expected_BCHW: torch.Tensor) -> torch.Tensor:
    """Largest difference at each time step, as a part of the largest value."""
    difference = (found_BCTHW - expected_BCHW[:, :, None]).abs().amax(dim=(0, 1, 3, 4))
    return difference / expected_BCHW.abs().max()


@pytest.mark.parametrize(("frames", "side"), [(1, 1), (3, 3), (7, 7)])
def test_each_filter_alone_answers_as_before(frames, side):
    kernel, image = torch.randn(5, 3, side, side), torch.randn(2, 3, 9, 9)
    answer = F.conv3d(still(image, frames), inflate.inflate_kernel(kernel, frames=frames))
    expected = F.conv2d(image, kernel)
    assert float(worst_by_step(answer, expected)) < TOLERANCE


def test_every_unit_of_the_network_alone_answers_as_before(flat, path):
    network = inflated(path)
    units = {name: unit for name, unit in network.named_modules() if isinstance(unit, ConvUnit)}
    flat_units = [unit for unit in flat.modules() if hasattr(unit, "conv") and isinstance(unit.conv, nn.Conv2d)]
    assert len(units) == len(flat_units) == 57
    for unit, flat_unit in zip(units.values(), flat_units, strict=True):
        image = torch.rand(1, flat_unit.conv.in_channels, 8, 8)
        with torch.inference_mode():
            # seven frames, of which the middle output sees no padding in time
            answer = unit(still(image, 7 * unit.stride[0]))
            middle = answer[:, :, answer.shape[2] // 2][:, :, None]
            assert float(worst_by_step(middle, flat_unit(image))) < TOLERANCE


def test_whole_network_with_edges_in_time_answers_as_before_at_every_step(full, full_path):
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        expected = full(image)
    found = last_map(inflated(full_path, width=1, edges=True), still(image, 64))
    assert found.shape[2] == 8
    assert float(worst_by_step(found, expected).max()) < TOLERANCE


def test_features_with_edges_in_time_are_the_two_dimensional_ones(flat, path):
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        expected = flat(image).mean(dim=(2, 3))
        found = inflated(path, edges=True).step_features(still(image, 64))
    assert float((found - expected[:, :, None]).abs().max() / expected.abs().max()) < TOLERANCE


def test_published_padding_is_exact_where_it_is_out_of_sight(full, full_path):
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = full(image)
    worst = worst_by_step(last_map(inflated(full_path, width=1), still(image, 250)), expected)
    # of 32 steps, each of which sees 99 frames
    assert float(worst[6:25].max()) < TOLERANCE
    assert float(worst[[0, 1, -2, -1]].min()) > 100 * TOLERANCE


def test_published_padding_is_in_sight_of_all_steps_of_64_frames(flat, path):
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = flat(image)
    assert float(worst_by_step(last_map(inflated(path), still(image, 64)), expected).min()) > TOLERANCE


def test_flow_sees_the_mean_of_the_colours_in_each_channel(flat, path):
    kernel = inflated(path, stream="flow").get_submodule("Conv3d_1a_7x7.conv").weight
    expected = flat.conv1.conv.weight.mean(dim=1) / 7
    assert kernel.shape[1:3] == (2, 7)
    for channel in range(2):
        for frame in range(7):
            torch.testing.assert_close(kernel[:, channel, frame], expected)


def test_flow_stack_sees_the_mean_of_the_colours_in_each_of_twenty_channels(flat, path):
    kernel = inflated(path, name="two_stream", stream="flow").get_submodule("flow.Conv3d_1a_7x7.conv").weight
    assert kernel.shape[1:3] == (20, 1)
    torch.testing.assert_close(kernel[:, 19, 0], flat.conv1.conv.weight.mean(dim=1))


@pytest.mark.parametrize(("name", "trunk"), [("convnet_lstm", "frames"), ("two_stream", "rgb"), ("fused", "rgb")])
def test_networks_of_single_frames_see_them_as_before(name, trunk, flat, path):
    network = inflated(path, name=name, stream="rgb" if name == "convnet_lstm" else "both")
    images = torch.rand(1, 3, 2, 64, 64) * 2 - 1
    with torch.inference_mode():
        found = network.get_submodule(trunk)(images)
        for frame in range(2):
            expected = flat(images[:, :, frame])
            assert float(worst_by_step(found[:, :, frame : frame + 1], expected)) < TOLERANCE


def test_both_streams_of_a_fused_network_are_inflated(flat, path):
    network = inflated(path, stream="both")
    for stream in ("rgb", "flow"):
        kernel = network.get_submodule(f"{stream}.Mixed_3b.Branch_0.Conv3d_0a_1x1.conv").weight
        torch.testing.assert_close(kernel[:, :, 0], flat.inception3a.branch1.conv.weight)


def changed(flat, tmp_path, change):
    state = copy.deepcopy(flat.state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def test_classifier_and_counts_of_batches_stay_as_they_were(flat, tmp_path, caplog):
    def change(state):
        state["conv1.bn.num_batches_tracked"].fill_(7)
        del state["conv2.bn.num_batches_tracked"]

    network = build("i3d", num_classes=4, stream="rgb", width=WIDTH)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with caplog.at_level(logging.INFO):
        inflate.load(network, changed(flat, tmp_path, change))
    same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])}
    assert same == {name for name in before if name.startswith("Logits.") or name.endswith(".num_batches_tracked")}
    assert caplog.messages == ["w.pt: 285 tensors inflated, 6 of its classifiers not used"]


def test_safetensors_are_taken_too(flat, path, tmp_path):
    save_file({name: tensor.contiguous() for name, tensor in flat.state_dict().items()}, tmp_path / "w")
    networks = [inflated(one).state_dict() for one in (path, tmp_path / "w")]
    assert all(
        torch.equal(tensor, networks[1][name]) for name, tensor in networks[0].items() if not name.startswith("Logits")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.update({"inception3a.branch3.1.conv.weight": torch.zeros(4, 2, 5, 5)}),
            r"inception3a\.branch3\.1\.conv\.weight is \[4, 2, 5, 5\], expected \[4, 2, 3, 3\] \(5x5 as in GoogLeNet",
        ),
        (lambda state: state.pop("conv2.bn.running_var"), r"conv2\.bn\.running_var is missing$"),
        (lambda state: state.update({"conv9.conv.weight": torch.zeros(1)}), r"conv9\.conv\.weight is unexpected$"),
        (
            lambda state: state.update({"conv1.conv.weight": torch.zeros(8, 1, 7, 7)}),
            r"conv1\.conv\.weight is \[8, 1, 7, 7\], expected \[8, 3, 7, 7\]$",
        ),
        (lambda state: state["conv3.bn.bias"].fill_(float("nan")), r"not finite in conv3\.bn\.bias$"),
    ],
)
def test_file_that_does_not_fit_is_named_and_changes_nothing_fails(change, message, flat, tmp_path):
    network = build("i3d", num_classes=4, stream="rgb", width=WIDTH)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(InvalidInput, match=message):
        inflate.load(network, changed(flat, tmp_path, change))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("names", "told"), [("dbca", r"a, b, c; weights of a video network go to .*--init"), ("", "nothing; weights")]
)
def test_file_of_another_network_fails(names, told, tmp_path):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "resnet.pt")
    with pytest.raises(InvalidInput, match=rf"no two-dimensional Inception-v1 .*, but {told}"):
        inflate.load(build("i3d", num_classes=4, stream="rgb", width=WIDTH), tmp_path / "resnet.pt")


def test_network_without_an_inception_fails(path):
    with pytest.raises(InvalidInput, match=r"C3D holds no Inception-v1 to start from .*; train it from scratch"):
        inflate.load(build("c3d", num_classes=4, stream="rgb", width=WIDTH), path)
