"""The `i3d_train` command: options in, one library call, lines out.

Exit status: 0 done, 1 some of the work failed, 2 wrong usage, 3 the machine cannot do it.
"""

from importlib.metadata import version

import click

from i3d_train.commands.convert import convert
from i3d_train.commands.evaluate import evaluate
from i3d_train.commands.export import export
from i3d_train.commands.features import features
from i3d_train.commands.predict import predict
from i3d_train.commands.run import run
from preprocess.console import CommandGroup, show_log


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("kineflow"), prog_name="i3d_train")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, not only what goes wrong.")
def main(verbose: bool) -> None:
    """Train I3D on shards of frames and flow, and use what came of it."""
    show_log(verbose)


for command in (run, evaluate, predict, features, convert, export):
    main.add_command(command)
