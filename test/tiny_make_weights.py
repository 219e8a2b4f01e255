"""The smallest run of make-weights, in a process of its own that can be killed at a certain note."""

import subprocess
import sys

# Kills itself after a certain note, if one is given.
PROGRAM = """
import os, signal, sys
import torch
import awr_ros.training.crop_stream as streams
import awr_ros.training.refiner as refiner
import awr_ros.training.train as training
from awr_ros.networks.checkpoint import ModelConfig
from awr_ros.synthetic.crop_config import CropConfig
from awr_ros.synthetic.crops import CropSource
from awr_ros.training import handedness, make_weights as making
from awr_ros.training.weights_config import WeightsConfig
folder, kill_at = sys.argv[1:]
SMALL = CropConfig(size=64, negative_share=0.25)
training.NETWORKS['s'] = ModelConfig(stem=(8, 8), widths=(8, 16), blocks=(1, 1), decoder_width=8, crop_size=64)
for module in (training, streams, refiner, handedness):
    module.CropSource = lambda seed, config=SMALL, *rest, **other: CropSource(seed, SMALL, *rest, **other)
refiner.NEGATIVES, refiner.PROGRESS_EVERY, refiner.SAVE_EVERY, refiner.HIDDEN = 1, 1, 1, 8
save, note, save_state = training.Run.save, refiner._save_progress, refiner.save_whole

def happened(event):
    with open(folder + '/events', 'a') as file:
        file.write(event + '\\n')
    if event == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
training.Run.save = lambda run: (save(run), happened(f'network {run.seen}'))
refiner._save_progress = lambda folder, done: (note(folder, done), happened(f'read {done["predicted"]}'))
refiner.save_whole = lambda state, path: (save_state(state, path), happened(f'fitted {state["step"]}'))
config = WeightsConfig(samples=16, batch=8, validate_every=8, validation=0, negatives=0, scenes=1, evaluated_crops=0,
                       evaluated_scenes=0, evaluated_sequences=0, evaluated_seconds=0.0, workers=0, device='cpu')
torch.set_num_threads(1)
making.make_weights(folder, config)
"""


def run(folder, kill_at=''):
    """Run make-weights in `folder`, which exists, until it has noted `kill_at`, '': to its end.
    Return the ended process.
    """
    return subprocess.run(
        [sys.executable, '-c', PROGRAM, str(folder), kill_at],
        capture_output=True,
        text=True,
        timeout=140,
    )
