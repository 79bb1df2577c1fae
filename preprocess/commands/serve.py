"""`preprocess serve`."""

import signal
from contextlib import suppress
from pathlib import Path

import click

from preprocess.commands.options import FILE, FOLDER


@click.command()
@click.argument("root", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 is a free one.")
@click.option("--token-file", type=FILE, help="File whose first line visitors must know; nobody else may read it.")
@click.option("--name", "names", multiple=True, help="Another host name of this server, as behind a proxy.  [repeat]")
@click.option("--index", type=FILE, help="Where the index goes.  [default: ROOT/.kineflow-serve/index.sqlite]")
@click.option("--open", "open_browser", is_flag=True, help="Open the pages in the browser.")
def serve(
    root: Path,
    host: str,
    port: int,
    token_file: Path | None,
    names: tuple[str, ...],
    index: Path | None,
    open_browser: bool,
) -> None:
    """Show the runs in and below the folder ROOT in a browser, and start new ones.

    Pages: how far runs are, clips with their frames and flow, what failed and why, the data set, jobs. The same is
    there for programs under /api/v1 (described at /api/openapi.json), and for Prometheus under /metrics. Looking on
    changes nothing in ROOT but the folder .kineflow-serve: the index, which may be deleted, and the records of jobs.

    \b
    Examples:
        preprocess serve data
        preprocess serve data --host 0.0.0.0 --token-file token
    """
    from preprocess.serve.config import ServeConfig
    from preprocess.serve.server import serve as serve_root
    from preprocess.serve.token_file import read_token

    token = read_token(token_file) if token_file else None
    host = host.strip("[]")  # as addresses have it around one of IPv6
    config = ServeConfig(root=root.resolve(), host=host, port=port, token=token, index=index, names=names)

    def on_ready(address: str) -> None:
        click.echo(f"serving {root} at {address}  (Ctrl-C ends it)")
        if open_browser:
            click.launch(address)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with suppress(KeyboardInterrupt):
        serve_root(config, on_ready=on_ready)
    click.echo("ended; jobs go on")
