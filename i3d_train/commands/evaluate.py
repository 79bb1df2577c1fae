"""`i3d_train evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from i3d_train.commands.options import (
    FILE,
    OUT_FILE,
    OUT_FOLDER,
    SHARDS,
    WEIGHTS,
    WEIGHTS_HELP,
    loader_options,
    machine_options,
)
from preprocess.console import printable
from preprocess.errors import InvalidInput
from preprocess.shards.layout import SPLITS

if TYPE_CHECKING:
    from i3d_train.results import Results

_FREE = {"fuse": ("out", "most_wrong"), "mean": ("out",), "table": ("out",)}
"""Options that go with written results too, by what puts these together."""


@click.command()
@click.argument("results", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--fuse", is_flag=True, help="Fuse two RESULTS, of a network for rgb and of one for flow.")
@click.option("--mean", is_flag=True, help="Average RESULTS over the folds of UCF-101 or HMDB-51.")
@click.option("--table", is_flag=True, help="Put all RESULTS on one page.")
@click.option(
    "--out", type=OUT_FOLDER, help="Folder for results.json, results.md, logits.npz and the confusion matrix."
)
@click.option("--shards", type=SHARDS, help="Folder or address of index.json.")
@click.option("--weights", type=WEIGHTS, help=WEIGHTS_HELP)
@click.option("--split", type=click.Choice(SPLITS), default="val", show_default=True, help="Which clips.")
@click.option("--clips", type=FILE, help="List of the clips to score, such as fold1.csv of `preprocess index`.")
@click.option("--stream", help="What the weights should be for, as a check.  [default: what they are for]")
@click.option("--frames", type=int, help="Consecutive frames of a window.  [default: the network's own, 250 for i3d]")
@click.option("--whole", is_flag=True, help="All frames of each clip, one clip at a time, instead of windows.")
@click.option("--windows", default=1, show_default=True, help="Windows of a clip; 1 is its middle.")
@click.option("--crops", default=1, show_default=True, help="Crops of a window: 1, the centre, or 3.")
@click.option("--crop", type=int, help="Pixels of the square crop.  [default: the network's own, 224 for i3d]")
@click.option("--batch-size", type=int, help="Views a forward pass.  [default: 4, or 6 for 3 crops]")
@click.option("--labels", type=FILE, help="Class names of the weights, one a line, where they carry none.")
@click.option("--dataset", help="What the results call the data set.  [default: told from the labels]")
@click.option("--fold", type=int, help="Official split that this is, for --mean.  [default: that of --clips foldN.csv]")
@machine_options
@loader_options
@click.option("--predictions", type=OUT_FILE, help="Write each clip's answer to this file, one JSON line a clip.")
@click.option("--per-class", is_flag=True, help="Also the accuracy of each class, worst first.")
@click.option("--most-wrong", default=20, show_default=True, help="How many clips of highest loss the results name.")
@click.pass_context
def evaluate(context: click.Context, /, results: tuple[Path, ...], **options: Any) -> None:
    """Print the accuracy of weights on a split of shards, or put RESULTS together that were written with --out.

    One window and one crop are the paper's test; --windows 10 --crops 3 --crop 256 --frames 64 is the one of later
    papers, which averages the probabilities of all views.

    \b
    Example:
        i3d_train evaluate --shards shards --weights runs/rgb/best.pt --out results/rgb --per-class
        i3d_train evaluate --shards shards --weights runs/flow/best.pt --out results/flow
        i3d_train evaluate --fuse results/rgb results/flow --out results/both
        i3d_train evaluate --shards ucf101 --clips fold1.csv --split test --weights best.pt --out results/fold1
        i3d_train evaluate --mean results/fold1 results/fold2 results/fold3 --out results/mean
        i3d_train evaluate --table results/i3d results/c3d --out results/table
    """
    per_class, way = options.pop("per_class"), _way({name: options.pop(name) for name in _FREE})
    if way is not None:
        _check_alone(context, way, [name for name in options if name not in _FREE[way]])
        found = _put_together(way, results, out=options["out"], most_wrong=options["most_wrong"])
    elif results:
        raise InvalidInput(f"results such as {results[0]} are put together by --fuse, --mean or --table; add one")
    else:
        found = [_score(options)]
    for one in found:
        if way is not None:
            click.echo(printable(f"{one.tested.name} on {one.tested.where}"))
        _print_results(one, per_class=per_class)
    for path in (options["predictions"], options["out"]):
        if path is not None:
            click.echo(printable(f"wrote {path}"))


def _way(given: dict[str, bool]) -> str | None:
    ways = [name for name, asked in given.items() if asked]
    if len(ways) > 1:
        raise InvalidInput(f"--{' and --'.join(ways)} put results together in different ways; give one of them")
    return ways[0] if ways else None


def _check_alone(context: click.Context, way: str, names: list[str]) -> None:
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise InvalidInput(f"--{way} puts written results together; leave --{name.replace('_', '-')} out")


def _score(options: dict[str, Any]) -> "Results":
    from rich.console import Console

    from i3d_train.evaluate import EvaluateConfig
    from i3d_train.evaluate import evaluate as evaluate_weights
    from i3d_train.progress import ShowProgress

    for name in ("shards", "weights"):
        if options[name] is None:
            raise InvalidInput(f"--{name} is missing; give it, or --fuse, --mean or --table with written results")
    with ShowProgress(Console(stderr=True)) as observe:
        return evaluate_weights(EvaluateConfig(**options), observe=observe)


def _put_together(way: str, paths: tuple[Path, ...], *, out: Path | None, most_wrong: int) -> "list[Results]":
    from i3d_train.clip_logits import ClipLogits
    from i3d_train.evaluation_folder import write_evaluation
    from i3d_train.fold_mean import mean_over_folds
    from i3d_train.fuse import fuse
    from i3d_train.results import read_results
    from i3d_train.results_page import by_place

    if out is not None and any(out.resolve() in (path.resolve(), path.resolve().parent) for path in paths):
        raise InvalidInput(f"--out {out} is one of the results to read; write to another folder")
    answers: ClipLogits | None = None
    if way == "fuse":
        if len(paths) != 2:
            raise InvalidInput(f"--fuse takes two folders of results, rgb and flow, got {len(paths)}")
        found, answers = fuse(*paths, most_wrong=most_wrong)
    elif way == "mean":
        found = mean_over_folds(paths)
    else:
        found = []
        for one in (one for path in paths for one in read_results(path)):
            # a fusion holds what it was made of, which may be named too
            if one not in found:
                found.append(one)
    if not found:
        raise InvalidInput(f"--{way} needs results; give folders that `i3d_train evaluate --out` wrote")
    if out is None:
        by_place(found)  # refuses what a page has no room for, as writing one does
    else:
        write_evaluation(out, found, answers)
    return found


def _print_results(one: "Results", *, per_class: bool) -> None:
    click.echo(
        f"top-1 {one.top1:.4f}, top-5 {one.top5:.4f}, mean per class {one.mean_class:.4f}, "
        f"loss {one.loss:.4f} on {one.clips} clips, {one.unlabelled} without a label"
    )
    if one.missing:
        click.echo(f"{one.missing} clips are in no shard or could not be read", err=True)
    if not per_class:
        return
    click.echo("top-1\ttop-5\tclips\tclass")
    for label, score in sorted(one.classes.items(), key=lambda item: item[1].top1 / item[1].clips):
        shares = f"{score.top1 / score.clips:.4f}\t{score.top5 / score.clips:.4f}"
        click.echo(f"{shares}\t{score.clips}\t{printable(label)}")
