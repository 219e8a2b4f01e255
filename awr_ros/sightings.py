"""Sightings: hands that were detected, but are not sure enough yet for a track."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from awr_ros.detector import Detection
from awr_ros.finders.palm_detector import Candidate

# A new hand is looked at in up to three frames, and its scores averaged. One look or two are enough
# where the odds of their mean are so many times those of the threshold.
SURER = (4.5, 1.8, 1.0)
LOOKS = len(SURER)
SIGHTING_SHARE = 0.5  # minimum score of a look, as a share of the one that starts a track
SAME_SIGHTING_MM = 100.0  # looks nearer than this are of one hand


@dataclass(frozen=True)
class Sighting:
    """A hand that is not yet sure enough for a track."""

    palm_xyz: np.ndarray  # (3,) [mm] as last seen
    scores: tuple[float, ...]  # its detection scores [0,1] of the last LOOKS frames

    @property
    def wants_another_look(self) -> bool:
        """Whether it was not seen in LOOKS frames yet."""
        return len(self.scores) < LOOKS

    def is_sure(self, threshold: float) -> bool:
        """Whether its looks start a track. threshold: the mean score in [0,1) that LOOKS of them
        must reach.
        """
        odds = SURER[len(self.scores) - 1] * threshold
        return sum(self.scores) / len(self.scores) >= odds / (1 - threshold + odds)


def seen_again(detection: Detection, before: Sequence[Sighting]) -> Sighting:
    """Return the sighting of a detection, with the scores of the earlier one that it belongs to."""
    palm = detection.pose.centre_xyz
    near = [sighting for sighting in before if _distance(palm, sighting) < SAME_SIGHTING_MM]
    nearest = min(near, key=lambda sighting: _distance(palm, sighting), default=None)
    earlier = nearest.scores if nearest else ()
    return Sighting(palm, (*earlier, detection.score)[-LOOKS:])


def is_sighted(candidate: Candidate, sightings: Sequence[Sighting]) -> bool:
    """Whether a candidate lies where a hand was sighted."""
    return any(
        _distance(candidate.centre_xyz, sighting) < SAME_SIGHTING_MM for sighting in sightings
    )


def _distance(point_xyz: np.ndarray, sighting: Sighting) -> float:
    return math.dist(point_xyz, sighting.palm_xyz)
