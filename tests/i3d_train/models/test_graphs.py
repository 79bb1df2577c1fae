"""Every network as a graph: torch.export, torch.compile without a break, and autocast."""

import pytest
import torch

from tests.i3d_train.models.small_networks import clips, small

# one of each file; c3d, the smallest graph, stands for late fusion too
BUILDS = [("i3d", "rgb"), ("convnet_lstm", "rgb"), ("c3d", "both"), ("two_stream", "flow"), ("fused", "both")]
each_network = pytest.mark.parametrize(("name", "stream"), BUILDS)


@each_network
def test_exported_program_gives_the_same_answers(name, stream):
    network, x = small(name, stream), clips(name, stream)
    exported = torch.export.export(network, (x,)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(x), network(x))


@pytest.mark.parametrize("name", ["i3d", "convnet_lstm"])
def test_one_graph_holds_a_whole_network(name):
    # the other networks are made of the same layers; capturing takes a second each
    network, x = small(name, "rgb"), clips(name, "rgb")
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), network(x))


def test_one_graph_holds_a_network_under_autocast():
    network, x = small("c3d", "rgb"), clips("c3d", "rgb")
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x), network(x))


@each_network
def test_autocast_leaves_logits_in_float32(name, stream):
    network, x = small(name, stream), clips(name, stream)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for logits in (network(x), network(x, every_step=True)):
            assert logits.dtype == torch.float32
            assert not torch.equal(logits, logits.bfloat16().float())


@each_network
def test_autocast_is_near_float32(name, stream):
    network, x = small(name, stream), clips(name, stream)
    with torch.inference_mode():
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x)
    scale = float(expected.abs().max())
    assert float((found - expected).abs().max()) < 0.05 * scale
