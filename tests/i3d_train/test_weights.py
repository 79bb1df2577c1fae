"""Tests of i3d_train.weights."""

import logging
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch

from i3d_train import weights
from i3d_train.convert import write_safetensors
from i3d_train.models import build
from i3d_train.models.inception_i3d import InceptionI3D
from i3d_train.models.late_fusion import LateFusion
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import small
from tests.i3d_train.released_files import (
    port_state,
    random_i3d,
    released_variables,
    same_tensors,
    write_checkpoint,
    write_released,
)

WIDTH = 1 / 16
SLIP = "RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"


def fresh(*, classes: int = 3, stream: str = "rgb") -> InceptionI3D:
    return build("i3d", num_classes=classes, stream=stream, width=WIDTH)


@pytest.fixture(scope="module")
def network() -> InceptionI3D:
    torch.manual_seed(1)
    return random_i3d(num_classes=3, stream="rgb", width=WIDTH)


@pytest.fixture(scope="module")
def variables(network) -> dict[str, np.ndarray]:
    return released_variables(network)


def write_state(path, network):
    torch.save(network.state_dict(), path)
    return path


def write_piergiaj(path, network):
    torch.save(port_state(network, "piergiaj"), path, _use_new_zipfile_serialization=False)
    return path


def write_hassony2(path, network):
    torch.save(port_state(network, "hassony2"), path, _use_new_zipfile_serialization=False)
    return path


def write_deepmind(path, network):
    return write_released(path.with_suffix(".npz"), released_variables(network))


WRITERS = [write_state, write_piergiaj, write_hassony2, write_deepmind]
every_spelling = pytest.mark.parametrize("write", WRITERS)


def test_released_file_has_the_published_count_of_variables(variables):
    assert len(variables) == 230


@every_spelling
@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_loading_restores_the_network(write, stream, tmp_path):
    network = random_i3d(num_classes=4, stream=stream, width=WIDTH)
    path = write(tmp_path / "w", network)
    loaded = fresh(classes=4, stream=stream)
    weights.load(loaded, path)
    assert same_tensors(network, loaded)


@every_spelling
def test_description_tells_stream_classes_and_width(write, tmp_path):
    path = write(tmp_path / "w", random_i3d(num_classes=5, stream="flow", width=0.125))
    info = weights.describe(path)
    assert (info.model, info.stream, info.num_classes, info.labels, info.width) == ("i3d", "flow", 5, (), 0.125)


@every_spelling
def test_missing_and_misshaped_tensors_are_all_named_fails(write, tmp_path):
    # a network that is one class short in a single tensor, and lacks another one
    network = random_i3d(num_classes=3, stream="rgb", width=WIDTH)
    network.get_submodule("Mixed_3b.Branch_0.Conv3d_0a_1x1").conv.weight = torch.nn.Parameter(
        torch.zeros(8, 12, 1, 1, 1)
    )
    del network.get_submodule("Mixed_5b.Branch_2.Conv3d_0b_3x3").bn.running_mean
    path = write(tmp_path / "w", network)
    with pytest.raises(InvalidInput) as error:
        weights.load(fresh(), path)
    assert "Mixed_5b.Branch_2.Conv3d_0b_3x3.bn.running_mean is missing" in str(error.value)
    assert "Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight is [8, 12, 1, 1, 1], expected [4, 12" in str(error.value)


def test_many_faults_are_counted_fails(network, tmp_path):
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("bn.bias")}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=r"Conv3d_1a_7x7\.bn\.bias is missing; .*; and 37 more$"):
        weights.load(fresh(), tmp_path / "w.pt")


@pytest.mark.parametrize("write", [write_state, write_piergiaj, write_hassony2])
def test_unexpected_tensor_fails(write, network, tmp_path):
    path = write(tmp_path / "w", network)
    torch.save(torch.load(path) | {"Mixed_6a.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InvalidInput, match=r"does not fit the network: Mixed_6a\.conv\.weight is unexpected$"):
        weights.load(fresh(), path)


def test_unexpected_variable_of_the_network_fails(variables, tmp_path):
    path = write_released(tmp_path / "w.npz", variables | {"RGB/inception_i3d/Mixed_6a/conv_3d/w": np.zeros(1)})
    with pytest.raises(InvalidInput, match=r"RGB/inception_i3d/Mixed_6a/conv_3d/w is unexpected$"):
        weights.load(fresh(), path)


def test_variables_beside_the_network_are_named(variables, tmp_path, caplog):
    path = write_released(tmp_path / "w.npz", variables | {"global_step": np.array(5)})
    with caplog.at_level(logging.WARNING):
        weights.load(fresh(), path)
    assert "w.npz: 1 entries not used: global_step" in caplog.text


def test_scale_is_loaded_where_a_file_has_one(variables, tmp_path):
    gamma = np.full((1, 1, 1, 1, 4), 3.0, np.float32)
    path = write_released(tmp_path / "w.npz", variables | {"RGB/inception_i3d/Conv3d_1a_7x7/batch_norm/gamma": gamma})
    loaded = fresh()
    weights.load(loaded, path)
    assert loaded.state_dict()["Conv3d_1a_7x7.bn.weight"].unique().tolist() == [3.0]


def test_without_head_the_classifier_stays(variables, tmp_path):
    loaded = fresh(classes=7)
    before = loaded.state_dict()["Logits.Conv3d_0c_1x1.weight"].clone()
    weights.load(loaded, write_released(tmp_path / "w.npz", variables), head=False)
    assert torch.equal(loaded.state_dict()["Logits.Conv3d_0c_1x1.weight"], before)
    stem = torch.from_numpy(variables["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]).permute(4, 3, 0, 1, 2)
    assert torch.equal(loaded.state_dict()["Conv3d_1a_7x7.conv.weight"], stem)


def test_restore_builds_what_the_file_holds(network, tmp_path):
    restored = weights.restore(write_piergiaj(tmp_path / "w", network))
    assert same_tensors(network, restored)
    assert restored.width == WIDTH


def test_restored_network_can_be_trained_and_lets_go_of_the_file(network, tmp_path):
    path = write_state(tmp_path / "w.pt", network)
    restored = weights.restore(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert same_tensors(network, restored)
    assert all(parameter.requires_grad for parameter in restored.parameters())


@pytest.mark.parametrize("lie", [{"stream": "colour"}, {"num_classes": 10**12}])
def test_header_that_says_what_is_not_in_the_file_fails(lie, network, tmp_path):
    info = weights.WeightsInfo(path=tmp_path, model="i3d", stream="rgb", num_classes=3, width=WIDTH)
    (tmp_path / "w").write_bytes(write_safetensors(network, replace(info, **lie), source={}))
    with pytest.raises(InvalidInput, match=r"i3d for stream '\w+' and \d+ classes, which are not in it; make it again"):
        weights.describe(tmp_path / "w")


def test_released_streams_load_into_the_parts_of_a_fused_network(tmp_path):
    fused = build("i3d", num_classes=3, stream="both", width=WIDTH)
    assert isinstance(fused, LateFusion)
    for part, stream in ((fused.rgb, "rgb"), (fused.flow, "flow")):
        single = random_i3d(num_classes=3, stream=stream, width=WIDTH)
        weights.load(part, write_deepmind(tmp_path / stream, single))
        assert same_tensors(single, part)


def test_one_released_file_of_both_streams_is_a_fused_network(tmp_path):
    fused = small("i3d", "both")
    parts = [released_variables(part) for part in (fused.rgb, fused.flow)]
    path = write_released(tmp_path / "w.npz", parts[0] | parts[1])
    assert weights.describe(path).stream == "both"
    restored = weights.restore(path)
    stem = restored.flow.Conv3d_1a_7x7.conv.weight
    torch.testing.assert_close(stem, fused.flow.Conv3d_1a_7x7.conv.weight)
    assert stem.is_contiguous()


@every_spelling
def test_wrong_stream_fails(write, network, tmp_path):
    path = write(tmp_path / "w", network)
    with pytest.raises(
        InvalidInput, match=r"weights for stream rgb, the network was built for flow; build it for rgb, or give the"
    ):
        weights.load(fresh(stream="flow"), path)


@every_spelling
def test_wrong_class_count_fails(write, network, tmp_path):
    path = write(tmp_path / "w", network)
    with pytest.raises(InvalidInput, match=r"has 3 classes, the network was built for 4; build it for 3, or load with"):
        weights.load(fresh(classes=4), path)


def test_wrong_network_fails(network, tmp_path):
    path = write_state(tmp_path / "w", network)
    with pytest.raises(InvalidInput, match=r"holds weights of i3d, the network is a TwoStream; build i3d, or give"):
        weights.load(build("two_stream", num_classes=3, stream="rgb", width=WIDTH), path)


def test_wrong_width_fails(network, tmp_path):
    path = write_state(tmp_path / "w", network)
    with pytest.raises(InvalidInput, match=r"of width 0\.0625, the network was built with 0\.125; build it with width"):
        weights.load(build("i3d", num_classes=3, stream="rgb", width=0.125), path)


def test_a_failed_load_leaves_the_network_as_it_was_fails(variables, tmp_path):
    broken = np.full_like(variables[SLIP], np.nan)
    loaded, before = fresh(), fresh()
    before.load_state_dict(loaded.state_dict())
    with pytest.raises(InvalidInput, match=r"not finite in Mixed_5b\.Branch_2\.Conv3d_0b_3x3\.conv\.weight"):
        weights.load(loaded, write_released(tmp_path / "w.npz", variables | {SLIP: broken}))
    assert same_tensors(before, loaded)


def test_declared_terabytes_are_refused_before_they_are_read_fails(variables, tmp_path):
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (7, 7, 7, 10**10, 4)}
    )
    entry = "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"
    path = write_released(tmp_path / "w.npz", {name: a for name, a in variables.items() if name != entry})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{entry}.npy", header.getvalue())
    with pytest.raises(InvalidInput, match=r"Conv3d_1a_7x7\.conv\.weight is \[4, 10000000000, 7, 7, 7\], expected"):
        weights.load(fresh(), path)


@pytest.mark.parametrize("lost", ["Conv3d_1a_7x7.conv3d.weight", "logits.conv3d.bias"])
def test_file_that_tells_neither_stream_nor_classes_fails(lost, network, tmp_path):
    state = port_state(network, "piergiaj")
    torch.save({name: tensor for name, tensor in state.items() if name != lost}, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=rf"w\.pt lacks {lost}, without which its (stream|number of classes) is not"):
        weights.describe(tmp_path / "w.pt")


def test_neither_colour_nor_flow_fails(network, tmp_path):
    state = port_state(network, "piergiaj") | {"Conv3d_1a_7x7.conv3d.weight": torch.zeros(4, 1, 7, 7, 7)}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=r"is \[4, 1, 7, 7, 7\], expected 3 input channels of rgb or 2 of flow"):
        weights.describe(tmp_path / "w.pt")


def test_weights_of_something_else_fails(tmp_path):
    np.savez(tmp_path / "w.npz", **dict.fromkeys("dcba", np.zeros(3)))
    with pytest.raises(
        InvalidInput, match=r"not an I3D known here: it holds 4 tensors such as a, b, c\. Known are the"
    ):
        weights.describe(tmp_path / "w.npz")


def test_two_dimensional_network_is_told_to_be_inflated_fails(tmp_path):
    names = ["conv1.conv.weight", "conv1.bn.weight", "inception3a.branch1.conv.weight"]
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=r"two-dimensional Inception-v1, .* `i3d_train run --inflate`"):
        weights.describe(tmp_path / "w.pt")


@pytest.mark.parametrize(("name", "stream"), [("c3d", "flow"), ("fused", "both"), ("i3d", "both")])
def test_checkpoint_tells_its_network_and_restores_it(name, stream, tmp_path):
    network = small(name, stream, classes=2)
    path = write_checkpoint(tmp_path, network, model=name)
    info = weights.describe(path)
    assert (info.model, info.stream, info.width) == (name, stream, network.width)
    assert info.labels == ("class 0", "class 1")
    assert same_tensors(network, weights.restore(path))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"width": "wide", "transfer": None},
        {"width": 10**400, "transfer": None},
        {"width": 1.0, "transfer": "some"},
        {"width": 1.0, "transfer": None, "fps": "1/0"},
    ],
)
def test_checkpoint_of_a_damaged_configuration_fails(config, network, tmp_path):
    path = write_checkpoint(tmp_path, network, model="i3d", config=config)
    with pytest.raises(InvalidInput, match=r"checkpoint-5\.pt has a damaged configuration .*; use an older one"):
        weights.describe(path)


def test_average_of_a_run_is_preferred_to_its_last_weights(network, tmp_path):
    path = write_checkpoint(tmp_path, fresh(), model="i3d", ema=network.state_dict())
    assert same_tensors(network, weights.restore(path))


def test_checkpoint_lacking_a_tensor_fails(network, tmp_path):
    state = {name: tensor for name, tensor in network.state_dict().items() if name != "Conv3d_1a_7x7.bn.bias"}
    path = write_checkpoint(tmp_path, network, model="i3d", ema=state)
    with pytest.raises(InvalidInput, match=r"does not fit the network: Conv3d_1a_7x7\.bn\.bias is missing$"):
        weights.load(fresh(), path)


def test_released_rgb_network_loads(released_weights):
    info, network = weights.describe(released_weights), weights.restore(released_weights)
    assert (info.stream, info.num_classes, info.width) == ("rgb", 400, 1)
    assert all((m.weight == 1).all() for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d))
