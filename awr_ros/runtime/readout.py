"""What every engine computes: crops in; joints, their scores and the hand scores out. The read-out
belongs to the network, so that one graph holds both and an engine can fuse across them.

An engine is any object with `config` (EngineConfig), `description` (str, for people), `max_batch`
(int, most crops in one pass) and `read(crops) -> Predictions`; crops: (B,1,S,S) float32
C-contiguous uvdn, B >= 1. One thread at a time may call it.
"""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from awr_ros.skeleton import SIDES

if TYPE_CHECKING:
    import torch

OUTPUTS = ('joints_uvdn', 'joint_scores', 'hand_scores', 'handedness_logits')
FORMAT = 'awr_ros engine 4'
MAX_CROP = 4096  # [px] no network has a larger input
# crops in one pass: as many as a search tries places; longer lists take several passes
MAX_BATCH = 8


@dataclass(frozen=True)
class EngineConfig:
    """What has to be known of a network to feed it and to use what it says."""

    joint_names: tuple[str, ...]  # of the J joints, in order
    crop_size: int  # S, side of the input [px]
    cube_mm: float  # side of the cropped cube [mm]
    side: str = 'right'  # of the hands that it knows
    authors_crop: bool = False  # wants crops as the authors' code cuts them (awr_ros.crop)
    virtual_crop: bool = False  # wants crops of a camera that looks at them (awr_ros.crop)
    # wants crops turned so that the hand points up, once it is known where it points
    upright: bool = False
    detection_weights: tuple[
        float, ...
    ] = ()  # weights of the start score (awr_ros.tracker), where they were fitted
    origin: str = ''  # where its weights come from, in words

    @classmethod
    def of(cls, config: Any, origin: str = '') -> 'EngineConfig':
        """Of a network's configuration, which has more fields, and not all of these
        (awr_ros.networks.checkpoint).
        """
        return cls(
            **{
                field.name: getattr(config, field.name)
                for field in fields(cls)
                if hasattr(config, field.name)
            },
            origin=origin,
        )

    def to_json(self) -> str:
        """For the metadata of an exported file."""
        return json.dumps({'format': FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, path: str | Path) -> 'EngineConfig':
        """The inverse of `to_json`. Raises ValueError that names the path when it is not of this
        package.
        """
        try:
            values = json.loads(text)
            if values.pop('format') != FORMAT:
                raise ValueError(f"expected format '{FORMAT}': export it again with this version")
            # older files: of rendered hands, so aligned
            values.setdefault('virtual_crop', values.get('upright', False))
            config = cls(
                tuple(values.pop('joint_names')),
                detection_weights=tuple(values.pop('detection_weights')),
                **values,
            )
            config._check()
            return config
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f'{path} was not exported by this package: {error}') from error

    def _check(self) -> None:
        """Raise ValueError for values that no exported network has."""
        kinds: dict[Any, Any] = {'int': int, 'float': (int, float), 'str': str, 'bool': bool}
        for field in fields(self):
            value = getattr(self, field.name)
            kind = kinds.get(getattr(field.type, '__name__', field.type), tuple)
            if not isinstance(value, kind) or kind is int and isinstance(value, bool):
                raise ValueError(f'{field.name} is {value!r:.60}')
        if (
            not 0 < self.crop_size <= MAX_CROP
            or not 0 < self.cube_mm < math.inf
            or self.side not in SIDES
        ):
            raise ValueError(
                f'crop_size is {self.crop_size}, cube_mm {self.cube_mm}, side {self.side!r:.60}'
            )
        if not 0 < len(self.joint_names) <= MAX_CROP or not all(
            isinstance(name, str) for name in self.joint_names
        ):
            raise ValueError(f'joint_names are {self.joint_names!r:.60}')
        if len(self.detection_weights) not in (0, 4) or not all(
            isinstance(w, (int, float)) and math.isfinite(w) for w in self.detection_weights
        ):
            raise ValueError(f'detection_weights is {self.detection_weights!r:.60}')


@dataclass(frozen=True)
class Predictions:
    """What the network says of B crops."""

    joints_uvdn: np.ndarray  # (B,J,3) float32, each axis of the crop in [-1,1]
    # (B,J) float32 [0,1], chance that a joint is within 10 mm; the highest closeness claimed for it
    joint_scores: np.ndarray
    # from networks that are neither refined nor calibrated
    # (B,) float32 [0,1] that a hand is centred in the crop; NaN from networks that do not say
    hand_scores: np.ndarray
    # (B,) float32 how much each looks like a hand of the network's side
    # (awr_ros.networks.handedness); NaN likewise
    handedness_logits: np.ndarray

    def __len__(self) -> int:
        return len(self.joints_uvdn)

    def __getitem__(self, chosen: slice) -> 'Predictions':
        """Return some of them."""
        return Predictions(*(getattr(self, field.name)[chosen] for field in fields(self)))


class Engine(Protocol):
    """Any inference engine, one of awr_ros.runtime or your own."""

    @property
    def config(self) -> EngineConfig:
        """Return what its network reads."""

    @property
    def description(self) -> str:
        """Return device and weights in words."""

    @property
    def max_batch(self) -> int:
        """Return the most crops in one pass."""

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 C-contiguous uvdn, B >= 1."""


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Join Predictions of several passes, at least one."""
    if len(parts) == 1:
        return parts[0]
    return Predictions(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Predictions)
        )
    )


def predict_in_passes(
    predict: Callable[[np.ndarray], Sequence[np.ndarray]], crops: np.ndarray, most: int = MAX_BATCH
) -> Predictions:
    """`read` over at most so many crops at a time; it returns the four arrays. Returns
    Predictions.
    """
    return joined(
        [Predictions(*predict(crops[first : first + most])) for first in range(0, len(crops), most)]
    )


def check_crops(crops: np.ndarray, config: EngineConfig) -> None:
    """Misuse of `read` is a ValueError with expected and got."""
    size = config.crop_size
    if (
        crops.dtype != np.float32
        or crops.ndim != 4
        or crops.shape[1:] != (1, size, size)
        or not len(crops)
    ):
        raise ValueError(
            f'crops must be (B,1,{size},{size}) float32 with B >= 1, got {crops.shape} '
            f'{crops.dtype}'
        )


def check_answers(arrays: Sequence[np.ndarray], config: EngineConfig, path: str | Path) -> None:
    """Raise ValueError that names the path unless a pass gave what Predictions are: arrays of these
    shapes, and finite joints.

    arrays: what an engine's pass returned for a crop (1,1,S,S).
    """
    joints = len(config.joint_names)
    shapes = [(1, joints, 3), (1, joints), (1,), (1,)]
    got = [np.shape(array) for array in arrays]
    if got != shapes:
        raise ValueError(
            f'{path} is another network than it says: it returns arrays of {got}, expected {shapes}'
        )
    if not all(np.isfinite(array).all() for array in arrays[:2]):
        raise ValueError(
            f'{path} returns joints that are not finite: its weights are damaged, or their '
            f'training went astray'
        )


def readout_module(network: Any, trunk: Callable | None = None) -> 'torch.nn.Module':
    """Return network and read-out as one torch module: depth (B,1,S,S) -> Predictions' arrays as
    tensors.

    trunk: what to compute instead of the network before its read-out
    (awr_ros.runtime.fused_network).
    """
    import torch

    from awr_ros.offset_field import decode

    class Readout(torch.nn.Module):
        def __init__(self, network: Any, trunk: Callable | None) -> None:
            super().__init__()
            self.network, self.kernel_size = network, network.config.kernel_size
            self.trunk = trunk
            self.reads_out = hasattr(network, 'read_out')  # the compact network
            self.handedness = getattr(network, 'handedness', None)
            for part in (getattr(network, 'refiner', None), self.handedness):
                if part:
                    part.float()

        def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, ...]:
            # The weights may be of half precision; the read-out's softmax and sums are always of
            # single precision.
            forward_features = self.trunk or (
                self.network.forward_features if self.reads_out else self.network
            )
            field, hand_logit, *crop_features = (
                part.float()
                for part in forward_features(depth.to(next(self.network.parameters(), depth).dtype))
            )
            joints_uvdn, joint_scores, *voted = (
                self.network.read_out(field, depth, *crop_features)
                if self.reads_out
                else decode(field, depth, self.kernel_size)
            )
            handedness_logit = (
                self.handedness(*voted, hand_logit, *crop_features)
                if self.handedness
                else torch.full_like(hand_logit, torch.nan)
            )
            return joints_uvdn, joint_scores, hand_logit.sigmoid(), handedness_logit

    return Readout(network, trunk).eval()


def trace(network: Any) -> Any:
    """The read-out as a TorchScript graph of any batch size, for converters. Takes a network in
    eval mode on the CPU.
    """
    import torch

    size = network.config.crop_size
    with warnings.catch_warnings(), torch.no_grad():
        # The shape checks of decode are Python conditions: they hold for all inputs of this size.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        return torch.jit.trace(
            readout_module(network), torch.ones(2, 1, size, size), check_trace=False
        )
