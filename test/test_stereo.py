"""Simulated block matching: what it must get right, and what it must get wrong."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from awr_ros.synthetic.crop_config import TRAINING
from awr_ros.synthetic.crops import CropSource
from awr_ros.synthetic.frame_sensor import (
    KIND_SHARES,
    MATCHED_FOCAL,
    STEREO,
    FrameSensor,
)
from awr_ros.synthetic.stereo import (
    BASELINES,
    NEAREST_MM,
    StereoCamera,
    colour_aligned_cracks,
    random_stereo_camera,
    stereo_depth,
)

GOOD = StereoCamera(
    focal_px=400,
    baseline_mm=50,
    projector=0.4,
    dot_px=0.8,
    contrast=0.6,
    noise=0.005,
    patchiness=0.1,
    overexposed=0.0,
    bright_mm=1000.0,
    gloss=0.0,
    lamp=0.0,
    block_px=7,
    smoothness=1.0,
    uniqueness=5,
    speckle_px=50,
    steps=16,
    dropout=0.0,
)


def measure(depth, camera=GOOD, surface=0, noise=1):
    return stereo_depth(
        depth.astype(np.float32),
        camera,
        np.random.default_rng(surface),
        np.random.default_rng(noise),
    )


def wall_with_box(box_mm=500.0, wall_mm=800.0):
    depth = np.full((160, 200), wall_mm)
    depth[50:110, 80:130] = box_mm
    return depth


def test_a_wall_is_measured_nearly_everywhere_and_nearly_right():
    measured = measure(np.full((160, 200), 600.0))
    assert (measured > 0).mean() > 0.97
    assert abs(np.median(measured[measured > 0]) - 600) < 5


def test_noise_grows_with_the_square_of_the_distance():
    def spread(z):
        measured = measure(np.full((160, 200), z), replace(GOOD, noise=0.02))
        return measured[measured > 0].std()

    assert spread(1500.0) > 4 * spread(500.0)


def test_what_only_the_left_camera_sees_is_lost_on_one_side():
    measured = measure(wall_with_box())
    left, right = measured[60:100, 62:79], measured[60:100, 131:148]
    assert (left == 0).mean() > 0.4 and (left == 0).mean() > 2 * (right == 0).mean()


def test_narrow_gaps_between_near_surfaces_close():
    depth = np.full((160, 200), 900.0)
    depth[40:120, 60:75] = depth[40:120, 79:94] = 500.0  # two fingers, four pixels apart
    measured = measure(depth, replace(GOOD, block_px=11))
    gap = measured[50:110, 75:79]
    assert ((gap > 0) & (gap < 600)).mean() > 0.3


def test_of_an_overexposed_arm_the_outlines_are_left():
    across = np.clip(np.abs(np.arange(200) - 100) / 40, 0, 1)  # an arm 100 mm thick, upright
    arm = np.where(across < 1, 600 - 50 * np.sqrt(1 - across**2), 1500.0)
    bright = replace(GOOD, overexposed=0.5, gloss=6.0, block_px=5)
    measured = measure(np.tile(arm, (160, 1)), bright)
    middle, sides = measured[30:130, 92:109], measured[30:130, [64, 66, 134, 136]]
    assert (middle == 0).mean() > 0.6 and (sides > 0).mean() > 0.7
    far = measure(np.tile(arm + 500, (160, 1)), bright)
    assert (far[30:130, 92:109] == 0).mean() < 0.1


def test_a_lamp_saturates_whole_parts_of_a_hand():
    lit = replace(GOOD, overexposed=0.4, lamp=3.0, bright_mm=1000.0)
    patchy = replace(lit, lamp=0.0)
    sizes = []
    for camera in (lit, patchy):
        lost = (measure(np.full((160, 200), 600.0), camera) == 0).astype(np.uint8)
        assert 0.15 < lost.mean() < 0.5
        sizes.append(cv2.connectedComponentsWithStats(lost)[2][1:, cv2.CC_STAT_AREA].max())
    assert sizes[0] > 1.5 * sizes[1]


def test_what_reflects_nothing_leaves_islands_only():
    assert not measure(np.full((60, 80), np.inf)).any()
    depth = np.full((160, 200), np.inf)
    depth[50:110, 80:130] = 500.0
    assert (measure(depth)[depth == np.inf] > 0).mean() < 0.2


def test_surfaces_stay_and_noise_is_new():
    dim = replace(GOOD, patchiness=1.2, contrast=0.08, noise=0.02)
    first, second, other = (
        measure(wall_with_box(), dim, surface, noise) for surface, noise in ((0, 1), (0, 2), (5, 3))
    )
    assert (first != second).mean() > 0.2
    assert ((first == 0) == (second == 0)).mean() > ((first == 0) == (other == 0)).mean()


def test_cracks_run_along_steps_of_depth_only():
    slope = np.tile(np.linspace(700, 500, 200, dtype=np.float32), (20, 1))
    cracks = colour_aligned_cracks(slope, 400 * 15.0)
    assert cracks.any() and cracks.mean() < 0.1
    assert not colour_aligned_cracks(np.full((20, 200), 600, np.float32), 400 * 15.0).any()


def test_cameras_and_training_crops_repeat_for_a_seed():
    assert random_stereo_camera(np.random.default_rng(3), 400.0) == random_stereo_camera(
        np.random.default_rng(3), 400.0
    )
    first, second = (CropSource(4, replace(TRAINING, stereo=1.0)).draw(8) for _ in range(2))
    assert (first.depth == second.depth).all() and (first.joints_uvdn == second.joints_uvdn).all()


def test_joints_of_stereo_crops_lie_on_or_behind_the_measured_hand():
    batch = CropSource(
        5, replace(TRAINING, stereo=1.0, cut=0.0, negative_share=0.0, clutter=False)
    ).draw(48)
    palm = batch.joints_uvdn[:, 9]
    behind = []
    for depth, (u, v, d) in zip(batch.depth[:, 0], palm):
        column, row = (int((x + 1) / 2 * depth.shape[0]) for x in (u, v))
        if 0 <= column < 128 and 0 <= row < 128 and depth[row, column] < 0.99:
            behind.append(float(d - depth[row, column]) * 140)
    assert len(behind) > 30 and 0 < np.median(behind) < 30  # [mm] a knuckle's middle under its skin


@pytest.mark.parametrize('kind', KIND_SHARES)
def test_frames_of_every_kind_measure_a_wall_behind_a_box(kind):
    generator, later = torch.Generator().manual_seed(7), torch.Generator().manual_seed(8)
    depth = torch.from_numpy(wall_with_box().astype(np.float32))
    sensor = FrameSensor(tuple(depth.shape), 400.0, 2450.0, generator, later, kind)
    first, second = sensor.measure(depth), sensor.measure(depth)
    assert sensor.kind == kind and first.dtype == np.uint16 and (first != second).any()
    assert abs(np.median(first[60:100, 90:120][first[60:100, 90:120] > 0]) - 500) < 12


@pytest.mark.parametrize('shape, focal_px', [((60, 80), 60.0), ((240, 320), 240.0)])
def test_small_depth_images_are_matched_at_the_focal_length_of_a_stereo_camera(shape, focal_px):
    # Matched at their own size, fingers at arm's length would be narrower than a block.
    depth = torch.full(shape, 700.0)
    for seed in range(6):
        generators = (torch.Generator().manual_seed(seed + i) for i in range(2))
        sensor = FrameSensor(shape, focal_px, 2450.0, *generators, STEREO)
        low, high = MATCHED_FOCAL
        assert min(BASELINES) * low <= 128 * sensor.nearest_mm <= 128 * NEAREST_MM
        assert min(BASELINES) * high < 128 * NEAREST_MM
        assert sensor.measure(depth).shape == shape


def test_nothing_nearer_than_the_cameras_nearest_depth_is_measured():
    camera = replace(GOOD, focal_px=800.0, baseline_mm=75.0)
    depth = wall_with_box(box_mm=0.7 * camera.nearest_mm, wall_mm=2 * camera.nearest_mm)
    box = measure(depth, camera)[60:100, 90:120]
    assert not (np.abs(box - 0.7 * camera.nearest_mm) < 50).any()
    measurable = wall_with_box(box_mm=1.1 * camera.nearest_mm, wall_mm=2 * camera.nearest_mm)
    box = measure(measurable, camera)[60:100, 90:120]
    assert abs(np.median(box[box > 0]) - 1.1 * camera.nearest_mm) < 20


def test_wide_baselines_come_with_short_focal_lengths():
    rng = np.random.default_rng(0)
    near = [random_stereo_camera(rng, 400.0).baseline_mm for _ in range(200)]
    far = [random_stereo_camera(rng, 800.0).baseline_mm for _ in range(50)]
    assert set(near) == {50.0, 55.0, 75.0, 95.0} and set(far) == {50.0}
