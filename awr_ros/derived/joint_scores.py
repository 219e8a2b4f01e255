"""What the score of a joint means as a deviation."""

import math

import numpy as np

WITHIN_MM = 10.0  # a joint's score is the chance that it is this near to the truth (Hand.msg)
LIMITS = 0.05, 0.99  # surer or less sure no score is taken for
UNKNOWN = 0.5  # for NaN

_RADII = np.linspace(0.05, 4.0, 200)  # in deviations
# Share of an isotropic normal error within a radius: Maxwell's distribution.
_WITHIN = np.array(
    [math.erf(r / math.sqrt(2)) - math.sqrt(2 / math.pi) * r * math.exp(-r * r / 2) for r in _RADII]
)


def deviation_mm(scores: np.ndarray) -> np.ndarray:
    """Standard deviation per axis [mm] of joints with these scores, of any shape.

    That of the isotropic normal error which is within 10 mm with the score as its probability.
    """
    scores = np.nan_to_num(np.asarray(scores, np.float64), nan=UNKNOWN)
    return WITHIN_MM / np.interp(np.clip(scores, *LIMITS), _WITHIN, _RADII)
