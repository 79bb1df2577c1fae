"""torchrun, whose processes are forked from its own: started anew, each imports PyTorch for seconds."""

import runpy
import sys

from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args


def main() -> None:
    """Take the arguments of `torchrun --standalone`, with a module to run."""
    arguments = parse_args(["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *sys.argv[1:]])
    config, _, _ = config_from_args(arguments)
    config.start_method = "fork"
    elastic_launch(config, _run)(arguments.training_script, arguments.training_script_args)


def _run(module: str, argv: list[str]) -> None:
    sys.argv = [module, *argv]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:  # a launcher that runs a function waits for it to return
            raise


if __name__ == "__main__":
    main()
