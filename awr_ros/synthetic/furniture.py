"""Furniture and objects of rendered scenes: poles and legs, table ends, cabinets, frames, cups,
monitors on arms, stands.
"""

import torch

from awr_ros.synthetic.draws import Draws
from awr_ros.synthetic.poses import random_rotations
from awr_ros.synthetic.solids import Box, Cone, Ellipsoid


def random_piece(place: torch.Tensor, upright: torch.Tensor, draws: Draws) -> list:
    """Return the solids of one piece. place: (3,) [mm] about its centre; upright: (3,3) axes of the
    room, y down.
    """
    return draws.choice(PIECES)(place, upright, draws)


def random_thing(place: torch.Tensor, draws: Draws, smaller: bool = False) -> list:
    """Return a box, an ellipsoid or a bar at a point (3,) [mm]; smaller: of a size that hands
    hold.
    """
    extent = torch.tensor([draws.uniform(12, 110) for _ in range(3)])
    if draws.chance(0.3):
        extent[0] *= 3
    if smaller:
        extent = extent.clamp(max=120) * 0.5
    turn = random_rotations(1, draws.generator, 'cpu')[0]
    return [(Ellipsoid if draws.chance(0.5) else Box)(place, extent, turn)]


def _legs(place, upright, draws):
    """Draw a tripod, an instrument, a stool or a lamp: poles from about one point, rather
    downwards.
    """
    spread, length = draws.uniform(0, 0.9), draws.log_uniform(200, 1200)
    radius, parts = draws.log_uniform(5, 30), []
    for _ in range(int(draws.uniform(1, 5))):
        along = torch.nn.functional.normalize(
            torch.tensor([0.0, 1.0, 0.0]) + spread * draws.normal(3), dim=0
        )
        start = place + upright @ torch.tensor(
            [draws.uniform(-150, 150) * draws.chance(0.5), 0.0, 0.0]
        )
        parts.append(
            Cone(
                start,
                start + upright @ (length * along),
                (radius, radius * draws.uniform(0.5, 1.3)),
                draws.direction(),
                capped=True,
            )
        )
    if draws.chance(0.5):
        extent = torch.tensor([draws.log_uniform(20, 200) for _ in range(3)])
        parts.append(
            (Box if draws.chance(0.6) else Ellipsoid)(
                place, extent, upright @ _about_y(draws.uniform(-0.8, 0.8))
            )
        )
    return parts


def _table_end(place, upright, draws):
    """Draw a board with a visible end, and objects on it."""
    turn = upright @ _about_y(draws.uniform(-0.8, 0.8))
    extent = torch.tensor([draws.uniform(120, 700), draws.uniform(6, 30), draws.uniform(100, 450)])
    parts = [Box(place + turn @ torch.tensor([0.0, float(extent[1]), 0.0]), extent, turn)]
    for _ in range(int(draws.uniform(0, 4))):
        x, z = draws.uniform(-1, 1) * float(extent[0]), draws.uniform(-1, 0.3) * float(extent[2])
        height, radius = draws.uniform(50, 220), draws.uniform(20, 50)
        foot, top = (place + turn @ torch.tensor([x, y, z]) for y in (0.0, -height))
        parts.append(
            Cone(foot, top, (radius * draws.uniform(0.7, 1), radius), turn[:, 0], capped=True)
            if draws.chance(0.7)
            else Box((foot + top) / 2, torch.tensor([radius, height / 2, radius]), turn)
        )
    return parts


def _cabinet(place, upright, draws):
    extent = torch.tensor(
        [draws.log_uniform(60, 500), draws.log_uniform(100, 700), draws.uniform(80, 300)]
    )
    side = draws.choice((-1, 1)) * float(extent[0])  # an edge of it is at `place`
    turn = upright @ _about_y(draws.uniform(-0.6, 0.6))
    return [Box(place + turn @ torch.tensor([side, 0.0, float(extent[2])]), extent, turn)]


def _frame(place, upright, draws):
    """Draw a window, a picture or a shelf: bars around an opening."""
    half, deep, thick = (
        [draws.uniform(100, 500) for _ in range(2)],
        draws.uniform(10, 120),
        draws.uniform(10, 45),
    )
    turn = upright @ _about_y(draws.uniform(-0.6, 0.6))
    return [
        Box(place + turn @ torch.tensor([*shift, 0.0]), torch.tensor([*extent, deep]), turn)
        for shift, extent in (
            ((half[0], 0.0), (thick, half[1])),
            ((-half[0], 0.0), (thick, half[1])),
            ((0.0, half[1]), (half[0], thick)),
            ((0.0, -half[1]), (half[0], thick)),
        )
    ]


def _board_on_arm(place, upright, draws):
    """Draw a monitor, a sign, a lamp or a tablet: a board at the end of an arm, which often bends
    once.
    """
    turn = upright @ _small_turn(draws, 0.5)
    half = [draws.log_uniform(35, 260) for _ in range(2)]
    parts = [Box(place, torch.tensor([*half, draws.uniform(4, 25)]), turn)]
    radius, end = draws.log_uniform(8, 45), place + turn @ torch.tensor([0.0, half[1], 15.0])
    downwards = torch.tensor([0.0, 1.0, 0.3])
    for _ in range(1 + draws.chance(0.5)):
        along = upright @ torch.nn.functional.normalize(downwards + 0.5 * draws.normal(3), dim=0)
        start, end = end, end + draws.log_uniform(80, 500) * along
        parts.append(_bar(start, end, radius, draws))
        if draws.chance(0.4):
            parts.append(Ellipsoid.ball(end, radius * draws.uniform(1.0, 2.0)))
    return parts


def _joined_bars(place, upright, draws):
    """Draw a stand, a chair's arm, a handle or a robot's gripper: bars that end on one another."""
    axes = upright @ _small_turn(draws, 0.8)
    radius = draws.log_uniform(6, 35)
    along = axes[:, int(draws.uniform(0, 3))]
    half = draws.log_uniform(60, 400) * along
    parts = [_bar(place - half, place + half, radius, draws)]
    for _ in range(int(draws.uniform(1, 4))):
        start = place + draws.choice((-1.0, 1.0, draws.uniform(-1, 1))) * half
        across = axes[:, int(draws.uniform(0, 3))] * draws.choice((-1, 1))
        across = torch.nn.functional.normalize(across + 0.25 * draws.normal(3), dim=0)
        end = start + draws.log_uniform(40, 250) * across
        parts.append(_bar(start, end, radius * draws.uniform(0.5, 1.3), draws))
        if draws.chance(0.3):
            parts.append(Ellipsoid.ball(end, radius * draws.uniform(1.0, 2.5)))
    return parts


def _bar(start, end, radius, draws):
    """Return a round or flat bar from start to end, (3,) [mm] each."""
    if draws.chance(0.6):
        radii = radius, radius * draws.uniform(0.7, 1.2)
        return Cone(start, end, radii, draws.direction(), draws.uniform(0.5, 1.0), capped=True)
    along = end - start
    first = torch.nn.functional.normalize(along, dim=0)
    second = torch.nn.functional.normalize(
        torch.linalg.cross(first, draws.direction()) + 1e-6, dim=0
    )
    turn = torch.stack([first, second, torch.linalg.cross(first, second)], 1)
    extent = torch.tensor([float(along.norm()) / 2, radius, radius * draws.uniform(0.2, 1.0)])
    return Box((start + end) / 2, extent, turn)


PIECES = (
    _legs,
    _legs,
    _table_end,
    _table_end,
    _cabinet,
    _frame,
    _board_on_arm,
    _board_on_arm,
    _joined_bars,
    _joined_bars,
)


def _small_turn(draws, amount):
    """Return a random rotation (3,3), mostly about y. amount: [rad] standard deviation."""
    x, y, z = (amount * draws.normal(3) * torch.tensor([0.5, 1.0, 0.5])).tolist()
    about = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.linalg.matrix_exp(about)


def _about_y(angle):
    c, s = torch.tensor(angle).cos(), torch.tensor(angle).sin()
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    return torch.stack(
        [torch.stack([c, zero, s]), torch.stack([zero, one, zero]), torch.stack([-s, zero, c])]
    )
