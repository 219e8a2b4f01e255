"""Joint errors by the angle between hand and optical axis: the same hands, the camera panned."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from awr_ros.camera import Intrinsics, looking_at
from awr_ros.skeleton import TIPS, palm_centre
from awr_ros.synthetic.hand import FOREARM, forward_kinematics, procedural_skin, random_shapes
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import splat_image
from awr_ros.synthetic.seeds import OFF_AXIS_SEED

DEGREES = (0, 15, 25, 35, 45, 55)
FOCAL_PX = 250.0  # focal length of a wide camera
MARGIN_PX = 8  # margin around the hand in the rendered part of the image
MIN_Z = 0.2  # minimum z of unit vectors to visible points: up to 78 degrees
NEAR_MM, FAR_MM = 350.0, 700.0
SKIN_MM, FOREARM_MM = 1.5, 260.0
CENTRE_ERROR_MM = 8.0  # standard deviation per axis of given centres
TOWARDS_CAMERA = -0.35  # z of the unit vector to the elbow; nearer arms hide their hand


def off_axis_errors(
    estimator: Any,
    count: int,
    degrees: Sequence[float] = DEGREES,
    seed: int = OFF_AXIS_SEED,
    progress: Callable = iter,
) -> np.ndarray:
    """Return the errors of joints for given centres, (count, len(degrees), 21) float64 [mm], NaN
    where nothing was found.

    estimator: HandPoseEstimator; count: hands; progress: wraps their range, as tqdm does.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    errors = np.full((count, len(degrees), 21), np.nan)
    for i in progress(range(count)):
        points, joints = random_hand(generator)
        palm = palm_centre(joints)
        centre, way = palm + rng.normal(0, CENTRE_ERROR_MM, 3), rng.uniform(0, 2 * np.pi)
        for j, degree in enumerate(degrees):
            camera, depth_mm, panned_from_before = panned_view(points, palm, degree, way)
            pose = estimator.estimate(depth_mm, camera, panned_from_before @ centre, 'right')
            if pose is not None:
                off = pose.joints_xyz - joints @ panned_from_before.T
                errors[i, j] = np.linalg.norm(off, axis=1)
    return errors


def panned_view(
    points: torch.Tensor, palm: np.ndarray, degrees: float, way: float
) -> tuple[Intrinsics, np.ndarray, np.ndarray]:
    """Render points with the camera panned until a palm is `degrees` off its axis.

    points: (3,N) tensor [mm]; palm: (3,) [mm], both in the frame of the camera before; way: [rad]
    the direction in the image in which the palm moves. Return Intrinsics, depth (H,W) float32 in
    whole millimetres, 0 invalid, and the rotation panned_from_before (3,3) float64.
    """
    angle = np.radians(degrees)
    aside = np.array([np.sin(angle) * np.cos(way), np.sin(angle) * np.sin(way), np.cos(angle)])
    panned_from_before = looking_at(aside).T @ looking_at(palm)
    points = torch.from_numpy(panned_from_before).to(points.dtype) @ points
    # The part of the image with the points, within the range of real cameras.
    ahead = points[:, points[2] > MIN_Z * points.square().sum(0).sqrt()]
    pixels = FOCAL_PX * ahead[:2] / ahead[2]
    first, last = pixels.amin(1) - MARGIN_PX, pixels.amax(1) + MARGIN_PX
    (cx, cy), (width, height) = (-first).tolist(), (last - first).int().tolist()
    camera = Intrinsics(FOCAL_PX, FOCAL_PX, cx, cy, width, height)
    # Away from the axis the image is stretched, and so are the gaps between points.
    depth = splat_image(points, camera, SKIN_MM / np.cos(angle)).numpy()
    depth = np.where(np.isfinite(depth), np.rint(depth), 0).astype(np.float32)
    return camera, depth, panned_from_before


def random_hand(generator: torch.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Return skin (3,N) tensor and joints (21,3) float64 [mm] of a random right hand on the optical
    axis.
    """
    while True:
        shape, pose = random_shapes(1, generator), random_poses(1, generator)
        frames, joints = forward_kinematics(shape, pose)
        # Mostly palm or back to the camera, as people show their hands.
        rotation = max(random_rotations(2, generator, 'cpu'), key=lambda r: abs(float(r[2, 2])))
        if (rotation @ frames[0, FOREARM, :3, 0])[2] > TOWARDS_CAMERA:
            break
    z = NEAR_MM * (FAR_MM / NEAR_MM) ** float(torch.rand((), generator=generator))
    camera_from_hand = torch.eye(4)[None]
    camera_from_hand[0, :3, :3] = rotation
    camera_from_hand[0, :3, 3] = torch.tensor([0, 0, z]) - rotation @ palm_centre(joints[0])
    points = procedural_skin(SKIN_MM, FOREARM_MM).posed(shape, frames, camera_from_hand)[0]
    return points, (joints[0] @ rotation.T + camera_from_hand[0, :3, 3]).double().numpy()


def print_off_axis(errors: np.ndarray, degrees: Sequence[float] = DEGREES) -> None:
    """Print the table of `off_axis_errors`."""
    print(f'{len(errors)} hands, {NEAR_MM:.0f} to {FAR_MM:.0f} mm away, no noise, centre given')
    print('off the optical axis  mean error  fingertips    against 0 degrees')
    first = np.nanmean(errors[:, 0])
    for degree, error in zip(degrees, np.moveaxis(errors, 1, 0)):
        missed = int(np.isnan(error).any(1).sum())
        print(
            f'{degree:12d} degrees  {np.nanmean(error):7.2f} mm  '
            f'{np.nanmean(error[:, TIPS]):7.2f} mm  '
            f'{np.nanmean(error) / first - 1:+17.1%}' + f', {missed} not seen' * bool(missed)
        )
