"""Solids of rendered scenes, against points of their surfaces that are known otherwise."""

import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.synthetic.poses import random_rotations
from awr_ros.synthetic.solids import (
    NEAR_MM,
    Box,
    Cone,
    Ellipsoid,
    Plane,
    Rays,
    add_box,
    add_ellipsoid,
    add_plane,
)

K = Intrinsics(fx=120.0, fy=121.0, cx=63.0, cy=49.5, width=128, height=96)


def in_body(depth, centre, rotation):
    """(n,3) points of the finite pixels of a depth image, in the axes of a solid."""
    rows, cols = np.nonzero(np.isfinite(depth.numpy()))
    xyz = K.uvd_to_xyz(np.stack([cols, rows, depth.numpy()[rows, cols]], -1).astype(np.float64))
    return (xyz - centre.numpy()) @ rotation.numpy()


def draws():
    generator = torch.Generator().manual_seed(3)
    for rotation in random_rotations(12, generator, 'cpu'):
        yield (
            torch.randn(3, generator=generator) * torch.tensor([150.0, 100.0, 80.0])
            + torch.tensor([0.0, 0.0, 600.0]),
            20 + 120 * torch.rand(3, generator=generator),
            rotation,
        )


@pytest.mark.parametrize(
    'add, distance',
    [(add_ellipsoid, lambda p: np.linalg.norm(p, axis=1)), (add_box, lambda p: np.abs(p).max(1))],
)
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
    add_plane(depth, Rays(K), normal, 300.0)
    points = in_body(depth, torch.zeros(3), torch.eye(3))
    assert 0 < len(points) < depth.numel() and (points[:, 2] > NEAR_MM).all()
    points = points[points[:, 2] < 10_000]  # towards the horizon single precision ends
    np.testing.assert_allclose(points @ normal.numpy(), 300, rtol=1e-4)


def test_the_nearer_of_two_stays_and_things_behind_the_camera_are_not_seen():
    depth, eye = Rays(K).empty(), torch.eye(3)
    add_ellipsoid(depth, Rays(K), torch.tensor([0.0, 0.0, 500.0]), torch.full((3,), 50.0), eye)
    before = depth.clone()
    add_box(depth, Rays(K), torch.tensor([0.0, 0.0, 900.0]), torch.full((3,), 60.0), eye)
    add_box(depth, Rays(K), torch.tensor([0.0, 0.0, -500.0]), torch.full((3,), 60.0), eye)
    assert torch.equal(depth, before)
    # the camera is inside
    add_box(depth, Rays(K), torch.tensor([0.0, 0.0, 0.0]), torch.full((3,), 100.0), eye)
    assert torch.equal(depth, before)


def cones(**kinds):
    for centre, extent, rotation in draws():
        yield Cone(
            centre - 2 * extent[0] * rotation[:, 0],
            centre + 2 * extent[0] * rotation[:, 0],
            (float(extent[1]), 0.7 * float(extent[1])),
            rotation[:, 1],
            **kinds,
        )


def in_cone(depth, cone):
    """Along the axis (n,) as a share of its length, and the distance (n,) from it in its radii
    there.
    """
    axis = torch.nn.functional.normalize(cone.end - cone.start, dim=0)
    rotation = torch.stack([axis, cone.across, torch.linalg.cross(axis, cone.across)], 1)
    along, u, v = in_body(depth, cone.start, rotation).T
    along = along / float((cone.end - cone.start).norm())
    return along, np.hypot(u, v / cone.flat) / (
        cone.radii[0] + along * (cone.radii[1] - cone.radii[0])
    )


@pytest.mark.parametrize('flat', [1.0, 0.7])
def test_cones_are_drawn_on_the_near_side_of_their_surface(flat):
    drawn = 0
    for cone in cones(flat=flat):
        depth = Rays(K).empty()
        cone.draw(depth, Rays(K))
        along, distance = in_cone(depth, cone)
        drawn += len(along)
        np.testing.assert_allclose(distance, 1, atol=5e-3)
        assert (along > -0.01).all() and (along < 1.01).all()
        _, nearer = in_cone(depth - 1, cone)
        assert (nearer > 1).mean() > 0.99
    assert drawn > 4000


def test_caps_close_the_ends_of_cones_and_folds_stay_near_the_surface():
    for bare, capped, folded in zip(
        cones(), cones(capped=True), cones(fold_mm=3.0, fold_slant=0.4)
    ):
        side, closed, cloth = (Rays(K).empty() for _ in range(3))
        for depth, cone in ((side, bare), (closed, capped), (cloth, folded)):
            cone.draw(depth, Rays(K))
        assert (closed <= side).all()
        along, distance = in_cone(closed, capped)
        ends = (np.abs(along) < 5e-3) | (np.abs(along - 1) < 5e-3)
        assert (distance[ends] < 1.01).all() and np.allclose(distance[~ends], 1, atol=5e-3)
        both = torch.isfinite(side)
        assert torch.equal(torch.isfinite(cloth), both) and ((cloth - side)[both].abs() < 4.6).all()


def test_solids_move_like_their_points():
    """Drawn after a motion is what a camera sees that moved the other way."""
    turn = torch.linalg.matrix_exp(
        torch.tensor([[0.0, -0.2, 0.1], [0.2, 0.0, -0.05], [-0.1, 0.05, 0.0]])
    )
    shift = torch.tensor([30.0, -20.0, 60.0])
    centre, eye = torch.tensor([10.0, -20.0, 500.0]), torch.eye(3)
    solids = [
        Ellipsoid(centre, torch.tensor([80.0, 50.0, 40.0]), eye),
        Box(centre, torch.tensor([80.0, 50.0, 40.0]), eye),
        Cone(centre - 60, centre + 60, (40.0, 20.0), torch.tensor([1.0, -1.0, 0.0])),
        Plane(torch.tensor([0.1, 0.0, 0.995]), 600.0),
    ]
    for solid in solids:
        before, after = Rays(K).empty(), Rays(K).empty()
        solid.draw(before, Rays(K))
        solid.moved(turn, shift).draw(after, Rays(K))
        points = torch.from_numpy(in_body(before, torch.zeros(3), eye)).float() @ turn.T + shift
        u, v = (
            (points[:, 0] / points[:, 2] * K.fx + K.cx).round().long(),
            (points[:, 1] / points[:, 2] * K.fy + K.cy).round().long(),
        )
        seen = (u >= 0) & (u < K.width) & (v >= 0) & (v < K.height)
        gap = after[v[seen], u[seen]] - points[seen, 2]
        assert len(gap) > 200 and (gap.abs() < 6).float().mean() > 0.85
