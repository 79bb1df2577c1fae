"""Tests of i3d_train.models: what holds for every network."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from i3d_train.models import MODELS, build, network_class, streams_of
from i3d_train.models.network import STREAM_CHANNELS
from preprocess.errors import InvalidInput
from tests.i3d_train.models.small_networks import BUILDS, CLASSES, clips, on_meta, seen, small

every_build = pytest.mark.parametrize(("name", "stream"), BUILDS)

# Table 1 of the paper, millions; it drops the decimals of 79.6 and 39.8, and rounds 8.96 up
TABLE_1 = {
    ("convnet_lstm", "rgb"): (8_958_000, 9),
    ("c3d", "rgb"): (79_645_520, 79),
    ("two_stream", "both"): (12_073_120, 12),
    ("fused", "both"): (39_770_896, 39),
    ("i3d", "both"): (25_372_576, 25),
}

# frames of colour and of flow that Table 1 has for training and test, the paper's crop, and the steps of the logits
TABLE_1_INPUT = [
    ("i3d", "rgb", 64, 64, 224, 7),
    ("i3d", "both", 64, 64, 224, 7),
    ("i3d", "both", 250, 250, 224, 31),
    ("i3d", "flow", 250, 250, 256, 31),
    ("convnet_lstm", "rgb", 25, 25, 224, 25),
    ("convnet_lstm", "rgb", 50, 50, 256, 50),
    ("c3d", "rgb", 16, 16, 112, 1),
    ("c3d", "rgb", 240, 240, 112, 8),
    ("c3d", "rgb", 250, 250, 256, 8),
    ("two_stream", "both", 1, 10, 224, 1),
    ("two_stream", "both", 25, 250, 256, 25),
    ("fused", "both", 5, 50, 224, 3),
    ("fused", "both", 25, 250, 256, 13),
]


@pytest.mark.parametrize("build_of", TABLE_1)
def test_parameters_of_table_1(build_of):
    count = sum(parameter.numel() for parameter in on_meta(*build_of).parameters())
    exact, millions = TABLE_1[build_of]
    assert count == exact
    assert abs(count / 1e6 - millions) < 1


@pytest.mark.parametrize(("name", "stream", "rgb", "flow", "side", "steps"), TABLE_1_INPUT)
def test_input_of_table_1_gives_logits(name, stream, rgb, flow, side, steps):
    network = on_meta(name, stream).eval()
    logits = network(seen(stream, rgb=rgb, flow=flow, side=side), every_step=True)
    assert logits.shape == (1, 400, steps)
    assert network.clip_logits(logits).shape == (1, 400)


@pytest.mark.parametrize("name", MODELS)
def test_sampling_takes_the_input_of_table_1(name):
    train = {"i3d": (64, 64), "convnet_lstm": (25, 25), "c3d": (16, 16), "two_stream": (1, 10), "fused": (5, 50)}
    test = {"i3d": (250, 250), "convnet_lstm": (50, 50), "c3d": (240, 240), "two_stream": (25, 250), "fused": (25, 250)}
    sampling = network_class(name).sampling
    for window, expected in ((sampling.window, train[name]), (sampling.test_window, test[name])):
        frames = torch.empty(1, 3, window, sampling.crop, sampling.crop, device="meta")
        taken = [sampling.take(frames, stream=stream) for stream in ("rgb", "flow")]
        assert tuple(part.shape[2] for part in taken) == expected
        assert {part.shape[3] for part in taken} == {112 if name == "c3d" else 224}


@pytest.mark.parametrize("name", MODELS)
def test_shortest_window_gives_logits_and_one_frame_less_does_not(name):
    network = small(name, "both")
    side = max(network_class(name).min_crop(), 32)

    def logits(frames: int) -> torch.Tensor:
        window = {stream: torch.zeros(1, channels, frames, side, side) for stream, channels in STREAM_CHANNELS.items()}
        return network({stream: network.sampling.take(x, stream=stream) for stream, x in window.items()})

    with torch.inference_mode():
        assert logits(network.min_frames).shape == (1, CLASSES)
    with pytest.raises(InvalidInput, match=r"needs (at least|T >=) \d+ (consecutive )?frames"):
        logits(network.min_frames - 1)


@every_build
def test_every_parameter_gets_a_gradient(name, stream):
    network = build(name, num_classes=CLASSES, stream=stream, width=1 / 8).train()
    logits = network(clips(name, stream, batch=3, side=97 if name == "c3d" else 64), every_step=True)
    F.cross_entropy(logits, torch.tensor([0, 1, 2])[:, None].expand(-1, logits.shape[2])).backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@every_build
def test_modes_differ_by_dropout_and_batch_statistics_only(name, stream):
    network, x = small(name, stream), clips(name, stream)
    with torch.inference_mode():
        expected = network(x)
        network.train()
        for module in network.modules():
            if isinstance(module, nn.Dropout | nn.modules.batchnorm._BatchNorm):
                module.eval()
        assert torch.equal(network(x), expected)


@every_build
def test_training_drops_features_and_uses_batch_statistics(name, stream):
    network, x = small(name, stream).train(), clips(name, stream)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.inference_mode():
        assert not torch.equal(network(x), network(x))
    moved = [key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])]
    assert {key for key in moved if not key.endswith("num_batches_tracked")} == {
        key for key in before if key.endswith(("running_mean", "running_var"))
    }


@every_build
def test_evaluation_changes_nothing_and_looks_at_each_clip_alone(name, stream):
    network, x = small(name, stream), clips(name, stream, batch=2)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    first = {key: part[:1] for key, part in x.items()} if isinstance(x, dict) else x[:1]
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[:1], network(first))
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@every_build
def test_channels_last_gives_the_same_answers(name, stream):
    network, x = small(name, stream), clips(name, stream)
    with torch.inference_mode():
        expected = network(x)
        network.to(memory_format=torch.channels_last_3d)
        parts = x if isinstance(x, dict) else {stream: x}
        last = {key: part.contiguous(memory_format=torch.channels_last_3d) for key, part in parts.items()}
        torch.testing.assert_close(network(last if isinstance(x, dict) else last[stream]), expected)


@every_build
def test_first_weights_are_as_of_sonnet(name, stream):
    torch.manual_seed(0)
    network = build(name, num_classes=100, stream=stream, width=1 / 16)
    layers = {key: m for key, m in network.named_modules() if isinstance(m, nn.Conv3d | nn.Linear)}
    checked = {key: layer for key, layer in layers.items() if layer.weight.numel() > 500 and "recurrent" not in key}
    assert any(network.is_head(key) for key in checked)
    # a Gaussian cut at two deviations has 0.88 of its deviation left; PyTorch's own default is 0.58 here
    found = {key: float(m.weight.detach().std()) * m.weight[0].numel() ** 0.5 for key, m in checked.items()}
    assert found == {key: pytest.approx(0.88, abs=0.08) for key in checked}
    assert not any(layer.bias.any() for layer in layers.values() if layer.bias is not None)


@every_build
def test_batch_norm_constants(name, stream):
    norms = [m for m in on_meta(name, stream).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.001)}


@every_build
def test_head_holds_all_that_depends_on_the_classes(name, stream):
    few, many = (build(name, num_classes=n, stream=stream, width=1 / 16) for n in (3, 7))
    there = many.state_dict()
    changed = {key for key, tensor in few.state_dict().items() if tensor.shape != there[key].shape}
    assert changed == {key for key in there if many.is_head(key)}
    assert changed


@every_build
def test_features_are_what_the_classifier_sees(name, stream):
    network, x = small(name, stream), clips(name, stream)
    with torch.inference_mode():
        features_BFS = network.step_features(x)
        torch.testing.assert_close(network.classify(features_BFS), network(x, every_step=True))
        assert features_BFS.shape[2] == network(x, every_step=True).shape[2]


@pytest.mark.parametrize(("name", "stream"), [build_of for build_of in BUILDS if build_of[1] == "both"])
def test_one_stream_for_two_fails(name, stream):
    with pytest.raises(InvalidInput, match=r"for both takes a dict of rgb and flow, got one tensor"):
        small(name, stream)(torch.zeros(1, 3, 9, 32, 32))
    with pytest.raises(InvalidInput, match=r"for both takes a dict of rgb and flow, got a dict of rgb$"):
        small(name, stream)({"rgb": torch.zeros(1, 3, 9, 32, 32)})


@pytest.mark.parametrize(("name", "stream"), [build_of for build_of in BUILDS if build_of[1] != "both"])
def test_two_streams_for_one_fails(name, stream):
    with pytest.raises(InvalidInput, match=rf"for {stream} takes one tensor of {stream}, got a dict of rgb, flow"):
        small(name, stream)(clips(name, "both"))


@every_build
@pytest.mark.parametrize(
    ("part", "found"), [((slice(None), slice(1)), r"\(2, 1, \d+, \d+, \d+\)"), ((..., 0), r"\(2, [23], \d+, \d+\)")]
)
def test_wrong_channels_or_dimensions_fails(part, found, name, stream):
    x = clips(name, stream)
    wrong = {key: one[part] for key, one in x.items()} if isinstance(x, dict) else x[part]
    with pytest.raises(InvalidInput, match=rf"for (rgb|flow) takes \[B, [23], T, H, W\], got {found}"):
        small(name, stream)(wrong)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("i4d", {}, r"model 'i4d' is unknown; use one of i3d, convnet_lstm, c3d, two_stream, f"),
        ("i3d", {"stream": "depth"}, r"'i3d' has no stream 'depth'; use one of rgb, flow, both"),
        ("fused", {}, r"'fused' has no stream 'rgb'; use one of both"),
        ("i3d", {"num_classes": 0}, r"num_classes must be at least 1, got 0"),
    ],
)
def test_build_fails(name, options, message):
    with pytest.raises(InvalidInput, match=message):
        build(name, **{"num_classes": 2, "stream": "rgb", **options})


@pytest.mark.parametrize("width", [0, -1, 1.5, float("nan")])
def test_impossible_width_fails(width):
    with pytest.raises(InvalidInput, match=rf"width must be above 0 and at most 1, got {width}"):
        build("i3d", num_classes=2, stream="rgb", width=width)


@pytest.mark.parametrize("name", MODELS)
def test_width_scales_the_channels(name):
    stream = streams_of(name)[-1]
    with torch.device("meta"):
        half = build(name, num_classes=2, stream=stream, width=0.5)
    full = on_meta(name, stream, classes=2)
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (half, full)]
    assert 0.24 < count[0] / count[1] < 0.27


def test_names_need_no_torch():
    code = "import sys, i3d_train.models, i3d_train.cli, i3d_train.mailbox; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
