"""Wherever in the image a hand is, it is read alike."""

import numpy as np
import pytest
import torch

from awr_ros.__main__ import main
from awr_ros.crop import crop_along_axes, crop_hand
from awr_ros.estimator import HandPoseEstimator
from awr_ros.evaluation.off_axis import DEGREES, off_axis_errors, panned_view, random_hand
from awr_ros.skeleton import palm_centre


@pytest.mark.parametrize('degrees', [25, 45, 55])
@pytest.mark.parametrize('cut, alike', [(crop_hand, True), (crop_along_axes, False)])
def test_a_panned_camera_gives_the_crop_of_one_that_is_not(degrees, cut, alike):
    points, joints = random_hand(torch.Generator().manual_seed(2))
    crops, uvdn = [], []
    for angle in (0, degrees):
        camera, depth_mm, panned_from_before = panned_view(points, palm_centre(joints), angle, 2.2)
        seen = joints @ panned_from_before.T
        crops.append(cut(depth_mm, camera, palm_centre(seen), 280.0, 128))
        uvdn.append(crops[-1].uvdn_from_uvd(camera.xyz_to_uvd(seen)))
    assert np.allclose(*uvdn, atol=1e-6) == alike
    one, two = (crop.depth < 0.99 for crop in crops)
    assert ((one & two).sum() > 0.93 * (one | two).sum()) == alike


def test_a_hand_is_read_alike_to_55_degrees_off_the_axis():
    estimator = HandPoseEstimator.from_pretrained(device='cpu')
    errors = off_axis_errors(estimator, 12, (0, 35, 55))
    assert errors.shape == (12, 3, 21) and errors[:, 0].mean() < 6
    of_angles = errors.mean((0, 2))
    np.testing.assert_allclose(of_angles, of_angles.mean(), rtol=0.1)  # of 100 hands, within 2 %


def test_the_table_is_printed_by_the_command(capsys):
    assert main(['evaluate', '--off-axis', '1']) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:]] == [str(d) for d in DEGREES]
