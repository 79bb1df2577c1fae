"""The `preprocess` command: parse, build a configuration, call one function, print.

Exit status: 0 done, 1 some clips failed, 2 wrong usage, 3 the machine cannot do it.
"""

from importlib.metadata import version

import click

from preprocess.commands.card import card
from preprocess.commands.download import download
from preprocess.commands.flow import flow
from preprocess.commands.index import index
from preprocess.commands.repair import repair
from preprocess.commands.report import report
from preprocess.commands.sample import sample
from preprocess.commands.serve import serve
from preprocess.commands.status import status
from preprocess.commands.verify import verify
from preprocess.console import CommandGroup, show_log


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("kineflow"), prog_name="preprocess")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, not only what goes wrong.")
def main(verbose: bool) -> None:
    """Turn Kinetics into RGB frames and TV-L1 optical flow, once, in sharded HDF5.

    \b
    The three steps of a data set:
        preprocess download kinetics_val.csv --out clips
        preprocess flow clips --out shards --cpus 8
        i3d_train run --shards shards --stream flow --out run

    Exit status: 0 done, 1 some clips failed (all others are done), 2 wrong usage, 3 the machine cannot do it.
    """
    show_log(verbose)


for command in (sample, download, index, status, card, flow, verify, repair, serve, report):
    main.add_command(command)
