"""How fast things move, and whether the bound of the stored flow fits.

Everything follows from counts of codes: a code is a motion, and the two at the ends are whatever was clipped.
"""

from collections.abc import Sequence

import numpy as np

from preprocess.report.content import Component, Histogram, Motion, OtherBound, Verdict
from preprocess.report.measuring import BINS_TO_BOUND, CODES, ClipMeasures
from preprocess.shards import ShardAttributes

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
FAIR, TOO_MUCH = 0.001, 0.01
"""Shares of clipped components up to which a bound is right, and above which it is too low: this project's choice.
A thousandth is less than what JPEG and TV-L1 themselves get wrong; a hundredth is whole objects."""
_TIMES_BOUND = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


class Sizes:
    """How many components have a size: the absolute value of u or v, in codes.

    Args:
        counts: int [256] or [2, 256], by code.
        attributes: what the codes mean.
    """

    def __init__(self, counts: np.ndarray, attributes: ShardAttributes) -> None:
        self._scale = attributes.flow_scale
        self._bound = round(attributes.flow_bound * attributes.flow_scale)
        # code 0 is made by JPEG alone
        size = np.minimum(np.abs(np.arange(CODES) - attributes.flow_zero), self._bound)
        self._counts = np.bincount(size, weights=counts.reshape(-1, CODES).sum(axis=0))

    @property
    def at_bound(self) -> float:
        """Share at the bound. JPEG moves codes by one or two, inwards too, so it is rather low."""
        return self._share_from(self._bound)

    def from_px(self, speed_px: float) -> float:
        """Share of at least that size, up to the bound."""
        return self._share_from(round(speed_px * self._scale))

    def percentile_px(self, percent: float) -> float:
        """The size that so many percent do not exceed."""
        reached = np.searchsorted(np.cumsum(self._counts), percent / 100 * self._counts.sum())
        return round(int(reached) / self._scale, 3)

    def _share_from(self, size: int) -> float:
        return float(self._counts[size:].sum() / self._counts.sum())


def motion_of(measures: Sequence[ClipMeasures], attributes: ShardAttributes) -> Motion:
    """The motion in some clips, at least one."""
    counts = np.sum([one.codes for one in measures], axis=0)
    sizes = Sizes(counts, attributes)
    bounds = tuple(_bound(sizes, times * attributes.flow_bound, attributes) for times in _TIMES_BOUND)
    verdict, text = _judge(sizes, bounds, attributes)
    speeds = np.sum([one.speeds for one in measures], axis=0)
    return Motion(
        clips=len(measures),
        fields=sum(one.fields for one in measures),
        u=_component(Sizes(counts[0], attributes)),
        v=_component(Sizes(counts[1], attributes)),
        at_bound=sizes.at_bound,
        speeds=Histogram(first=0.0, step=attributes.flow_bound / BINS_TO_BOUND, counts=tuple(speeds.tolist())),
        bounds=bounds,
        verdict=verdict,
        verdict_text=text,
    )


def _component(sizes: Sizes) -> Component:
    percentiles = {f"{percent:g}": sizes.percentile_px(percent) for percent in PERCENTILES}
    return Component(at_bound=sizes.at_bound, percentiles_px=percentiles)


def _bound(sizes: Sizes, bound_px: float, attributes: ShardAttributes) -> OtherBound:
    ours = attributes.flow_bound
    is_exact = bound_px <= ours
    return OtherBound(
        bound_px=bound_px,
        clipped=sizes.from_px(bound_px) if is_exact else _beyond(sizes, bound_px, ours),
        is_exact=is_exact,
        step_px=bound_px / 127,
    )


def _beyond(sizes: Sizes, bound_px: float, ours: float) -> float:
    before, at = sizes.from_px(0.75 * ours), sizes.at_bound
    if not at:
        return 0.0
    return float(at * (at / before) ** ((bound_px - ours) / (0.25 * ours)))


def _judge(sizes: Sizes, bounds: Sequence[OtherBound], attributes: ShardAttributes) -> tuple[Verdict, str]:
    ours, clipped = attributes.flow_bound, sizes.at_bound
    half = next(bound for bound in bounds if bound.bound_px == ours / 2)
    double = next(bound for bound in bounds if bound.bound_px == ours * 2)
    said = f"+-{ours:g} px clips {percent(clipped)} of all u and v"
    if clipped > TOO_MUCH:
        estimate = f"+-{double.bound_px:g} px would clip about {percent(double.clipped)}, in steps twice as coarse"
        return Verdict.TOO_LOW, f"The bound is too low: {said}. {estimate}."
    if clipped > FAIR:
        return Verdict.TIGHT, f"The bound is tight: {said}. That is usual for fast classes; look at which ones below."
    if half.clipped <= FAIR:
        finer = f"+-{half.bound_px:g} px would clip {percent(half.clipped)}, in steps twice as fine"
        return Verdict.WIDE, f"The bound is wider than this motion needs: {said}. {finer}."
    return Verdict.RIGHT, f"The bound is right: {said}, and half of it would clip {percent(half.clipped)}."


def percent(share: float) -> str:
    """A share for reading, with two digits that count.

    Example:
        >>> percent(0.5), percent(0.001234), percent(0.0), percent(0.0000001)
        ('50 %', '0.12 %', '0 %', '< 0.001 %')
    """
    if 0 < share < 0.00001:
        return "< 0.001 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.3g} %"
