"""Interface of all engines: crops in; joints, joint scores and hand scores out. The read-out
belongs to the network, so that one graph holds both and an engine can fuse across them.

An engine is any object with `config` (EngineConfig), `description` (str), `max_batch` (int, most
crops in one pass) and `predict(crops) -> Predictions`; crops: (B,1,S,S) float32 C-contiguous uvdn,
B >= 1. It is called from one thread at a time.
"""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from awr_ros.crop import CropSpec
from awr_ros.skeleton import SIDES

if TYPE_CHECKING:
    import torch

    from awr_ros.networks.base import AwrNetwork

OUTPUTS = ('joints_uvdn', 'joint_scores', 'hand_scores', 'handedness_logits')
FORMAT = 'awr_ros engine 4'
MAX_CROP = 4096  # [px] largest input of a network
# crops in one pass: the most candidates of a search; longer lists take several passes
MAX_BATCH = 8


@dataclass(frozen=True)
class EngineConfig(CropSpec):
    """Input and output of an engine's network."""

    # weights of detector.detection_score, where they were fitted
    detection_weights: tuple[float, ...] = ()
    origin: str = ''  # origin of its weights in words

    @classmethod
    def of(cls, config: Any, origin: str = '') -> 'EngineConfig':
        """Take the fields from a network's configuration (awr_ros.networks.checkpoint), which may
        lack some and has others.
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
        """Serialise for the metadata of an exported file."""
        return json.dumps({'format': FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, path: str | Path) -> 'EngineConfig':
        """Parse the output of `to_json`. Raise ValueError that names the path when it is not of
        this package.
        """
        try:
            values = json.loads(text)
            if values.pop('format') != FORMAT:
                raise ValueError(f"expected format '{FORMAT}': export it again with this version")
            # older files have no such field; upright crops are always virtual ones
            values.setdefault('virtual_crop', values.get('upright', False))
            config = cls(
                joint_names=tuple(values.pop('joint_names')),
                crop_size=values.pop('crop_size'),
                cube_mm=values.pop('cube_mm'),
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
    """Output of a network for B crops."""

    joints_uvdn: np.ndarray  # (B,J,3) float32, each axis of the crop in [-1,1]
    # (B,J) float32 [0,1] probability that a joint is within 10 mm; for networks without refiner and
    # calibration the maximum of its closeness
    joint_scores: np.ndarray
    # (B,) float32 [0,1] probability that a hand is centred in the crop; NaN for networks without it
    hand_scores: np.ndarray
    # (B,) float32 log odds that the hand is of the network's side, up to a constant
    # (awr_ros.networks.handedness); NaN likewise
    handedness_logits: np.ndarray

    def __len__(self) -> int:
        return len(self.joints_uvdn)

    def __getitem__(self, chosen: slice) -> 'Predictions':
        """Return a slice of the crops."""
        return Predictions(*(getattr(self, field.name)[chosen] for field in fields(self)))


class Engine(Protocol):
    """Interface of an inference engine; awr_ros.runtime has several."""

    @property
    def config(self) -> EngineConfig:
        """Input and output specification."""

    @property
    def description(self) -> str:
        """Device and weights in words."""

    @property
    def max_batch(self) -> int:
        """Most crops in one pass."""

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 C-contiguous uvdn, B >= 1."""


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate the Predictions of one or more passes."""
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
    """Call `predict`, which returns the four arrays, for at most `most` crops at a time. Return
    Predictions.
    """
    return joined(
        [Predictions(*predict(crops[first : first + most])) for first in range(0, len(crops), most)]
    )


def check_crops(crops: np.ndarray, config: EngineConfig) -> None:
    """Raise ValueError, with what is expected, for an unusable argument of `predict`."""
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
    """Raise ValueError that names the path unless the output of a pass has the shapes of
    Predictions and finite joints.

    arrays: output of an engine for one crop (1,1,S,S).
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


def readout_module(network: 'AwrNetwork', trunk: Callable | None = None) -> 'torch.nn.Module':
    """Return network and read-out as one torch module: depth (B,1,S,S) -> arrays of Predictions, as
    tensors.

    trunk: replacement of the network before its read-out (awr_ros.runtime.fused_network).
    """
    import torch

    class Readout(torch.nn.Module):
        def __init__(self, network: 'AwrNetwork', trunk: Callable | None) -> None:
            super().__init__()
            self.network, self.trunk = network, trunk
            for part in (network.refiner, network.handedness):
                if part:
                    part.float()

        def forward(self, depth: torch.Tensor) -> tuple[torch.Tensor, ...]:
            # The weights may be of half precision; the read-out's softmax and sums are always of
            # single precision.
            forward_features = self.trunk or self.network.forward_features
            field, hand_logits, *crop_features = (
                part.float()
                for part in forward_features(depth.to(next(self.network.parameters(), depth).dtype))
            )
            out = self.network.read_out(field, depth, hand_logits, *crop_features)
            scores = out.joint_scores, out.hand_logits.sigmoid()
            return out.joints_uvdn, *scores, out.handedness_logits

    return Readout(network, trunk).eval()


def trace(network: Any) -> Any:
    """Return the read-out as a TorchScript graph for any batch size. network: in eval mode, on the
    CPU.
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
