"""Solids of rendered scenes, against points of their surfaces that are known otherwise."""
import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.synthetic.poses import random_rotations
from awr_ros.synthetic.solids import NEAR_MM, Rays, add_box, add_ellipsoid, add_plane

K = Intrinsics(fx=120.0, fy=121.0, cx=63.0, cy=49.5, width=128, height=96)


def in_body(depth, centre, rotation):
    """(n,3) points of the finite pixels of a depth image, in the axes of a solid."""
    rows, cols = np.nonzero(np.isfinite(depth.numpy()))
    xyz = K.uvd_to_xyz(np.stack([cols, rows, depth.numpy()[rows, cols]], -1).astype(np.float64))
    return (xyz - centre.numpy()) @ rotation.numpy()


def draws():
    generator = torch.Generator().manual_seed(3)
    for rotation in random_rotations(12, generator, 'cpu'):
        yield (torch.randn(3, generator=generator) * torch.tensor([150., 100., 80.]) + torch.tensor([0., 0., 600.]),
               20 + 120 * torch.rand(3, generator=generator), rotation)


@pytest.mark.parametrize('add, distance', [(add_ellipsoid, lambda p: np.linalg.norm(p, axis=1)), (add_box, lambda p: np.abs(p).max(1))])
def test_all_that_is_drawn_lies_on_the_near_side_of_the_surface(add, distance):
    drawn = 0
    for centre, extent, rotation in draws():
        depth = Rays(K).empty()
        add(depth, Rays(K), centre, extent, rotation)
        points = in_body(depth, centre, rotation)
        drawn += len(points)
        np.testing.assert_allclose(distance(points / extent.numpy()), 1, atol=2e-3)
        # One millimetre before each hit is outside.
        nearer = in_body(depth - 1, centre, rotation)
        assert (distance(nearer / extent.numpy()) > 1).mean() > 0.999
    assert drawn > 5000


@pytest.mark.parametrize('add', [add_ellipsoid, add_box])
def test_the_window_cuts_nothing_off(add, monkeypatch):
    for centre, extent, rotation in draws():
        depth, whole = Rays(K).empty(), Rays(K).empty()
        add(depth, Rays(K), centre, extent, rotation)
        with monkeypatch.context() as patch:
            patch.setattr(Rays, 'window', lambda *_: (slice(None), slice(None)))
            add(whole, Rays(K), centre, extent, rotation)
        assert torch.equal(depth, whole)


def test_a_plane_is_at_its_distance_and_only_before_the_camera():
    depth = Rays(K).empty()
    normal = torch.nn.functional.normalize(torch.tensor([0.2, 1.0, 0.3]), dim=0)
    add_plane(depth, Rays(K), normal, 300.)
    points = in_body(depth, torch.zeros(3), torch.eye(3))
    assert 0 < len(points) < depth.numel() and (points[:, 2] > NEAR_MM).all()
    points = points[points[:, 2] < 10_000]          # towards the horizon single precision ends
    np.testing.assert_allclose(points @ normal.numpy(), 300, rtol=1e-4)


def test_the_nearer_of_two_stays_and_things_behind_the_camera_are_not_seen():
    depth, eye = Rays(K).empty(), torch.eye(3)
    add_ellipsoid(depth, Rays(K), torch.tensor([0., 0., 500.]), torch.full((3,), 50.), eye)
    before = depth.clone()
    add_box(depth, Rays(K), torch.tensor([0., 0., 900.]), torch.full((3,), 60.), eye)
    add_box(depth, Rays(K), torch.tensor([0., 0., -500.]), torch.full((3,), 60.), eye)
    assert torch.equal(depth, before)
    add_box(depth, Rays(K), torch.tensor([0., 0., 0.]), torch.full((3,), 100.), eye)       # the camera is inside
    assert torch.equal(depth, before)
