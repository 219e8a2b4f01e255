"""The authors' checkpoints: imported strictly, and run by estimator and tracker, whose hands lack
the joints they lack.
"""

import re

import numpy as np
import pytest
import torch

from awr_ros.__main__ import main
from awr_ros.camera import Intrinsics
from awr_ros.crop import crop_as_authors, crop_hand
from awr_ros.draw import overlay
from awr_ros.estimator import HandPoseEstimator, Request
from awr_ros.networks.checkpoint import (
    HourglassConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    load_checkpoint,
)
from awr_ros.offset_field import decode
from awr_ros.skeleton import (
    HANDS17_21,
    ICVL_16,
    JOINT_NAMES,
    MSRA_21,
    NUM_JOINTS,
    NYU_14,
    as_21_joints,
    hand_centre,
    wrist_rotation,
)
from awr_ros.synthetic.camera import SyntheticCamera
from awr_ros.tracker import HandTracker
from awr_ros.tracker_config import TrackerConfig

# What an NYU network has no joint for: all MCPs of the fingers, their DIPs, and the thumb's CMC.
LACKING = [
    JOINT_NAMES.index(name)
    for name in JOINT_NAMES
    if name.endswith(('_mcp', '_dip')) and name != 'thumb_mcp' or name == 'thumb_cmc'
]


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(1)
    return StackedHourglass(HourglassConfig(stacks=1, joint_names=NYU_14))


@pytest.fixture(scope='module')
def authors_checkpoint(network, tmp_path_factory):
    """As the authors save: with the optimiser, and records that are NumPy's numbers."""
    path = tmp_path_factory.mktemp('authors_checkpoint') / 'hourglass_1.pth'
    torch.save(
        {
            'model': network.state_dict(),
            'optimizer': {'state': {}, 'param_groups': []},
            'best_records': {'epoch': 38, 'MPE': np.float64(7.7), 'AUC': np.float32(0.85)},
        },
        path,
    )
    return path


@pytest.fixture(scope='module')
def imported(authors_checkpoint):
    output = authors_checkpoint.with_name('nyu.pt')
    assert (
        main(['import', str(authors_checkpoint), '--dataset', 'nyu', '--output', str(output)]) == 0
    )
    return output


def test_an_official_checkpoint_becomes_one_that_describes_itself(network, imported):
    loaded, about = load_checkpoint(imported)
    config = loaded.config
    assert (config.joint_names, config.kernel_size, config.cube_mm, config.crop_size) == (
        NYU_14,
        0.4,
        300,
        128,
    )
    assert (
        config.stacks == 1
        and config.side == 'right'
        and config.authors_crop
        and config.field_size == 64
    )
    assert about['made_by']['imported_from'] == 'imported from hourglass_1.pth'
    assert (
        about['metrics']['authors_MPE'] == pytest.approx(7.7)
        and about['metrics']['authors_epoch'] == 38
    )
    assert all(
        torch.equal(value, network.state_dict()[name])
        for name, value in loaded.state_dict().items()
    )


def test_a_bare_state_dict_of_a_resnet_tells_its_layers_joints_and_downsampling(tmp_path):
    state = ResNet(ResNetConfig(ICVL_16, layers=18, downsample=4)).state_dict()
    torch.save({f'module.{name}': value for name, value in state.items()}, tmp_path / 'r.pth')
    assert (
        main(
            [
                'import',
                str(tmp_path / 'r.pth'),
                '--dataset',
                'icvl',
                '--kernel-size',
                '0.8',
                '--output',
                str(tmp_path / 'r.pt'),
                '--our-crop',
            ]
        )
        == 0
    )
    config = load_checkpoint(tmp_path / 'r.pt')[0].config
    assert (config.layers, config.downsample, config.joint_names) == (18, 4, ICVL_16)
    assert (config.kernel_size, config.cube_mm, config.side, config.authors_crop) == (
        0.8,
        250,
        'left',
        False,
    )


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda state: state.pop('hgs.0.0.low1.conv2.conv.weight'),
            'Missing key.*hgs.0.0.low1.conv2.conv.weight',
        ),
        (lambda state: state.update(extra=torch.zeros(1)), 'Unexpected key.*extra'),
        (
            lambda state: state.update({'pre.0.conv.weight': torch.zeros(64, 1, 7, 7)}),
            'size mismatch for pre.0.conv.weight',
        ),
        (
            lambda state: [state.pop(name) for name in list(state) if name.startswith('outs')],
            'neither a ResNet nor an hourglass',
        ),
        (lambda state: state.clear(), 'no checkpoint of the authors'),
    ],
)
def test_what_does_not_fit_is_named(network, tmp_path, capsys, change, message):
    state = dict(network.state_dict())
    change(state)
    torch.save({'model': state}, tmp_path / 'bad.pth')
    assert (
        main(
            [
                'import',
                str(tmp_path / 'bad.pth'),
                '--dataset',
                'nyu',
                '--output',
                str(tmp_path / 'bad.pt'),
            ]
        )
        == 1
    )
    error = capsys.readouterr().err
    assert 'bad.pth' in error and re.search(message, error) and not (tmp_path / 'bad.pt').exists()


def test_the_wrong_data_set_and_files_that_are_none_are_refused(
    authors_checkpoint, tmp_path, capsys
):
    assert (
        main(
            [
                'import',
                str(authors_checkpoint),
                '--dataset',
                'msra',
                '--output',
                str(tmp_path / 'x.pt'),
            ]
        )
        == 1
    )
    assert 'predicts 14 joints, but msra has 21' in capsys.readouterr().err
    (tmp_path / 'x.pth').write_bytes(b'nothing')
    assert (
        main(['import', str(tmp_path / 'x.pth'), '--dataset', 'nyu']) == 1
        and 'cannot be read' in capsys.readouterr().err
    )
    assert main(['import', str(tmp_path / 'none.pth'), '--dataset', 'nyu']) == 1
    assert 'no checkpoint at' in capsys.readouterr().err


@pytest.fixture(scope='module')
def estimator(imported):
    return HandPoseEstimator.from_pretrained(imported, device='cpu', engine='torch', num_threads=1)


@pytest.fixture(scope='module')
def scene():
    camera = SyntheticCamera(num_hands=1)
    depth_mm, hands = camera.frame(0.0)
    return depth_mm, camera.intrinsics, hand_centre(hands[0].joints_xyz)


@pytest.mark.parametrize('side', ['right', 'left'])
def test_joints_that_a_network_lacks_are_nan_and_the_others_are_its_own(
    estimator, network, scene, side
):
    depth_mm, intrinsics, centre = scene
    pose = estimator.estimate_batch(depth_mm, intrinsics, [Request(centre, side)])[0]
    assert len(LACKING) == 9 and sorted(np.flatnonzero(np.isnan(pose.joints_xyz).any(1))) == LACKING
    assert (
        sorted(np.flatnonzero(np.isnan(pose.joint_scores))) == LACKING
        and np.isnan(pose.joints_uvd[LACKING]).all()
    )
    crop = crop_as_authors(depth_mm, intrinsics, centre, 300.0, 128)
    depth = crop.depth if side == 'right' else crop.depth[:, ::-1]
    with torch.no_grad():
        tensor = torch.from_numpy(depth.copy())[None, None]
        uvdn, closeness = (
            part[0].numpy() for part in decode(network.eval()(tensor)[0], tensor, 0.4)
        )
    if side == 'left':
        uvdn = uvdn * [-1, 1, 1] - [2 / 128, 0, 0]
    uvd = crop.uvd_from_uvdn(uvdn)
    for name in ('index_tip', 'ring_pip', 'thumb_mcp'):
        np.testing.assert_allclose(
            pose.joints_uvd[JOINT_NAMES.index(name)], uvd[NYU_14.index(name)], atol=1e-2
        )
    # NYU's two sides of the wrist
    np.testing.assert_allclose(pose.joints_uvd[0], uvd[11:13].mean(0), atol=1e-2)
    # no output for it: from closeness
    assert pose.hand_score == pytest.approx(closeness.mean(), abs=1e-4)
    assert (
        np.isfinite(hand_centre(pose.joints_xyz)).all()
        and np.isnan(wrist_rotation(pose.joints_xyz, side)).all()
    )


def test_a_tracker_follows_hands_with_fewer_joints_and_draws_them(estimator, scene):
    depth_mm, intrinsics, _ = scene
    config = TrackerConfig(max_hands=1, score_threshold=0.0, lose_threshold=0.0, side='right')
    tracker = HandTracker(estimator, config)  # untrained: whatever it says passes
    frames = [tracker.update(depth_mm, intrinsics, i / 30) for i in range(3)]
    assert [len(hands) for hands in frames] == [1, 1, 1] and len(
        {hands[0].id for hands in frames}
    ) == 1
    hand = frames[-1][0]
    assert np.isfinite(hand.joints_xyz).all(1).sum() == NUM_JOINTS - 9 and np.isfinite(hand.score)
    assert overlay(depth_mm, [hand]).shape == (*depth_mm.shape, 3)


def test_conventions_are_permutations_of_the_same_names():
    values = np.arange(63.0).reshape(21, 3)
    for names in (MSRA_21, HANDS17_21):
        assert set(names) == set(JOINT_NAMES)
        mapped = as_21_joints(values, names)
        assert all(
            (mapped[JOINT_NAMES.index(name)] == values[i]).all() for i, name in enumerate(names)
        )
    assert as_21_joints(values, JOINT_NAMES) is values
    assert np.isfinite(as_21_joints(np.zeros((16, 3)), ICVL_16)).all(1).nonzero()[0].tolist() == [
        4,
        8,
        12,
        16,
        20,
    ]
    with pytest.raises(ValueError, match='14 joints'):
        as_21_joints(values, NYU_14)


def test_the_authors_crop():
    """Window, half pixel, padding and hole as documented, against the equations written out."""
    camera = Intrinsics(588.03, 587.07, 320.0, 240.0, 640, 480)
    depth = np.zeros((480, 640), np.float32)
    depth[200:300, 250:400] = 700 + np.arange(150)[None]  # 700 .. 849
    depth[210, 260] = 400  # nearer than the cube
    centre = np.array([3.0, -5.0, 750.0])
    crop = crop_as_authors(depth, camera, centre, 300.0, 128)
    u, v = 320 + 588.03 * 3 / 750, 240 - 587.07 * 5 / 750
    low = int(u - 150 / 750 * 588.03 + 0.5), int(v - 150 / 750 * 587.07 + 0.5)
    high = int(u + 150 / 750 * 588.03 + 0.5), int(v + 150 / 750 * 587.07 + 0.5)
    assert crop.window == (*low, *high)
    scale = min(128 / (high[0] - low[0]), 128 / (high[1] - low[1]))
    uvd = np.array([[300.0, 230.0, 780.0]])
    pad = [(128 - int((h - l) * scale)) // 2 for l, h in zip(low, high)]
    expected = [(300 - low[0]) * scale + pad[0], (230 - low[1]) * scale + pad[1]]
    np.testing.assert_allclose(
        crop.uvdn_from_uvd(uvd), [[expected[0] / 64 - 1, expected[1] / 64 - 1, 0.2]], atol=1e-9
    )
    np.testing.assert_allclose(crop.uvd_from_uvdn(crop.uvdn_from_uvd(uvd)), uvd)
    col, row = (int(round(e)) for e in expected)
    assert abs(crop.depth[row, col] - (depth[230, 300] - 750) / 150) < 0.03
    assert crop.depth.min() >= -1 and crop.depth.max() == 1
    # The farthest pixels of the cut become background, here a stripe that crop_hand keeps.
    ours = crop_hand(depth, camera, centre, 300.0, 128)
    assert (ours.depth < 0.99).sum() > (crop.depth < 0.99).sum()
    wall = np.full((480, 640), 760.0, np.float32)
    assert (crop_as_authors(wall, camera, centre, 300.0, 128).depth == 1).all()
    assert (crop_hand(wall, camera, centre, 300.0, 128).depth < 0.99).all()
