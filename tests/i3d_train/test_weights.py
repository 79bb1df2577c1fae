"""Tests of i3d_train.weights."""

import logging
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch

from i3d_train import weights
from i3d_train.checkpoint import save
from i3d_train.models import build
from i3d_train.models.inception_i3d import InceptionI3D
from i3d_train.trainer import Trainer
from preprocess.errors import InvalidInput
from tests.i3d_train.released_files import random_i3d, released_variables, same_tensors, write_released

SLIP = "RGB/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"


@pytest.fixture(scope="module")
def network() -> InceptionI3D:
    torch.manual_seed(1)
    return random_i3d(num_classes=3, stream="rgb")


@pytest.fixture(scope="module")
def variables(network) -> dict[str, np.ndarray]:
    return released_variables(network)


def test_released_file_has_the_published_count_of_variables(variables):
    assert len(variables) == 230


def test_loading_a_released_file_restores_the_network(network, variables, tmp_path):
    loaded = build("i3d", num_classes=3, stream="rgb")
    weights.load(loaded, write_released(tmp_path / "w.npz", variables))
    assert same_tensors(network, loaded)


def test_describe_a_released_file(tmp_path):
    flow = random_i3d(num_classes=5, stream="flow")
    info = weights.describe(write_released(tmp_path / "w.npz", released_variables(flow)))
    assert (info.model, info.stream, info.num_classes, info.labels) == ("i3d", "flow", 5, ())


def test_scale_is_loaded_where_a_file_has_one(variables, tmp_path):
    gamma = np.full((1, 1, 1, 1, 64), 3.0, np.float32)
    path = write_released(tmp_path / "w.npz", variables | {"RGB/inception_i3d/Conv3d_1a_7x7/batch_norm/gamma": gamma})
    loaded = build("i3d", num_classes=3, stream="rgb")
    weights.load(loaded, path)
    assert loaded.state_dict()["Conv3d_1a_7x7.bn.weight"].unique().tolist() == [3.0]


def test_without_head_the_classifier_stays(variables, tmp_path):
    loaded = build("i3d", num_classes=7, stream="rgb")
    before = loaded.state_dict()["Logits.Conv3d_0c_1x1.weight"].clone()
    weights.load(loaded, write_released(tmp_path / "w.npz", variables), head=False)
    assert torch.equal(loaded.state_dict()["Logits.Conv3d_0c_1x1.weight"], before)
    stem = torch.from_numpy(variables["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]).permute(4, 3, 0, 1, 2)
    assert torch.equal(loaded.state_dict()["Conv3d_1a_7x7.conv.weight"], stem)


def test_wrong_stream_fails(variables, tmp_path):
    path = write_released(tmp_path / "w.npz", variables)
    with pytest.raises(InvalidInput, match=r"weights for stream rgb, the network was built for flow"):
        weights.load(build("i3d", num_classes=3, stream="flow"), path)


def test_wrong_class_count_fails(variables, tmp_path):
    path = write_released(tmp_path / "w.npz", variables)
    with pytest.raises(InvalidInput, match=r"has 3 classes, the network was built for 4"):
        weights.load(build("i3d", num_classes=4, stream="rgb"), path)


def test_missing_and_misshaped_tensors_are_all_named_fails(variables, tmp_path):
    damaged = {name: array for name, array in variables.items() if name != SLIP}
    damaged["RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w"] = np.zeros((1, 1, 1, 192, 8), "float32")
    path = write_released(tmp_path / "w.npz", damaged)
    with pytest.raises(InvalidInput) as error:
        weights.load(build("i3d", num_classes=3, stream="rgb"), path)
    assert "Mixed_5b.Branch_2.Conv3d_0b_3x3.conv.weight is missing" in str(error.value)
    assert "Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight is [8, 192, 1, 1, 1], expected [64, 192" in str(error.value)


def test_a_failed_load_leaves_the_network_as_it_was_fails(variables, tmp_path):
    broken = np.full_like(variables[SLIP], np.nan)
    loaded = build("i3d", num_classes=3, stream="rgb")
    before = build("i3d", num_classes=3, stream="rgb")
    before.load_state_dict(loaded.state_dict())
    with pytest.raises(InvalidInput, match=r"not finite in Mixed_5b\.Branch_2\.Conv3d_0b_3x3\.conv\.weight"):
        weights.load(loaded, write_released(tmp_path / "w.npz", variables | {SLIP: broken}))
    assert same_tensors(before, loaded)


def test_unused_variables_are_counted(variables, tmp_path, caplog):
    path = write_released(tmp_path / "w.npz", variables | {"global_step": np.zeros(1)})
    with caplog.at_level(logging.INFO):
        weights.load(build("i3d", num_classes=3, stream="rgb"), path)
    assert "1 entries not used: global_step" in caplog.text


def test_pickled_array_is_never_loaded_fails(tmp_path):
    np.savez(tmp_path / "w.npz", **{"RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b": np.array([print, print])})
    with pytest.raises(InvalidInput, match=r"holds object, not floating-point numbers"):
        weights.describe(tmp_path / "w.npz")


def test_declared_terabytes_are_refused_before_they_are_read_fails(variables, tmp_path):
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (7, 7, 7, 3, 10**10)}
    )
    entry = "RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"
    path = write_released(tmp_path / "w.npz", {name: a for name, a in variables.items() if name != entry})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{entry}.npy", header.getvalue())
    with pytest.raises(InvalidInput, match=r"Conv3d_1a_7x7\.conv\.weight is \[10000000000, 3, 7, 7, 7\], expected"):
        weights.load(build("i3d", num_classes=3, stream="rgb"), path)


def test_npz_of_something_else_fails(tmp_path):
    np.savez(tmp_path / "w.npz", weights=np.zeros(3))
    with pytest.raises(InvalidInput, match=r"not a released I3D: it should hold either RGB/inception_i3d/Logits"):
        weights.describe(tmp_path / "w.npz")


def test_truncated_file_fails(variables, tmp_path):
    path = write_released(tmp_path / "w.npz", variables)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(InvalidInput, match=r"w\.npz is not a whole \.npz"):
        weights.describe(path)


def test_unknown_format_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"unknown format; use one of \.npz, \.pt"):
        weights.describe(tmp_path / "model.onnx")


def test_missing_file_fails(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing\.npz do not exist"):
        weights.describe(tmp_path / "nothing.npz")


def test_own_checkpoint_tells_its_labels_and_restores_the_network(config, tmp_path):
    trainer = Trainer(config)
    trainer.train_step()
    path = save(tmp_path, trainer.checkpoint(), keep=1)
    info = weights.describe(path)
    assert (info.model, info.stream, info.labels) == ("tiny", "rgb", ("dark", "light"))
    loaded = build(info.model, num_classes=info.num_classes, stream=info.stream)
    weights.load(loaded, path)
    assert same_tensors(trainer.model, loaded)


def test_released_rgb_network_loads(released_weights):
    info = weights.describe(released_weights)
    network = build(info.model, num_classes=info.num_classes, stream=info.stream)
    weights.load(network, released_weights)
    assert (info.stream, info.num_classes) == ("rgb", 400)
    assert all((m.weight == 1).all() for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d))
