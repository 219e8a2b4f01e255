"""Errors of a checkpoint on rendered crops: the same ones every time, from a seed that training never uses."""
import torch

from awr_ros.network import load_checkpoint
from awr_ros.offset_field import decode
from awr_ros.skeleton import JOINT_NAMES, TIPS
from awr_ros.synthetic.crops import CropBatch, CropSource
from awr_ros.tracker_config import TrackerConfig
from awr_ros.training.sheet import crop_sheet
from awr_ros.training.train import VALIDATION_SEED, keep_memory

BATCH = 128
DEFAULTS = TrackerConfig()


@torch.inference_mode()
def evaluate(weights, crops, sheet=None):
    """Print the errors table of a checkpoint.

    weights: path or None for the package's; crops: how many to render; sheet: PNG of the worst ones. The crops are of the
    procedural hand with every sensor, clutter and occlusion of training.
    """
    keep_memory()
    network, about = load_checkpoint(weights)
    source = CropSource(VALIDATION_SEED + 1)
    errors, leads, sure, is_hand, hand_logits, worst = [], [], [], [], [], []
    for _ in range(max(1, crops // BATCH)):
        batch = source.draw(BATCH)
        field, hand_logit = network(batch.depth)
        pred, confidence = decode(field, batch.depth, network.config.kernel_size)
        mirrored = batch.depth.flip(-1)
        _, other = decode(network(mirrored)[0], mirrored, network.config.kernel_size)
        error = (pred - batch.joints_uvdn).norm(dim=-1) * batch.cube_mm[:, None] / 2        # (B,21) [mm]
        errors.append(error[batch.hand])
        leads.append((confidence.mean(1) - other.mean(1))[batch.hand])
        sure.append(confidence.mean(1)), is_hand.append(batch.hand), hand_logits.append(hand_logit)
        worst += [(error[i].mean().item(), _one(batch, i), pred[i]) for i in batch.hand.nonzero()[:, 0]]
        worst = sorted(worst, key=lambda entry: -entry[0])[:48]
    error, lead, sure, is_hand, found = (torch.cat(parts) for parts in (errors, leads, sure, is_hand, hand_logits))
    found = found.sigmoid()
    print(f"{about['step']} training samples; {len(is_hand)} crops, of them {len(error)} with a hand")
    print(f'joint error       mean {error.mean():6.2f} mm   median {error.median():6.2f} mm')
    print(f'fingertips        mean {error[:, TIPS].mean():6.2f} mm   median {error[:, TIPS].median():6.2f} mm')
    for limit in (10, 20, 30, 40):
        print(f'max error <= {limit} mm    {(error.amax(1) <= limit).float().mean():6.1%} of hands')
    print(f'side right        {(lead > 0).float().mean():6.1%} of hands, by the higher confidence as a right or as a left hand')
    for threshold in (0.3, 0.5, 0.6, 0.8):
        print(f'hand score >= {threshold}: misses {(found < threshold)[is_hand].float().mean():6.1%} of hands, '
              f'takes {(found >= threshold)[~is_hand].float().mean():6.1%} of other crops for one')
    start = (found >= DEFAULTS.score_threshold) & (sure >= DEFAULTS.joint_threshold)
    print(f'starts a track:   {start[is_hand].float().mean():6.1%} of hands, {start[~is_hand].float().mean():6.1%} of other crops')
    print('joint [mm]        ' + '  '.join(f'{name} {value:.1f}' for name, value in zip(JOINT_NAMES, error.mean(0))))
    if sheet:
        crop_sheet(sheet, _many([entry[1] for entry in worst]), torch.stack([entry[2] for entry in worst]),
                   [f'{entry[0]:.0f} mm' for entry in worst])
        print(f'wrote the worst {len(worst)} crops to {sheet}')


def _one(batch, index):
    return [getattr(batch, name)[index] for name in CropBatch.__dataclass_fields__]


def _many(rows):
    return CropBatch(*(torch.stack(column) for column in zip(*rows)))
