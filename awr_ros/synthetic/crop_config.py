"""Distribution of the training crops."""

from dataclasses import dataclass

from awr_ros.synthetic.stereo import OVEREXPOSED


@dataclass(frozen=True)
class CropConfig:
    """Shares and limits of what crops show; the sensors are in sensor.py and stereo.py."""

    size: int = 128  # [px] side of the crop
    cube_mm: float = 280.0  # side of the cube, as in the tracker
    cube_jitter: float = 0.06  # relative standard deviation of the cube
    near_mm: float = 200.0  # distance of the hand from the camera, drawn log-uniformly
    far_mm: float = 1200.0
    # standard deviation of the error of the crop's centre per axis, while tracking
    fine_std_mm: float = 8.0
    coarse_std_mm: float = 24.0  # the same for a candidate of a finder
    coarse_share: float = 0.3  # share of crops with the latter
    negative_share: float = 0.14  # share of crops without a centred hand
    # share of upright crops, as in the tracker after the first pass
    upright: float = 0.8
    clutter: bool = True  # add objects beside the hand
    hidden: float = 0.25  # largest share of a hand that these cover
    held: float = 0.0  # share of hands that hold something
    gloves: float = 0.0  # share of hands in gloves
    lost: float = 0.0  # share of hands of which the sensor loses a finger or two
    # share of crops on which a spot of light hides a part of the palm, or of the arm of a negative
    spots: float = 0.0
    # error of the hand's direction in upright crops, per axis of a vector of about 90 mm
    rotation_error_mm: float = 7.0
    # share of crops from simulated block matching (stereo.py); the others have modelled noise
    stereo: float = 0.0
    # largest share of the near surfaces that a stereo camera overexposes
    overexposed: float = OVEREXPOSED
    cut: float = 0.0  # share of crops that reach beyond the image's border
    arms: float = 0.6  # share of the negatives centred on the arm of the hand
    arm_mm: float = 80.0  # length of the part of the arm for these, beginning 130 mm from the palm
    objects: float = 0.25  # share of the negatives with objects instead
    heads: float = 0.4  # the same with heads
    # share of the negatives that are hard negatives, if there are any
    negatives: float = 0.5
    sensor: str = 'any'  # noise models, one of sensor.KINDS
    bridges: bool = False  # time of flight fills gaps between fingers
    # standard deviation of the error of focal length and depth scale, relative
    stretch: float = 0.0


# Configuration of training; the defaults are those of older weights, kept for comparisons.
TRAINING = CropConfig(
    stereo=0.45,
    cut=0.06,
    arms=0.75,
    arm_mm=150.0,
    objects=0.3,
    heads=0.15,
    negative_share=0.25,
    far_mm=1600.0,
    bridges=True,
    stretch=0.015,
    hidden=0.4,
    held=0.12,
    gloves=0.08,
    lost=0.15,
    spots=0.2,
    overexposed=0.75,
    negatives=0.55,
)
