"""A run as text: lines for a log or a pipe, and a live view for a terminal."""

import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from preprocess.console import printable
from preprocess.excerpt import one_line
from preprocess.status.run_status import Status
from preprocess.status.run_view import RunView
from preprocess.status.work import Work
from preprocess.words import rate, size, span

LOOK_EVERY_S = 1.0
LINE_EVERY_S = 30.0
"""Seconds between two lines where there is no terminal."""

_CAUSES = 10
_PAUSES = 5


def lines(view: RunView) -> Iterator[str]:
    """All that can be said of a run, each line safe for a terminal."""
    yield from map(_safe, (*_run(view), *_pauses(view), *_manifest(view)))


def summary(view: RunView) -> str:
    """A run in one line."""
    status = view.status
    if status is None:
        return _safe(f"{view.state}: {_counts(view.outcomes)}")
    left = [f"{span(view.left_s)} left"] if view.left_s is not None else []
    parts = [_progress(status), *_rate(view), *left]
    return _safe(f"{_clock(view.now)} {view.state}: {', '.join(parts)}; {_counts(status.outcomes)}")


def watch(look: Callable[[], RunView], *, console: Console, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show a run until it ends: a live view on a terminal, a line now and then elsewhere.

    Args:
        look: gives the run as it is.
        console: where to.
        sleep: waits so many seconds.
    """
    view = look()
    if console.is_terminal:
        try:
            with Live(_picture(view, console), console=console, auto_refresh=False, transient=True) as live:
                while view.goes_on:
                    sleep(LOOK_EVERY_S)
                    view = look()
                    live.update(_picture(view, console), refresh=True)
        finally:  # after Ctrl-C too: the last look, whole, where the picture was cut to the terminal
            for line in lines(view):
                _print(console, line)
        return
    said_at = -LINE_EVERY_S
    waited_s = 0.0
    while view.goes_on:
        if waited_s - said_at >= LINE_EVERY_S:
            _print(console, summary(view))
            said_at = waited_s
        sleep(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S
        view = look()
    for line in lines(view):
        _print(console, line)


def _picture(view: RunView, console: Console) -> RenderableType:
    """The lines, with a bar after the first, no more of them than the terminal has rows."""
    texts: list[RenderableType] = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines(view)]
    if view.status is not None and view.status.total:
        bar = ProgressBar(total=view.status.total, completed=view.status.finished)
        texts.insert(1, Padding(bar, 0))  # by itself a bar does not end its line
    room = max(console.height - 1, 2)
    if len(texts) > room:
        texts = [*texts[: room - 1], Text(f"... {len(texts) - room + 1} more lines")]
    return Group(*texts)


def _run(view: RunView) -> Iterator[str]:
    status = view.status
    if status is None:
        yield "state     no run has published its status here"
    else:
        yield f"state     {view.state}: {status.command}, process {status.pid} on {status.host}"
    for note in view.notes:
        yield f"          {one_line(note)}"
    if status is None:
        return
    end = view.now if view.goes_on and view.is_alive else status.updated
    left = f", {span(view.left_s)} left" if view.left_s is not None and view.goes_on else ""
    yield f"time      {span(end - status.started)} since {_clock(status.started)}{left}"
    share = f" ({100 * status.finished / status.total:.1f} %)" if status.total else ""
    waiting = f", {status.waiting:,} waiting for another try" if status.waiting else ""
    yield f"progress  {_progress(status)}{share}{waiting}"
    if status.total:
        yield f"rate      {', '.join(_rate(view)) or 'not known yet'}"
        yield f"this run  {_counts(status.outcomes)}"
    for source, outcomes in sorted(status.sources.items()):
        yield f"  {source}: {_counts(outcomes)}"
    if (shards := status.shards) is not None:
        if status.already:
            yield f"before    {_counts(status.already)}"
        yield f"shards    {shards.already + shards.made:,} of {shards.total:,}, {shards.made:,} of them by this run"
    yield from _work(status.work, elapsed_s=status.updated - status.started)


def _progress(status: Status) -> str:
    return f"{status.finished:,} of {status.total:,} clips" if status.total else "no clips to try"


def _work(work: Work, *, elapsed_s: float) -> Iterator[str]:
    if work == Work():
        return
    pairs = f", {work.flow_pairs:,} flow pairs" if work.flow_pairs else ""
    rate = f" ({work.flow_pairs / elapsed_s:.1f}/s)" if pairs and elapsed_s > 0 else ""
    yield f"work      {work.frames:,} frames{pairs}{rate}, {size(work.bytes)} published"
    stages = ", ".join(f"{stage} {span(seconds)}" for stage, seconds in _longest_first(work.seconds))
    yield f"          {stages or 'no stage timed'}, all workers added up"


def _longest_first(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda stage: -stage[1])


def _rate(view: RunView) -> Iterator[str]:
    status = view.status
    if status is None:
        return
    if view.is_alive is not False and status.rate_per_s is not None:
        yield f"{rate(status.rate_per_s)} in the last 5 minutes of work"
    if status.rate_overall_per_s is not None:
        yield f"{rate(status.rate_overall_per_s)} over all"


def _pauses(view: RunView) -> Iterator[str]:
    if view.status is None or not view.goes_on:
        return
    pauses = sorted(view.status.pauses, key=lambda pause: pause.until)
    for pause in pauses[:_PAUSES]:
        left = f"in {span(pause.until - view.now)}" if pause.until > view.now else "over"
        yield f"pause     {one_line(pause.identity, length=30)} until {_clock(pause.until, near=view.now)} ({left})"
        yield f"          {one_line(pause.reason)}"
    if len(pauses) > _PAUSES:
        yield f"          and {len(pauses) - _PAUSES} more pauses"


def _manifest(view: RunView) -> Iterator[str]:
    all_clips = sum(view.outcomes.values())
    if not all_clips:
        return
    yield f"manifest  {all_clips:,} clips"
    for outcome, clips in view.outcomes.items():
        yield f"  {clips:>9,}  {100 * clips / all_clips:5.1f} %  {outcome}"
    if not view.missing:
        return
    yield "missing"
    for outcome, cause, clips in view.missing[:_CAUSES]:
        yield f"  {clips:>9,}  {100 * clips / all_clips:5.1f} %  {cause or 'no cause given'} ({outcome})"
    if rest := view.missing[_CAUSES:]:
        yield f"  {sum(clips for *_, clips in rest):>9,}           {len(rest)} more causes"


def _counts(outcomes: Mapping[str, int]) -> str:
    whole = sum(outcomes.values())
    return ", ".join(f"{n:,} {outcome} ({100 * n / whole:.1f} %)" for outcome, n in outcomes.items() if n) or "none yet"


def _clock(at: float, *, near: float | None = None) -> str:
    """Local time; without the date when it is less than half a day from `near`."""
    is_near = near is not None and abs(at - near) < 43_200
    return time.strftime("%H:%M:%S" if is_near else "%Y-%m-%d %H:%M:%S", time.localtime(at))


def _safe(line: str) -> str:
    # one_line would take the columns' blanks away
    return printable(line).replace("\n", "\\n")


def _print(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
