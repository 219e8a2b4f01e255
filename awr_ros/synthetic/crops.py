"""Training samples: random hands, poses, views, surroundings and sensors, as the crops the network will see."""
from dataclasses import dataclass

import torch

from awr_ros.skeleton import PALM, hand_roll, palm_centre
from awr_ros.synthetic.clutter import random_clutter, random_heads, random_things
from awr_ros.synthetic.hand import FOREARM, HandPose, forward_kinematics, procedural_skin, random_shapes, rotation
from awr_ros.synthetic.poses import random_poses, random_rotations
from awr_ros.synthetic.render import splat_crops, uvdn_to_xyz, xyz_to_uvdn
from awr_ros.synthetic.sensor import NoiseBank, random_sensor

STOCK = 512                 # poses drawn at a time
NEAREST_MM = 130.0          # no joint is nearer to the camera: no camera would see it
BEHIND_ARM = -0.85          # z of the unit vector to the elbow from which on a forearm hides its hand


@dataclass(frozen=True)
class CropConfig:
    """How training crops are drawn."""
    size: int = 128                     # crop side [px]
    cube_mm: float = 280.0              # crop side [mm], as in the tracker
    cube_jitter: float = 0.06           # relative standard deviation of the cube
    near_mm: float = 200.0              # distance of the hand from the camera, drawn log-uniformly
    far_mm: float = 1200.0
    off_mm: float = 8.0                 # error of the crop's centre per axis, the standard deviation: as when following
    far_off_mm: float = 24.0            # and as when a finder starts
    far_off: float = 0.3                # share of the latter
    no_hand: float = 0.14               # share of crops without a hand in the middle
    aligned: float = 0.8                # share of crops turned so that the hand points up, as in the tracker once it knows
    clutter: bool = True                # things beside the hand
    roll_error_mm: float = 7.0          # how well it knows: error of the hand's direction, a vector of some 90 mm, per axis


@dataclass(frozen=True)
class CropBatch:
    """B training samples, right hands all. Joints count only where `hand` is set."""
    depth: torch.Tensor                 # (B,1,S,S) float uvdn
    joints_uvdn: torch.Tensor           # (B,21,3) float
    hand: torch.Tensor                  # (B,) bool: a hand is centred in the crop
    centre_xyz: torch.Tensor            # (B,3) float [mm] of the cube, camera optical frame
    cube_mm: torch.Tensor               # (B,) float

    def errors_mm(self, joints_uvdn):
        """Distances [mm] of predicted joints (B,J,3) uvdn from the true ones, in space. Returns (B,J)."""
        predicted, true = (uvdn_to_xyz(uvdn, self.centre_xyz, self.cube_mm) for uvdn in (joints_uvdn, self.joints_uvdn))
        return (predicted - true).norm(dim=-1)

    def __getitem__(self, chosen):
        """Some of them. chosen: an index of tensors."""
        return CropBatch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def to(self, device):
        return CropBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class CropSource:
    """An endless source of random training crops.

    skins: the hands to draw from (default: the procedural one). negatives: (N,1,S,S) crops of other things, of which half
    the crops without a hand are taken (training/negatives.py). One generator, so a seed fixes everything. compiled: fuse
    what is done to every pixel with torch.compile, which needs a C++ compiler and pays from some thousand crops on.
    """

    def __init__(self, seed, config=CropConfig(), skins=None, negatives=None, device='cpu', compiled=False):
        self.config, self.device, self.negatives = config, device, negatives
        self.compiled = compiled
        self.generator = torch.Generator(device).manual_seed(seed)
        self.noise = NoiseBank(config.size, self.generator, device)
        self._stock, self._used = random_poses(STOCK, self.generator, device), 0
        self.skins = [skin.to(device) for skin in (skins or [procedural_skin(2.5)])]

    def _uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def _normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, device=self.device)

    @torch.no_grad()
    def draw(self, batch):
        """One CropBatch of B samples."""
        config, generator, device = self.config, self.generator, self.device
        skin = self.skins[int(torch.randint(len(self.skins), (1,), generator=generator, device=device))]
        shape = random_shapes(batch, generator, device)
        sleeve = torch.where(self._uniform(batch) < 0.3, 1.1 + 0.4 * self._uniform(batch), 1.0)
        shape.thickness[:, FOREARM] *= sleeve
        frames, joints = forward_kinematics(shape, self._poses(batch))
        camera_from_hand = self._align(self._views(batch, frames), joints)
        joints = joints @ camera_from_hand[:, :3, :3].transpose(1, 2) + camera_from_hand[:, None, :3, 3]
        too_near = (NEAREST_MM - joints[..., 2].amin(1)).clamp_min(0)
        camera_from_hand[:, 2, 3] += too_near
        joints[..., 2] += too_near[:, None]
        points = skin.posed(shape, frames, camera_from_hand)         # (B,3,N)

        off = torch.where(self._uniform(batch, 1) < 1 - config.far_off, config.off_mm, config.far_off_mm)
        jitter = self._normal(batch, 3) * off
        jitter *= (60 / jitter.norm(dim=-1, keepdim=True)).clamp(max=1)
        hand = self._uniform(batch) >= config.no_hand
        away = torch.nn.functional.normalize(self._normal(batch, 3), dim=-1) * (110 + 90 * self._uniform(batch, 1))
        elbow = camera_from_hand[:, :3, :3] @ frames[:, FOREARM, :3, :1]                     # unit, towards the elbow
        along = elbow[..., 0] * (130 + 80 * self._uniform(batch, 1))
        away = torch.where(self._uniform(batch, 1) < 0.6, along, away)
        centre = palm_centre(joints) + torch.where(hand[:, None], jitter, away)
        centre[:, 2].clamp_min_(150)
        cube = config.cube_mm * (1 + config.cube_jitter * self._normal(batch)).clamp(0.82, 1.18)

        # Coarse cameras see the hand on fewer pixels than the crop has.
        sizes = (config.size, config.size, config.size * 13 // 16, config.size * 5 // 8, config.size // 2)
        size = sizes[int(torch.randint(len(sizes), (1,), generator=generator, device=device))]
        depth = splat_crops(points, centre, cube, size, self.compiled)
        if size != config.size:
            depth = torch.nn.functional.interpolate(depth, size=config.size, mode='nearest')
        instead = self._uniform(batch)                      # crops without a hand: the arm it hangs on, things, heads
        things, heads = (((~hand) & chosen).nonzero()[:, 0] for chosen in (instead < 0.25, instead > 0.6))
        if len(things):
            depth[things] = random_things(len(things), config.size, generator, device, self.compiled)
        if len(heads):
            depth[heads] = random_heads(cube[heads], config.size, generator, self.compiled)
        if config.clutter:
            depth = random_clutter(depth, generator, compiled=self.compiled)
        depth = random_sensor(depth, centre[:, 2], cube, generator, self.noise, self.compiled)
        if self.negatives is not None:
            given = ((~hand) & (self._uniform(batch) < 0.5)).nonzero()[:, 0]
            chosen = torch.randint(len(self.negatives), (len(given),), generator=generator, device=device)
            depth[given] = self.negatives[chosen].to(depth)

        return CropBatch(depth, xyz_to_uvdn(joints, centre, cube), hand, centre, cube)

    def _poses(self, batch):
        """B poses of a stock that is drawn anew when it is used up: some hundred poses cost little more than a few."""
        if self._used + batch > len(self._stock.fingers):
            self._stock, self._used = random_poses(max(STOCK, batch), self.generator, self.device), 0
        chosen = slice(self._used, self._used + batch)
        self._used += batch
        return HandPose(self._stock.fingers[chosen], self._stock.thumb_roll[chosen], self._stock.wrist[chosen])

    def _views(self, batch, frames):
        """Random camera_from_hand (B,4,4): any direction, but palm or back rather than edge to the camera, as people show
        their hands, rarely an elbow between camera and hand, and never right before it."""
        rotation = random_rotations(2 * batch, self.generator, self.device).view(2, batch, 3, 3)
        towards = (rotation @ frames[:, FOREARM, :3, :1])[..., 2, 0]                         # < 0: elbow nearer than hand
        facing = rotation[..., 2, 2].abs()                                                   # 1: palm or back to the camera
        second = torch.where(self._uniform(batch) < 0.5, facing[1] > facing[0],
                             (towards[0] < -0.35) & (self._uniform(batch) < 0.8))
        pose = torch.eye(4, device=self.device).repeat(batch, 1, 1)
        chosen = torch.where(second[:, None, None], rotation[1], rotation[0])
        hidden = (chosen @ frames[:, FOREARM, :3, :1])[:, 2, 0] < BEHIND_ARM                 # these turn front to back
        turn = torch.where(hidden[:, None], torch.tensor([1., -1., -1.], device=self.device), 1.0)
        pose[:, :3, :3] = turn[:, :, None] * chosen
        near, far = (torch.tensor(v).log() for v in (self.config.near_mm, self.config.far_mm))
        z = (near + (far - near) * self._uniform(batch)).exp()
        aside = (self._uniform(batch, 2) - 0.5) * torch.tensor([1.2, 0.9], device=self.device)
        pose[:, :3, 3] = torch.cat([aside * z[:, None], z[:, None]], -1)
        return pose

    def _align(self, camera_from_hand, joints):
        """Turn some of the views about the optical axis, which turns their crops alike, until the hand points about up.

        camera_from_hand: (B,4,4); joints: (B,21,3) [mm] hand frame. Returns (B,4,4).
        """
        batch = len(joints)
        seen = joints @ camera_from_hand[:, :3, :3].transpose(1, 2) + camera_from_hand[:, None, :3, 3]
        seen[:, PALM[0], :2] += self.config.roll_error_mm * self._normal(batch, 2)
        roll = torch.where(self._uniform(batch) < self.config.aligned, hand_roll(seen), 0.0)
        turned = camera_from_hand.clone()
        turned[:, :3] = rotation('z', -roll) @ camera_from_hand[:, :3]
        return turned
