"""The `i3d_train` command with the tiny network known to it: what tests start as a process of its own, or several."""

import sys
from types import ModuleType

import torch

from i3d_train.cli import main
from i3d_train.models import MODELS
from tests.i3d_train.small_shards import TinyNetwork

NAME = "tiny"


def register() -> None:
    """Make `--model tiny` work in this process."""
    module = ModuleType("i3d_train.models.tiny_network")
    module.TinyNetwork = TinyNetwork  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    MODELS[NAME] = "tiny_network.TinyNetwork"


if __name__ == "__main__":
    # several processes share the cores of a test machine
    torch.set_num_threads(1)
    register()
    # the choices of --model were taken from MODELS when the command was made
    for option in main.commands["run"].params:
        if option.name == "model":
            option.type.choices = tuple(MODELS)  # type: ignore[attr-defined]
    main(prog_name="i3d_train")
