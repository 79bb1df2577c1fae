"""Tests of i3d_train.weight_names; the names are those of the published files and sources."""

import pytest
import torch

from i3d_train.models import build
from i3d_train.weight_names import SPELLINGS, TORCHVISION, deepmind

PUBLISHED = {
    "piergiaj": {
        "Conv3d_1a_7x7.conv.weight": "Conv3d_1a_7x7.conv3d.weight",
        "Conv3d_2c_3x3.bn.running_var": "Conv3d_2c_3x3.bn.running_var",
        "Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight": "Mixed_3b.b0.conv3d.weight",
        "Mixed_4f.Branch_1.Conv3d_0b_3x3.bn.bias": "Mixed_4f.b1b.bn.bias",
        "Mixed_5c.Branch_2.Conv3d_0a_1x1.conv.weight": "Mixed_5c.b2a.conv3d.weight",
        "Mixed_5c.Branch_3.Conv3d_0b_1x1.conv.weight": "Mixed_5c.b3b.conv3d.weight",
        "Logits.Conv3d_0c_1x1.bias": "logits.conv3d.bias",
    },
    "hassony2": {
        "Conv3d_1a_7x7.conv.weight": "conv3d_1a_7x7.conv3d.weight",
        "Conv3d_2c_3x3.bn.running_var": "conv3d_2c_3x3.batch3d.running_var",
        "Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight": "mixed_3b.branch_0.conv3d.weight",
        "Mixed_4f.Branch_1.Conv3d_0b_3x3.bn.bias": "mixed_4f.branch_1.1.batch3d.bias",
        "Mixed_5c.Branch_2.Conv3d_0a_1x1.conv.weight": "mixed_5c.branch_2.0.conv3d.weight",
        "Mixed_5c.Branch_3.Conv3d_0b_1x1.conv.weight": "mixed_5c.branch_3.1.conv3d.weight",
        "Logits.Conv3d_0c_1x1.bias": "conv3d_0c_1x1.conv3d.bias",
    },
    "torchvision": {
        "Conv3d_1a_7x7.conv.weight": "conv1.conv.weight",
        "Conv3d_2b_1x1.conv.weight": "conv2.conv.weight",
        "Conv3d_2c_3x3.bn.running_var": "conv3.bn.running_var",
        "Mixed_3b.Branch_0.Conv3d_0a_1x1.conv.weight": "inception3a.branch1.conv.weight",
        "Mixed_4f.Branch_1.Conv3d_0b_3x3.bn.bias": "inception4e.branch2.1.bn.bias",
        "Mixed_5c.Branch_2.Conv3d_0a_1x1.conv.weight": "inception5b.branch3.0.conv.weight",
        "Mixed_5c.Branch_3.Conv3d_0b_1x1.conv.weight": "inception5b.branch4.1.conv.weight",
    },
    "DeepMind": {
        "Conv3d_1a_7x7.conv.weight": "Flow/inception_i3d/Conv3d_1a_7x7/conv_3d/w",
        "Conv3d_2c_3x3.bn.running_var": "Flow/inception_i3d/Conv3d_2c_3x3/batch_norm/moving_variance",
        "Mixed_5b.Branch_2.Conv3d_0b_3x3.bn.bias": "Flow/inception_i3d/Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/beta",
        "Mixed_5c.Branch_2.Conv3d_0b_3x3.bn.bias": "Flow/inception_i3d/Mixed_5c/Branch_2/Conv3d_0b_3x3/batch_norm/beta",
        "Logits.Conv3d_0c_1x1.bias": "Flow/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d/b",
    },
}
SPELLED = {spelling.name: spelling for spelling in (*SPELLINGS, TORCHVISION)} | {"DeepMind": deepmind("flow")}


@pytest.mark.parametrize("port", PUBLISHED)
def test_published_names(port):
    names = SPELLED[port].names
    assert {ours: names[ours] for ours in PUBLISHED[port]} == PUBLISHED[port]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: f"{spelling.name}-{spelling.stream}")
def test_every_tensor_of_a_network_has_a_name_of_its_own(spelling):
    with torch.device("meta"):
        network = build("i3d", num_classes=3, stream=spelling.stream or "rgb")
    assert set(spelling.names) == set(network.state_dict())
    assert len(set(spelling.names.values())) == len(spelling.names)
