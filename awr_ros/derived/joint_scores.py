"""Conversion of joint scores to standard deviations."""

import math

import numpy as np

WITHIN_MM = 10.0  # a joint's score is the probability of an error below this (Hand.msg)
LIMITS = 0.05, 0.99  # scores are clamped to this range
UNKNOWN = 0.5  # score used for NaN

_RADII = np.linspace(0.05, 4.0, 200)  # radii in deviations
# Share of an isotropic normal error within a radius: Maxwell's distribution.
_WITHIN = np.array(
    [math.erf(r / math.sqrt(2)) - math.sqrt(2 / math.pi) * r * math.exp(-r * r / 2) for r in _RADII]
)


def deviation_mm(scores: np.ndarray) -> np.ndarray:
    """Return the standard deviation per axis [mm] of joints with these scores, of any shape.

    It is that of the isotropic normal error that is within 10 mm with the probability of the score.
    """
    scores = np.nan_to_num(np.asarray(scores, np.float64), nan=UNKNOWN)
    return WITHIN_MM / np.interp(np.clip(scores, *LIMITS), _WITHIN, _RADII)
