"""Tests of i3d_train.compiling."""

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed, TorchDynamoException

from i3d_train import compiling
from preprocess.errors import EnvironmentProblem


@pytest.fixture
def compile_with(monkeypatch):
    """Another backend than the one that needs a C++ compiler and half a minute."""
    plain = torch.compile

    def choose(backend) -> None:
        torch._dynamo.reset()
        monkeypatch.setattr(torch, "compile", lambda module: plain(module, backend=backend))

    return choose


def test_compiled_network_gives_the_same_answers_and_gradients(compile_with):
    compile_with("aot_eager")
    layer = nn.Linear(3, 2)
    forward = compiling.compiled(layer)
    x = torch.randn(4, 3)
    torch.testing.assert_close(forward(x), layer(x))
    forward(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(2, 3))


def test_options_reach_the_network(compile_with):
    compile_with("eager")

    class Twice(nn.Module):
        def forward(self, x, *, times=1):
            return x * times

    assert compiling.compiled(Twice())(torch.ones(1), times=2) == 2


def test_backend_that_fails_is_a_problem_of_the_machine_fails(compile_with):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler")

    compile_with(broken)
    with pytest.raises(EnvironmentProblem, match=r"cannot be compiled here \(BackendCompilerFailed: .*leave --compile"):
        compiling.compiled(nn.Linear(3, 2))(torch.randn(4, 3))
    assert issubclass(BackendCompilerFailed, TorchDynamoException)
