"""torch on the CPU: always available, the reference for the other engines."""

from typing import Any

import numpy as np
import torch

from awr_ros.runtime.fused_network import folded
from awr_ros.runtime.readout import (
    MAX_BATCH,
    EngineConfig,
    Predictions,
    check_crops,
    predict_in_passes,
    readout_module,
)


class TorchEngine:
    """A network in eager mode, single precision."""

    max_batch = MAX_BATCH

    def __init__(self, network: Any, origin: str = '', num_threads: int | None = None) -> None:
        """network: of awr_ros.networks.checkpoint; origin: of its weights, a text; num_threads: of
        torch in the whole process, None: unchanged.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.config = EngineConfig.of(network.config, origin)
        self.description = (
            f'torch {torch.__version__} on the CPU, float32, {torch.get_num_threads()} threads'
        )
        trunk, note = folded(network.eval().to(memory_format=torch.channels_last))
        self.description += f' ({note})' if note else ''
        self._readout = readout_module(network, trunk)

    def predict(self, crops: np.ndarray) -> Predictions:
        """Predict from crops (B,1,S,S) float32 uvdn. Return Predictions."""
        check_crops(crops, self.config)
        return predict_in_passes(self._pass, crops)

    @torch.inference_mode()
    def _pass(self, crops):
        return [output.numpy() for output in self._readout(torch.from_numpy(crops))]
