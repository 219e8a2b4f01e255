"""Check of the depth of an image without hands: nothing within reach, or implausible distances."""

import numpy as np

from awr_ros.messages.depth_image import MM_PER_M

STEP = 8  # [px] every eighth pixel of rows and columns is sampled
MIN_SHARE = 0.01  # minimum share of the measured pixels within reach
# [mm] range of the median depth of indoor scenes
NEAR_MM, FAR_MM = (200.0, 10_000.0)
USUAL_MM = 1000.0  # [mm] most frequent median
# Factors to the right unit, where the driver's is another one: metres or centimetres given as
# millimetres, the steps of 0.25
# (L515) and 0.1 mm, centimetres or millimetres given as metres. 0.125 (SR300) cannot be told from
# 0.1.
FACTORS = (1000.0, 10.0, 0.25, 0.1, 0.01, 0.001)


def note(depth_mm: np.ndarray, min_depth_mm: float, max_depth_mm: float, scale: float = 1.0) -> str:
    """Return what is implausible about the depth, with the likely depth_scale; '' if nothing.

    depth_mm: (H,W) [mm], 0 invalid, with `scale` applied; the tracker searches between min_depth_mm
    and max_depth_mm; scale: current depth_scale.
    """
    some = (
        depth_mm[STEP // 2 :: STEP, STEP // 2 :: STEP] if min(depth_mm.shape) > STEP else depth_mm
    )
    valid = some[some > 0].astype(np.float64)
    if not valid.size:
        return ''
    nearest, median = np.percentile(valid, [1, 50])
    within = np.mean((valid >= min_depth_mm) & (valid <= max_depth_mm))
    if within >= MIN_SHARE and NEAR_MM <= median <= FAR_MM:
        return ''
    reach = f'{min_depth_mm / MM_PER_M:g} to {max_depth_mm / MM_PER_M:g} m'
    odd = (
        f'nothing lies within reach ({reach})'
        if within < MIN_SHARE
        else 'the depth is that of no room'
    )
    text = f'{odd}: the nearest depth is {_metres(nearest)}, the median {_metres(median)}'
    factor = _likely_factor(nearest, median, min_depth_mm, max_depth_mm)
    if factor is None:
        return text
    return (
        f'{text}; if that is not so, the unit is another one: parameter depth_scale '
        f'{scale * factor:g} would make them '
        f'{_metres(nearest * factor)} and {_metres(median * factor)}'
    )


def _likely_factor(nearest_mm, median_mm, min_depth_mm, max_depth_mm):
    """Return the factor with depth within reach and the median nearest to the usual one, None if
    there is none.
    """
    good = [
        factor
        for factor in FACTORS
        if min_depth_mm <= nearest_mm * factor <= max_depth_mm
        and NEAR_MM <= median_mm * factor <= FAR_MM
    ]
    return min(good, key=lambda factor: abs(np.log(median_mm * factor / USUAL_MM)), default=None)


def _metres(length_mm):
    return f'{length_mm / MM_PER_M:.3g} m'
