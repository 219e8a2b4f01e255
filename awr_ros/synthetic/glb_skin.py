"""A skinned hand from a GLB file with WebXR's 25 joint names, as an additional hand shape for
training.

For example `generic-hand/right.glb` of the npm package @webxr-input-profiles/assets (MIT). The
package contains no such file.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch

from awr_ros.skeleton import NUM_JOINTS
from awr_ros.synthetic.hand import (
    FOREARM,
    KNUCKLES,
    NUM_BONES,
    HandSkin,
    forearm_points,
    forearm_weights,
)

FINGERS = ('thumb', 'index-finger', 'middle-finger', 'ring-finger', 'pinky-finger')
DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4, 'MAT4': 16}
TIP_INSIDE_MM = 6.0  # depth of our fingertip joint inside the finger's end; WebXR's is about 12


def read_glb_skin(path: str | Path, spacing_mm: float) -> HandSkin:
    """Load a right hand from a GLB file as a HandSkin on our bones, sampled about every
    spacing_mm.
    """
    data = open(path, 'rb').read()
    if data[:4] != b'glTF':
        raise ValueError(f'{path} is no GLB file')
    length = struct.unpack('<I', data[12:16])[0]
    scene, binary = json.loads(data[20 : 20 + length]), data[20 + length + 8 :]

    def read(index):
        accessor = scene['accessors'][index]
        view = scene['bufferViews'][accessor['bufferView']]
        width = WIDTHS[accessor['type']]
        return np.frombuffer(
            binary,
            DTYPES[accessor['componentType']],
            accessor['count'] * width,
            view.get('byteOffset', 0) + accessor.get('byteOffset', 0),
        ).reshape(-1, width)

    nodes = scene['nodes']
    names = [nodes[i]['name'] for i in scene['skins'][0]['joints']]
    at = {n['name']: np.array(n['translation'], float) for n in nodes if n.get('name') in names}
    turn = {n['name']: _matrix(n['rotation']) for n in nodes if n.get('name') in names}
    # WebXR: -z along the bone, +y out of the back of the hand; ours: x along, z out of the back.
    to_ours = np.stack([-turn['wrist'][:, 2], -turn['wrist'][:, 0], turn['wrist'][:, 1]])
    at = {
        name: to_ours @ (p - at['wrist']) * 1000 if name != 'wrist' else np.zeros(3)
        for name, p in {**at, 'wrist': at['wrist']}.items()
    }
    back = {name: to_ours @ turn[name][:, 1] for name in names}

    primitive = scene['meshes'][0]['primitives'][0]
    vertices = (
        (
            read(primitive['attributes']['POSITION'])
            - np.array([n for n in nodes if n.get('name') == 'wrist'][0]['translation'])
        )
        @ to_ours.T
        * 1000
    )
    faces = read(primitive['indices']).reshape(-1, 3).astype(int)
    bone_of, joints, frames = (
        {'wrist': 0},
        np.zeros((NUM_JOINTS, 3)),
        np.tile(np.eye(4), (NUM_BONES, 1, 1)),
    )
    frames[FOREARM, :3, :3] = np.diag([-1, -1, 1])
    lengths = np.full(NUM_BONES, 90.0)
    for finger, knuckle in zip(FINGERS, KNUCKLES):
        chain = (['metacarpal'] if finger == 'thumb' else []) + [
            'phalanx-proximal',
            'phalanx-intermediate',
            'phalanx-distal',
        ]
        chain = [f'{finger}-{part}' for part in chain if f'{finger}-{part}' in at]
        tip, last = at[f'{finger}-tip'], at[chain[-1]]
        along = (tip - last) / np.linalg.norm(tip - last)
        near = vertices[np.linalg.norm(vertices - tip, axis=1) < 25]
        tip = tip + along * (((near - tip) @ along).max() - TIP_INSIDE_MM)
        stops = [at[name] for name in chain] + [tip]
        joints[knuckle : knuckle + 4] = stops
        if finger == 'thumb':
            bone_of['thumb-metacarpal'] = 2
        else:
            bone_of[f'{finger}-metacarpal'] = knuckle
        for i, name in enumerate(chain):
            bone_of[name] = knuckle + 1 + i
        bone_of[f'{finger}-tip'] = knuckle + 3
        for bone, start, end, up in [(knuckle, np.zeros(3), stops[0], back[chain[0]])] + [
            (knuckle + 1 + i, stops[i], stops[i + 1], back[chain[i]]) for i in range(3)
        ]:
            x = (end - start) / np.linalg.norm(end - start)
            y = np.cross(up, x) / np.linalg.norm(np.cross(up, x))
            frames[bone, :3] = np.stack([x, y, np.cross(x, y), start], 1)
            lengths[bone] = np.linalg.norm(end - start)
    lengths[0] = np.linalg.norm(joints[9])

    vertex_weights = np.zeros((len(vertices), NUM_BONES))
    for column, share in zip(
        read(primitive['attributes']['JOINTS_0']).T, read(primitive['attributes']['WEIGHTS_0']).T
    ):
        bones = np.array([bone_of[names[i]] for i in column])
        np.add.at(vertex_weights, (np.arange(len(vertices)), bones), share)
    points, weights = _sample(vertices, vertex_weights, faces, spacing_mm)
    keep = points[:, 0] > -8  # the procedural forearm begins there
    arm = forearm_points(spacing_mm * 1.5, 150.0)
    points = np.concatenate([points[keep], arm])
    weights = np.concatenate([weights[keep], forearm_weights(arm)])
    return HandSkin(
        *(
            torch.tensor(a, dtype=torch.float32)
            for a in (points, weights / weights.sum(1, keepdims=True), frames, lengths)
        )
    )


def _sample(vertices, weights, faces, spacing_mm):
    """Sample points evenly on the triangles: many random ones, thinned to one per voxel."""
    rng = np.random.default_rng(0)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    face = rng.choice(len(faces), int(8 * area.sum() / spacing_mm**2), p=area / area.sum())
    share = rng.dirichlet((1, 1, 1), len(face))
    points = (share[:, :, None] * vertices[faces[face]]).sum(1)
    weights = (share[:, :, None] * weights[faces[face]]).sum(1)
    _, keep = np.unique(
        np.round(points / (0.8 * spacing_mm)).astype(int), axis=0, return_index=True
    )
    return points[keep], weights[keep]


def _matrix(quaternion):
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
