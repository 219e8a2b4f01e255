"""The papers' metrics on predictions with known answers, through the command line."""

import re

import numpy as np
import pytest

from awr_ros.__main__ import main
from awr_ros.datasets.metrics import joint_errors, read_joints, report
from awr_ros.datasets.specs import DATASETS

NYU = DATASETS['nyu'].intrinsics
scipy_io = pytest.importorskip('scipy.io')
pytest.importorskip('matplotlib')


def poses(frames, joints=14):
    """(N,J,3) xyz [mm]"""
    return np.random.default_rng(0).uniform((-90, -90, 650), (90, 90, 850), (frames, joints, 3))


def write(path, uvd, prefix=''):
    line = prefix + '%.6f ' * (uvd[0].size) + '\n'
    path.write_text(''.join(line % tuple(row) for row in uvd.reshape(len(uvd), -1).tolist()))
    return str(path)


def test_figures_of_known_errors():
    errors = np.full((4, 14), 5.0)
    errors[2:, 0] = 33.0  # subject b: one joint is bad
    errors[3, 1] = 100.0
    figures = report(errors, (('a', 0, 2), ('b', 2, 4), ('beyond', 4, 9)))
    assert figures.subject_mm['a'] == 5.0 and figures.subject_mm['b'] == pytest.approx(
        (33 + 33 + 100 + 25 * 5) / 28
    )
    assert set(figures.subject_mm) == {'a', 'b'}
    assert (
        figures.mean_mm == pytest.approx((33 + 33 + 100 + 53 * 5) / 56) and figures.median_mm == 5
    )
    np.testing.assert_allclose(figures.joint_mm[:3], [19, 28.75, 5])
    np.testing.assert_allclose(figures.frames_within, [0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75])
    # The area under steps at 5 and 33 mm, sampled every 50/99 mm.
    assert figures.auc == pytest.approx((53 * 45 + 2 * 17) / 56 / 50, abs=0.006)
    assert report(np.zeros((2, 3))).auc == 1 and report(np.full((2, 3), 60.0)).auc == 0


def test_errors_are_distances_in_space_by_the_data_sets_camera():
    truth = poses(5)
    offset = np.array([3.0, -4.0, 12.0])  # 13 mm
    errors = joint_errors(NYU.xyz_to_uvd(truth + offset), NYU.xyz_to_uvd(truth), NYU)
    np.testing.assert_allclose(errors, 13)
    # The same by hand: u 588.03, v 587.07 px focal length.
    one = np.array([[[320 + 588.03 * 0.01, 240.0, 700.0]]])
    assert joint_errors(one, np.array([[[320.0, 240.0, 700.0]]]), NYU)[0, 0] == pytest.approx(7)
    two = np.array([[[320.0, 240 + 587.07 * 0.01, 700.0]]])
    assert joint_errors(two, np.array([[[320.0, 240.0, 700.0]]]), NYU)[0, 0] == pytest.approx(7)


def test_methods_are_compared_by_the_command_with_subjects_apart(tmp_path, capsys):
    truth = poses(8252)
    near, far = truth.copy(), truth.copy()
    near[:2440, :, 0] += 4
    near[2440:, :, 1] += 9
    far[:, 3, 0] += 28  # one joint of 14
    labels = write(tmp_path / 'labels.txt', NYU.xyz_to_uvd(truth))
    files = [
        write(tmp_path / f'{name}.txt', NYU.xyz_to_uvd(xyz))
        for name, xyz in (('near', near), ('far', far))
    ]
    assert (
        main(
            [
                'evaluate',
                '--dataset',
                'nyu',
                *files,
                '--truth',
                labels,
                '--plots',
                str(tmp_path / 'plots'),
            ]
        )
        == 0
    )
    first, second = capsys.readouterr().out.split('far: 8252 frames')
    assert f'mean error          {(2440 * 4 + 5812 * 9) / 8252:.4f} mm' in first
    assert '4.0000 mm' in first and '9.0000 mm' in first and '100.00% of frames' in first
    assert 'mean error          2.0000 mm' in second and 'ring_pip              28.000 mm' in second
    assert (
        'max error <= 20 mm    0.00% of frames' in second
        and 'max error <= 30 mm  100.00% of frames' in second
    )
    plots = sorted((tmp_path / 'plots').iterdir())
    assert [path.name for path in plots] == ['nyu_frames.png', 'nyu_joints.png']
    assert all(path.read_bytes()[:4] == b'\x89PNG' and path.stat().st_size > 5000 for path in plots)


def test_truth_may_be_nyus_own_labels_or_have_names_or_be_xyz(tmp_path):
    xyz = poses(3)
    uvd = NYU.xyz_to_uvd(xyz)
    whole = np.zeros((3, 3, 36, 3))
    whole[0][:, [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]] = uvd
    scipy_io.savemat(tmp_path / 'joint_data.mat', {'joint_uvd': whole, 'joint_xyz': whole * 0})
    np.testing.assert_allclose(read_joints(tmp_path / 'joint_data.mat', 'nyu'), uvd)
    np.testing.assert_allclose(
        read_joints(write(tmp_path / 'n.txt', uvd, 'test/depth_1_1.png '), 'nyu'), uvd, atol=1e-5
    )
    np.testing.assert_allclose(
        read_joints(write(tmp_path / 'x.txt', xyz), 'nyu', xyz=True), uvd, atol=1e-4
    )


@pytest.mark.parametrize(
    'text, message',
    [
        ('1 2 3\n', r'p.txt, line 1: expected 42 numbers, got 3'),
        ('1 ' * 42 + '\n' + '1 ' * 41 + 'x\n', "p.txt, line 2: .*'x'"),
        ('1 ' * 42 + '\n', 'p.txt has 1 frames, but .* has 2'),
        ('', 'p.txt has no frames'),
        ('1 ' * 42 + '\n' + '0 ' * 42, 'p.txt, frame 1 .*must be positive, got 0'),
        (None, 'no file .*p.txt'),
    ],
)
def test_files_that_cannot_be_compared_are_named(tmp_path, capsys, text, message):
    labels = write(tmp_path / 'labels.txt', NYU.xyz_to_uvd(poses(2)))
    if text is not None:
        (tmp_path / 'p.txt').write_text(text)
    assert (
        main(
            [
                'evaluate',
                '--dataset',
                'nyu',
                str(tmp_path / 'p.txt'),
                '--truth',
                labels,
                '--plots',
                str(tmp_path),
            ]
        )
        == 1
    )
    assert re.search(message, capsys.readouterr().err)


def test_predictions_need_truth_and_data_set(tmp_path, capsys):
    assert main(['evaluate', 'p.txt']) == 1 and '--dataset' in capsys.readouterr().err
    assert (
        main(['evaluate', '--dataset', 'nyu', 'p.txt']) == 1
        and '--truth' in capsys.readouterr().err
    )
