"""What stands about in rendered scenes."""

import cv2
import numpy as np
import pytest
import torch

from awr_ros.camera import Intrinsics
from awr_ros.synthetic.clutter import ASSEMBLY_PARTS, _assemblies
from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.furniture import PIECES, random_piece
from awr_ros.synthetic.solids import Rays

CAMERA = Intrinsics(fx=200, fy=200, cx=160, cy=120, width=320, height=240)
IN_ONE = [piece for piece in PIECES[::2] if piece.__name__ in ('_board_on_arm', '_joined_bars')]


def silhouette(piece, seed):
    place = torch.tensor([0.0, 0.0, 1200.0])
    rays = Rays(CAMERA)
    depth = rays.empty()
    for solid in piece(place, torch.eye(3), Draws(torch.Generator().manual_seed(seed))):
        solid.draw(depth, rays)
    return torch.isfinite(depth).numpy().astype(np.uint8)


@pytest.mark.parametrize('piece', sorted(set(PIECES), key=lambda piece: piece.__name__))
def test_every_piece_is_in_view_and_repeats_for_a_seed(piece):
    for seed in range(5):
        seen = silhouette(piece, seed)
        assert 20 < seen.sum() < seen.size
        assert (seen == silhouette(piece, seed)).all()


@pytest.mark.parametrize('piece', IN_ONE)
def test_boards_hang_on_their_arms_and_bars_on_one_another(piece):
    parts = [cv2.connectedComponents(silhouette(piece, seed))[0] - 1 for seed in range(20)]
    assert max(parts) == 1


def test_any_piece_is_drawn():
    drawn = {
        len(random_piece(torch.tensor([0.0, 0, 900]), torch.eye(3), Draws(generator)))
        for generator in [torch.Generator().manual_seed(1)]
        for _ in range(60)
    }
    assert len(drawn) > 3


def test_bars_and_boards_of_crops_hold_together():
    depth = _assemblies(40, 64, torch.Generator().manual_seed(2), 'cpu', False)[:, 0].numpy()
    parts = [cv2.connectedComponents((image < 1).astype(np.uint8))[0] - 1 for image in depth]
    assert np.mean(np.array(parts) == 1) > 0.85 and max(parts) <= ASSEMBLY_PARTS
