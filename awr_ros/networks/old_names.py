"""Names in earlier checkpoint formats, translated when such a file is loaded."""

import re

OLD_FORMAT = 'awr_ros checkpoint 1'
CONFIG = {'aligned': 'upright', 'judge': 'handedness', 'start': 'detection_weights'}
METRICS = {'hand_told': 'hand_accuracy'}
# Prefixes and parts of parameter names, in this order.
PARAMETERS = (
    (r'^judge\.', 'handedness.'),
    (r'^refiner\.claimed\.', 'refiner.pooled_votes.'),
    (r'^refiner\.summary\.', 'refiner.crop_features.'),
    (r'^refiner\.overview\.', 'refiner.global_features.'),
    (r'^(refiner\.stages\.\d+)\.look\.eyes\.', r'\1.patch_encoder.encoder.'),
    (r'^(refiner\.stages\.\d+)\.look\.tell\.', r'\1.patch_encoder.head.'),
    (r'^(refiner\.stages\.\d+)\.first\.', r'\1.embed.'),
    (r'^(refiner\.stages\.\d+)\.gather\.', r'\1.to_hidden.'),
    (r'^(refiner\.stages\.\d+)\.spread\.', r'\1.to_joints.'),
    (r'^(refiner\.stages\.\d+)\.then\.', r'\1.update.'),
    (r'^(refiner\.stages\.\d+)\.last\.', r'\1.head.'),
)


def translated(checkpoint: dict) -> dict:
    """Return a checkpoint of OLD_FORMAT with the current names; other entries than dicts are
    kept.
    """
    new = dict(checkpoint)
    if 'recipe' in new:
        new['made_by'] = new.pop('recipe')
    for entry, names in (('config', CONFIG), ('metrics', METRICS)):
        if isinstance(new.get(entry), dict):
            new[entry] = {names.get(name, name): value for name, value in new[entry].items()}
    if isinstance(new.get('state_dict'), dict):
        new['state_dict'] = {
            parameter_name(name): value for name, value in new['state_dict'].items()
        }
    return new


def parameter_name(old: str) -> str:
    """Return the current name of a parameter of OLD_FORMAT."""
    for pattern, name in PARAMETERS:
        old = re.sub(pattern, name, str(old))
    return old
