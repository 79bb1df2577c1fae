"""From a folder of shards to its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np

from preprocess.cores import cores
from preprocess.errors import BadShard, InvalidInput
from preprocess.paths import publish
from preprocess.report.content import Part, Problem, Report, Sampling
from preprocess.report.figures import part_of
from preprocess.report.findings import find
from preprocess.report.measuring import ClipMeasures, measure_clip
from preprocess.report.page import report_page
from preprocess.report.pictures import MOST_PICTURES, draw_picture, within_budget
from preprocess.report.processes import ClipWorkers, clip_workers
from preprocess.report.sampling import draw, some_of_each
from preprocess.report.tables import Tables, read_tables
from preprocess.shards import ShardSet
from preprocess.shards.layout import SPLITS

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class MadeReport:
    """A report, and its page."""

    report: Report
    page: str
    """HTML, complete in itself."""

    def write(self, path: Path) -> None:
        """Publish the JSON beside `path`, and then the page as `path`."""
        publish(json_path(path), self.report.to_json().encode())
        publish(path, self.page.encode())


def json_path(page_path: Path) -> Path:
    """Where the JSON of a page lies."""
    return page_path.with_suffix(".json")


def check_place(page_path: Path, *, shards: Path) -> None:
    """That a page may be written to `page_path`.

    Raises:
        InvalidInput: it lies among the shards, or its JSON would have its name.
    """
    if page_path.resolve().is_relative_to(shards.resolve()):
        raise InvalidInput(f"{page_path} lies among the shards of {shards}, which stay as they are; use another --out")
    if json_path(page_path) == page_path:
        raise InvalidInput(f"{page_path} would be both the page and its JSON; use --out {page_path.stem}.html")


def make_report(
    folder: Path,
    *,
    sampling: Sampling = Sampling(),
    workers: int | None = None,
    on_clip: Callable[[int], None] = lambda total: None,
) -> MadeReport:
    """Look at a folder of shards.

    Args:
        folder: of `index.json`; nothing is written there.
        sampling: what to look at closely.
        workers: processes; None is one a core.
        on_clip: called for each sampled clip that was measured, with the number of them in all.

    Raises:
        InvalidInput: no index, or no clip in any shard.
        BadShard: the index is damaged, or no shard can be read. One damaged shard or clip among others is in the
            report.
        EnvironmentProblem: a worker process was killed.
    """
    workers = workers if workers is not None else cores()
    tables = read_tables(folder)
    rows, strata = tables.usable, tables.strata
    sample = draw(rows, strata=strata, wanted=sampling.clips, seed=sampling.seed).tolist()
    with clip_workers(tables.shards, workers=workers, clips=len(sample)) as pool:
        measure = partial(measure_clip, fields=sampling.frames)
        measured, undecodable = _each(measure, sample, tables=tables, pool=pool, on_clip=on_clip)
        measures = list(measured.values())
        findings = find(tables, measures)
        shown = some_of_each(rows, strata=strata, wanted=sampling.per_class, seed=sampling.seed)
        in_turn = _first_of_each_first(shown)[:MOST_PICTURES]
        drawn = list(dict.fromkeys([*findings.rows(), *in_turn]))
        pictures, undrawable = _each(draw_picture, drawn, tables=tables, pool=pool)
    report = Report(
        index_sha256=tables.index_sha256,
        shards=len(tables.shards.index.shards),
        sampling=sampling,
        parameters=tables.parameters(),
        all=part_of(tables, rows, measures),
        splits=_split_parts(tables, measures),
        duplicates=findings.duplicates(tables),
        still_clips=findings.still_clips(tables),
        far=findings.far_clips(tables),
        failed=tables.failed,
        damaged=tables.damaged,
        undecodable=tuple(problem for _, problem in sorted({**undrawable, **undecodable}.items())),
    )
    fitting = within_budget(in_turn, pictures)
    sheets = [tuple(tables.name(row) for row in rows if row in fitting) for rows in map(np.ndarray.tolist, shown)]
    named = {tables.name(row): picture for row, picture in pictures.items()}
    return MadeReport(report=report, page=report_page(report, sheets=sheets, pictures=named))


def _each(
    function: Callable[[ShardSet, int], Value],
    rows: Sequence[int],
    *,
    tables: Tables,
    pool: ClipWorkers,
    on_clip: Callable[[int], None] = lambda total: None,
) -> tuple[dict[int, Value], dict[int, Problem]]:
    """What a function makes of clips, by row, and those that cannot be decoded."""
    made: dict[int, Value] = {}
    undecodable: dict[int, Problem] = {}
    for row, found in zip(rows, pool.each(function, rows), strict=True):
        if isinstance(found, BadShard):
            undecodable[row] = tables.problem(row, found)
        else:
            made[row] = found
        on_clip(len(rows))
    return made, undecodable


def _split_parts(tables: Tables, measures: Sequence[ClipMeasures]) -> dict[str, Part]:
    split_of_usable = tables.split[tables.usable]
    return {
        SPLITS[number]: part_of(
            tables,
            tables.usable[split_of_usable == number],
            [one for one in measures if tables.split[one.clip] == number],
        )
        for number in np.unique(split_of_usable).tolist()
    }


def _first_of_each_first(sheets: Sequence[np.ndarray]) -> list[int]:
    """The rows of all sheets, so that each has its first before any has its second: there may not be room for all."""
    ranks = zip_longest(*(rows.tolist() for rows in sheets))
    return [row for row in chain.from_iterable(ranks) if row is not None]
