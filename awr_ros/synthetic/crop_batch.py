"""A batch of training crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from awr_ros.synthetic.render import uvdn_to_xyz


@dataclass(frozen=True)
class CropBatch:
    """B training samples, all right hands. Joints are valid only where `hand` is set."""

    depth: torch.Tensor  # (B,1,S,S) float uvdn
    joints_uvdn: torch.Tensor  # (B,21,3) float
    hand: torch.Tensor  # (B,) bool: whether a hand is centred in the crop
    centre_xyz: torch.Tensor  # (B,3) float [mm] centre of the cube, camera optical frame
    cube_mm: torch.Tensor  # (B,) float

    def errors_mm(self, joints_uvdn: torch.Tensor) -> torch.Tensor:
        """Return the distances [mm] (B,J) of predicted joints (B,J,3) uvdn from the true ones, in
        space.
        """
        predicted, true = (
            uvdn_to_xyz(uvdn, self.centre_xyz, self.cube_mm)
            for uvdn in (joints_uvdn, self.joints_uvdn)
        )
        return (predicted - true).norm(dim=-1)

    def __getitem__(self, chosen: Any) -> 'CropBatch':
        """Return some of them. chosen: an index of tensors."""
        return CropBatch(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @classmethod
    def join(cls, parts: Sequence['CropBatch']) -> 'CropBatch':
        """Concatenate several."""
        return cls(
            *(
                torch.cat([getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            )
        )

    def to(self, device: str | torch.device) -> 'CropBatch':
        """Return the batch on a device."""
        return CropBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))
