"""Random numbers from one generator, in the forms that scenes need."""

from collections.abc import Sequence
from typing import Any

import torch


class Draws:
    """Random draws from a torch.Generator on the CPU."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high), uniform in the logarithm."""
        return low * (high / low) ** self.uniform()

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < share

    def choice(self, options: Sequence) -> Any:
        """Return one of the options, uniformly."""
        return options[int(self.uniform(0, len(options)))]

    def normal(self, *shape: int) -> torch.Tensor:
        """Return standard normal numbers of a shape."""
        return torch.randn(*shape, generator=self.generator)

    def direction(self) -> torch.Tensor:
        """Return a unit vector (3,), uniform on the sphere."""
        return torch.nn.functional.normalize(self.normal(3), dim=0)
