"""The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

What the page says is in `templates/page.html`. All text is escaped: keys, labels and reasons come from anybody.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from preprocess.excerpt import one_line
from preprocess.report.camera import POINTS
from preprocess.report.charts import HEIGHT, WIDTH, Chart, draw_chart
from preprocess.report.content import ClipName, Part, Report
from preprocess.report.descriptor import FAR, LEAST_CLIPS
from preprocess.report.figures import WHOLLY
from preprocess.report.findings import SHOWN_OF_GROUP
from preprocess.report.looks import LOOKS, NEAR_BITS
from preprocess.report.motion import FAIR, TOO_MUCH
from preprocess.report.page_tables import (
    bound_table,
    camera_table,
    class_table,
    label_text,
    motion_table,
    number,
    part_table,
    share,
    size_table,
    still_table,
)
from preprocess.report.pictures import BUDGET, PICTURE_HEIGHT, Picture, color_wheel_uri
from preprocess.report.stretches import BLOCK, MOVING_SHARE, STILL_PX

Sheet = tuple[ClipName, ...]
"""Clips of one class of one split."""

_FEW_CLASSES = 12
"""Up to so many have their pictures unfolded."""
_MOST_LISTED = 200
"""Failed clips and groups of twins on the page; the JSON has all."""
_LONGEST_REASON = 300  # characters


def report_page(report: Report, *, sheets: Iterable[Sheet], pictures: Mapping[ClipName, Picture]) -> str:
    """The page.

    Args:
        report: the figures.
        sheets: contact sheets, in the order of the classes; those without a clip are left out.
        pictures: of clips that the report or a sheet names; others are named only.
    """
    shown = [sheet for sheet in sheets if sheet]
    by_label = {label: list(found) for label, found in groupby(shown, key=lambda sheet: sheet[0].label)}
    environment = Environment(
        loader=PackageLoader("preprocess.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": share,
        "number": number,
        "text": partial(one_line, length=_LONGEST_REASON),
        "label": label_text,
    }
    parts = {"all": report.all, **report.splits}
    # one split is all there is: a second column would say the same
    columns = list((parts if len(report.splits) > 1 else report.splits).items())
    drawn = [dict(_charts(name, part)) for name, part in columns]
    return environment.get_template("page.html").render(
        report=report,
        parts=dict(columns),
        charts={topic: [charts[topic] for charts in drawn if topic in charts] for topic in drawn[0]},
        tables={
            "motion": motion_table(columns),
            "bounds": bound_table(columns),
            "still": still_table(columns),
            "camera": camera_table(columns),
            "parts": part_table(columns),
            "sizes": size_table(columns),
        },
        class_tables={name: class_table(part) for name, part in columns},
        sheets=by_label,
        pictures=pictures,
        wheel=color_wheel_uri(),
        few_classes=len(by_label) <= _FEW_CLASSES,
        most_listed=_MOST_LISTED,
        shown_of_group=SHOWN_OF_GROUP,
        picture_height=PICTURE_HEIGHT,
        chart_width=WIDTH,
        chart_height=HEIGHT,
        rules={
            "points": POINTS,
            "far": FAR,
            "least_clips": LEAST_CLIPS,
            "wholly": WHOLLY,
            "looks": LOOKS,
            "near_bits": NEAR_BITS,
            "fair": FAIR,
            "too_much": TOO_MUCH,
            "budget_mib": BUDGET >> 20,
            "block": BLOCK,
            "moving": MOVING_SHARE,
            "still_px": STILL_PX,
        },
    )


def _charts(name: str, part: Part) -> Iterator[tuple[str, Chart]]:
    if part.motion:
        yield (
            "speeds",
            draw_chart(
                part.motion.speeds,
                title=f"{name}: pixels by speed, px a frame; height is logarithmic, from a millionth to all",
                counted="pixels",
                text=lambda px: f"{px:.3g}",
                logarithmic=True,
            ),
        )
    if part.camera:
        title = f"{name}: clips by the share that the camera explains"
        yield "camera", draw_chart(part.camera.by_clip, title=title, counted="clips", text=lambda share: f"{share:.1f}")
    for topic, title, histogram, counted in (
        ("rgb", "clips by mean bytes of a frame", part.rgb_sizes, "clips"),
        ("flow", "clips by mean bytes of a flow field", part.flow_sizes, "clips"),
        ("lengths", "clips by their number of frames", part.length_counts, "clips"),
        ("balance", "classes by their number of clips", part.balance.by_label, "classes"),
    ):
        if histogram is not None:
            drawn = draw_chart(histogram, title=f"{name}: {title}", counted=counted, text=lambda value: f"{value:,.0f}")
            yield topic, drawn
