"""Tests of i3d_train.batch_norm."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from i3d_train import batch_norm
from i3d_train.process_group import ALONE, ProcessGroup
from preprocess.errors import EnvironmentProblem
from tests.i3d_train.released_files import same_tensors
from tests.i3d_train.small_shards import TinyNetwork
from tests.i3d_train.small_weights import small_network


@pytest.mark.parametrize(("steps", "momentum"), [(50, 0.1), (1000, 0.01), (115_000, 0.001)])
def test_momentum_looks_back_over_a_part_of_the_run(steps, momentum):
    assert batch_norm.momentum_for(steps) == pytest.approx(momentum)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.BatchNorm3d(3)])
def test_layers_of_all_dimensions_are_found(layer):
    assert batch_norm.batch_norms(nn.Sequential(nn.ReLU(), layer)) == [layer]


def test_layers_without_averages_are_left_out():
    assert batch_norm.batch_norms(nn.BatchNorm1d(3, track_running_stats=False)) == []


def test_frozen_averages_stay_in_training():
    model = nn.Sequential(nn.BatchNorm1d(3)).train()
    batch_norm.freeze(model)
    before = model[0].running_mean.clone()
    x = torch.randn(8, 3) + 5
    torch.testing.assert_close(model(x), x, atol=1e-4, rtol=1e-4)
    assert torch.equal(model[0].running_mean, before)


def test_measured_averages_are_those_of_all_batches_together():
    batches = list(torch.randn(4, 200, 3, generator=torch.Generator().manual_seed(0)).unbind())
    batches[0] += 10
    model = nn.BatchNorm1d(3).eval()
    batch_norm.measure(model, batches, group=ALONE)
    together = torch.cat(batches)
    torch.testing.assert_close(model.running_mean, together.mean(0))
    torch.testing.assert_close(model.running_var, together.var(0, correction=0))


@pytest.mark.parametrize(
    ("model", "side", "layers"), [("c3d", 97, ("fc6.bn", "fc7.bn")), ("convnet_lstm", 32, ".norms.2")]
)
def test_measured_variance_is_that_of_few_values_too(model, side, layers):
    """Fully connected layers and LSTM steps, of which a batch has one value a clip."""
    network = small_network(model, stream="rgb")
    norms = {name: norm for name, norm in network.named_modules() if isinstance(norm, _BatchNorm)}
    seen = {name: [] for name in norms if name.endswith(layers)}
    for name, values in seen.items():
        norms[name].register_forward_pre_hook(lambda _, x, values=values: values.append(x[0].flatten(1)))
    batches = torch.rand(4, 2, 3, 3, side, side, generator=torch.Generator().manual_seed(0)).unbind()
    batch_norm.measure(network, batches, group=ALONE)
    for name, values in seen.items():
        expected = torch.cat(values).var(0, correction=0)
        torch.testing.assert_close(norms[name].running_var, expected, rtol=1e-4, atol=1e-7)


def test_measured_variance_is_that_of_values_far_from_zero_too():
    batches = list((torch.randn(3, 500, 4, generator=torch.Generator().manual_seed(0)) * 0.05 + 300).unbind())
    model = nn.BatchNorm1d(4).eval()
    batch_norm.measure(model, batches, group=ALONE)
    expected = torch.cat(batches).double().var(0, correction=0)
    torch.testing.assert_close(model.running_var.double(), expected, rtol=0.05, atol=0)


def test_measured_variance_of_what_does_not_vary_is_not_below_zero():
    batch = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)).expand(3, -1) * 1000
    model = nn.BatchNorm1d(4000).eval()
    batch_norm.measure(model, [batch] * 101, group=ALONE)
    assert model.running_var.min() >= 0
    assert model.running_var.max() < 1e-3


def test_processes_measure_together(monkeypatch):
    """Each its own clips; what PyTorch keeps of a plain layer is of those alone."""
    batches = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)).unbind()
    sums = []
    monkeypatch.setattr(ProcessGroup, "sum", lambda self, tensor: sums.append(tensor.clone()) or tensor)
    for rank, batch in enumerate(batches):
        batch_norm.measure(nn.BatchNorm1d(3).eval(), [batch], group=ProcessGroup(rank=rank, size=2))
    monkeypatch.setattr(ProcessGroup, "sum", lambda self, tensor: sums[0] + sums[1])
    model = nn.BatchNorm1d(3).eval()
    batch_norm.measure(model, batches[:1], group=ProcessGroup(rank=0, size=2))
    together = torch.cat(batches)
    torch.testing.assert_close(model.running_mean, together.mean(0))
    torch.testing.assert_close(model.running_var, together.var(0, correction=0))


def test_layers_that_saw_nothing_are_left():
    class Network(nn.ModuleDict):
        def forward(self, x_BC):
            return self["used"](x_BC)

    network = Network({"used": nn.BatchNorm1d(2), "idle": nn.BatchNorm1d(2)}).eval()
    batch_norm.measure(network, [torch.rand(4, 2)], group=ALONE)
    assert network["used"].running_mean.all()
    assert same_tensors(network["idle"], nn.BatchNorm1d(2))


def test_measuring_leaves_mode_and_momentum_and_draws_no_random_numbers():
    model = TinyNetwork(num_classes=2, stream="rgb").eval()
    state = torch.get_rng_state()
    batch_norm.measure(model, [torch.zeros(2, 3, 9, 32, 32)], group=ALONE)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.bn.training
    assert model.bn.momentum == 0.1
    assert not model.bn._forward_hooks


def test_one_process_needs_no_synchronised_layers():
    model = TinyNetwork(num_classes=2, stream="rgb")
    assert batch_norm.synchronised(model, group=ALONE, device=torch.device("cpu")) is model


def test_synchronised_layers_on_the_cpu_fails():
    model = TinyNetwork(num_classes=2, stream="rgb")
    with pytest.raises(EnvironmentProblem, match=r"--sync-bn needs GPUs, this run has 2 processes on the cpu"):
        batch_norm.synchronised(model, group=ProcessGroup(rank=0, size=2), device=torch.device("cpu"))


def test_on_gpus_all_layers_become_synchronised():
    model = TinyNetwork(num_classes=2, stream="rgb")
    group = ProcessGroup(rank=0, size=2)
    converted = batch_norm.synchronised(model, group=group, device=torch.device("cuda"))
    assert [type(norm) for norm in batch_norm.batch_norms(converted)] == [nn.SyncBatchNorm]
