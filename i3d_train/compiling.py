"""`torch.compile`, with its failures as ours."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from preprocess.errors import EnvironmentProblem


def compiled(module: nn.Module) -> Callable[..., Any]:
    """`module`, compiled when it is first called; a few minutes for I3D.

    Raises:
        EnvironmentProblem: at the first call: no compiler, or one that cannot do it.
    """
    # takes a second, which only those need to wait who compile
    from torch._dynamo.exc import TorchDynamoException

    forward = torch.compile(module)

    def call(x: object, **options: object) -> Any:
        try:
            return forward(x, **options)
        except TorchDynamoException as error:
            first_line = str(error).partition("\n")[0]
            raise EnvironmentProblem(
                f"the network cannot be compiled here ({type(error).__name__}: {first_line}); "
                f"install a C++ compiler, or leave --compile out"
            ) from error

    return call
