"""Seeds of everything that is rendered, in one place so that training and evaluation stay apart.

Runs add small numbers to them: of the run's own seed, of a worker, of a file. Two seeds therefore
lie far apart, except where a name says that data are shared.
"""

VALIDATION_SEED = 1_000_000_007  # crops: validation while training; evaluation takes the next one
SCENES_SEED = 1_500_000_001  # scenes of the evaluation
SEQUENCES_SEED = 1_600_000_009  # sequences of the evaluation
OFF_AXIS_SEED = 1_700_000_003  # hands of the evaluation by the angle off the axis
NEGATIVES_SEED = 2_000_000_011  # scenes: negatives of the pose network
HARD_NEGATIVES_SEED = 2_200_000_013  # scenes: false positives of trained weights
PALM_DETECTOR_SEED = 2_500_000_003  # scenes: training and validation of the palm detector
HANDEDNESS_SEED = 3_000_000_019  # crops: handedness head
DETECTION_SEED = 3_500_000_011  # scenes: fit of the detection score
REFINER_SEED = 4_000_000_007  # crops: joint refiner
AVERAGE_SEED = 4_500_000_007  # crops: normalisation of averaged weights
