"""The palm detector: its input and output, its training, and the one that comes
with the package.
"""

import csv
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import awr_ros.training.palm_detector as training
from awr_ros.__main__ import main
from awr_ros.camera import Intrinsics
from awr_ros.finders.palm_detector import (
    BELOW_SKIN_MM,
    CELL,
    COLUMNS,
    DEFAULT_FINDER,
    ROWS,
    PalmDetector,
    coarse_frame,
    palm_depth,
)
from awr_ros.networks.compact import CompactNetwork, ModelConfig
from awr_ros.networks.palm_detector import (
    FinderConfig,
    FinderNetwork,
    measure_normalisation,
    read_finder,
    write_finder,
)
from awr_ros.runtime.onnx_engine import write_onnx
from awr_ros.skeleton import palm_centre
from awr_ros.synthetic.scenes import SceneSource
from awr_ros.training import average, palm_detector_scenes
from awr_ros.training.config import FinderTrainConfig
from awr_ros.training.palm_detector_scenes import (
    IGNORED,
    NONE,
    TARGET,
    FinderScenes,
    as_rendered,
    augmented,
    render_finder_scenes,
    varied,
)
from awr_ros.weight_files import checksum

VGA = Intrinsics(fx=600.0, fy=600.0, cx=320.0, cy=240.0, width=640, height=480)


@pytest.fixture(scope='module')
def scenes():
    return render_finder_scenes(16, seed=4)


# What it is shown


@pytest.mark.parametrize(
    'width, height, columns, rows',
    [
        (640, 480, 160, 120),
        (848, 480, 160, 90),
        (512, 424, 154, 128),
        (160, 128, 160, 128),
        (480, 640, 96, 128),
        (80, 60, 160, 120),
    ],
)
def test_frames_of_any_shape_fit_into_the_corner(width, height, columns, rows):
    camera = Intrinsics(fx=500.0, fy=500.0, cx=width / 2, cy=height / 2, width=width, height=height)
    frame, step = coarse_frame(np.full((height, width), 800, np.uint16), camera)
    assert frame.shape == (3, ROWS, COLUMNS)
    assert frame[1].sum() == columns * rows and (frame[1, :rows, :columns] == 1).all()
    np.testing.assert_allclose(frame[0, :rows, :columns], 0.8)
    # [cm] of a pixel
    np.testing.assert_allclose(frame[2, :rows, :columns], 80 * step / 500, rtol=1e-6)


def test_what_is_invalid_or_far_is_not_shown():
    depth = np.full((480, 640), 900, np.float32)
    depth[:, :160], depth[:, 160:320], depth[:, 320:480] = 0, np.nan, 3000
    frame, _ = coarse_frame(depth, VGA)
    assert np.isfinite(frame).all() and not frame[:, :, :120].any() and frame[1, :120, 120:].all()


def test_a_mark_lies_in_the_frame_where_the_camera_saw_it():
    depth = np.full((480, 640), 900, np.uint16)
    depth[200:212, 400:412] = 500
    frame, step = coarse_frame(depth, VGA)
    rows, columns = np.nonzero(frame[0] == np.float32(0.5))
    assert step == 4
    np.testing.assert_allclose(
        [(columns.mean() + 0.5) * step - 0.5, (rows.mean() + 0.5) * step - 0.5],
        [405.5, 205.5],
        atol=2,
    )


# What its answers mean


class Fixed(nn.Module):
    """A network that says the same of every frame, but depends on it for the exporter's sake."""

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(torch.tensor(output)[None])

    def forward(self, frame):
        return self.output + 0 * nn.functional.avg_pool2d(frame[:, :1], CELL)


def finder(tmp_path, *palms):
    """A finder that sees palms (u, v [px of VGA], depth [mm], logit)."""
    output = np.zeros((4, ROWS // CELL, COLUMNS // CELL), np.float32)
    output[0] = -9
    for u, v, depth, logit in palms:
        column, row = ((x + 0.5) / (4 * CELL) - 0.5 for x in (u, v))
        at = round(row), round(column)
        output[:, at[0], at[1]] = logit, column - at[1], row - at[0], depth / 1000
        output[0, at[0], at[1] + 1] = logit - 1  # the flank of the peak
    write_finder(Fixed(output), tmp_path / 'finder.onnx')
    return PalmDetector(tmp_path / 'finder.onnx')


def with_palms(*palms, background=0):
    """A frame of VGA with a disc of 40 mm for each palm (u, v [px], depth [mm] of its middle)."""
    depth = np.full((480, 640), background, np.float32)
    rows, columns = np.mgrid[:480, :640]
    for u, v, z in palms:
        surface = z - BELOW_SKIN_MM
        depth[np.hypot(rows - v, columns - u) < 40 * 600 / surface] = surface
    return depth


def test_palms_come_back_where_they_are_the_likeliest_first(tmp_path):
    depth = with_palms((150, 90, 640), (433, 301, 523))
    found = finder(tmp_path, (150.0, 90.0, 612, 1.0), (433.0, 301.0, 534, 3.0)).find(
        depth, VGA, 150, 1500
    )
    assert len(found) == 2
    for candidate, (u, v, z, logit) in zip(found, [(433, 301, 523, 3), (150, 90, 640, 1)]):
        np.testing.assert_allclose(
            candidate.centre_xyz, [(u - 320) * z / 600, (v - 240) * z / 600, z], atol=0.02
        )
        assert candidate.score == pytest.approx(1 / (1 + np.exp(-logit)))


def test_other_depths_unlikely_places_and_the_second_of_two_neighbours_are_left_out(tmp_path):
    palms = (
        (100.0, 100.0, 1600, 2.0),
        (300.0, 100.0, 600, -5.0),
        (500.0, 300.0, 600, 2.0),
        (530.0, 330.0, 600, 1.0),
    )
    found = finder(tmp_path, *palms).find(with_palms(*(palm[:3] for palm in palms)), VGA, 150, 1500)
    assert [round(c.centre_xyz[2]) for c in found] == [600] and found[0].score == pytest.approx(
        1 / (1 + np.exp(-2))
    )


def test_far_palms_are_as_deep_as_the_frame_says_where_the_network_cannot_know(tmp_path):
    """Right pixels, but depths that end where training ended."""
    depth = with_palms((200, 200, 1700), background=2300)
    (candidate,) = finder(tmp_path, (200.0, 200.0, 1120, 1.0)).find(depth, VGA, 150, 2000)
    assert candidate.centre_xyz[2] == pytest.approx(1700, abs=1)


def palm_at(depth, regressed=800):
    return palm_depth(depth, VGA, 320.0, 240.0, regressed)


@pytest.mark.parametrize(
    'true, regressed', [(300, 310), (800, 800), (1500, 1150), (1900, 1150), (500, 900)]
)
def test_palm_depth_stands_noise_holes_strays_and_what_is_behind(true, regressed):
    rng = np.random.default_rng(0)
    surface = with_palms((320, 240, true), background=true + 250)
    noisy = surface + rng.normal(0, 1 + 6e-6 * true**2, surface.shape).astype(np.float32)
    noisy[rng.random(surface.shape) < 0.5] = 0  # half of it is lost
    noisy[rng.random(surface.shape) < 0.05] = true - 150  # strays
    noisy[240:, :300] = np.nan
    assert palm_at(noisy, regressed) == pytest.approx(true, abs=15)


def test_an_arm_before_the_palm_and_a_wall_close_behind_are_told_from_it():
    depth = with_palms((320, 240, 800), background=850)
    depth[:, :322] = 620  # more than half of it hidden
    assert palm_at(depth) == pytest.approx(800, abs=5)
    # nobody knows better
    assert palm_at(depth, regressed=1500) == pytest.approx(620 + BELOW_SKIN_MM, abs=5)


def test_where_the_frame_has_nothing_the_network_s_depth_stays():
    depth = with_palms((320, 240, 800), background=850)
    depth[180:300, 260:380] = 0  # a hole of the whole palm
    assert palm_at(depth, 777.0) == 777.0
    assert palm_depth(depth, VGA, 5000.0, -900.0, 640.0) == 640.0  # out of the image


def test_palm_depth_of_rendered_hands():
    source, off = SceneSource(21, ((640, 480),)), []
    for scene in (source.draw(1) for _ in range(30)):
        for hand, visible in zip(scene.hands, scene.visible):
            u, v, z = scene.intrinsics.xyz_to_uvd(palm_centre(hand.joints_xyz).astype(np.float64))
            if visible > 0.8:
                off.append(palm_depth(scene.depth_mm, scene.intrinsics, u, v, min(z, 1100.0)) - z)
    assert len(off) > 15 and abs(np.median(off)) < 10 and np.mean(np.abs(off) < 40) > 0.85


def test_misuse_names_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.onnx'):
        PalmDetector(tmp_path / 'none.onnx')
    (tmp_path / 'bad.onnx').write_bytes(b'not a network')
    with pytest.raises(ValueError, match='bad.onnx'):
        PalmDetector(tmp_path / 'bad.onnx')
    good = finder(tmp_path, (100.0, 100.0, 600, 2.0))
    with pytest.raises(ValueError, match=r'\(480, 640\).*\(240, 320\)'):
        good.find(np.zeros((240, 320), np.uint16), VGA, 150, 1500)
    (tmp_path / 'finder.sha256').write_text('0' * 64 + '  finder.onnx\n')
    with pytest.raises(ValueError, match='damaged'):
        PalmDetector(tmp_path / 'finder.onnx')


def test_another_network_is_refused_at_once(tmp_path):
    class Other(nn.Module):
        def forward(self, frame):
            return nn.functional.avg_pool2d(frame, 8)

    write_finder(Other(), tmp_path / 'other.onnx')
    with pytest.raises(
        ValueError,
        match=r'other.onnx is another network: it must return \(4, 32, 40\) values a frame, got \(3, 16, 20\)',
    ):
        PalmDetector(tmp_path / 'other.onnx')
    write_onnx(
        CompactNetwork(ModelConfig(stem=(4, 8), widths=(8,), blocks=(1,), crop_size=32)).eval(),
        '',
        tmp_path / 'hand.onnx',
    )
    with pytest.raises(ValueError, match='hand.onnx is another network'):
        PalmDetector(tmp_path / 'hand.onnx')
    write_finder(
        Fixed(np.full((4, ROWS // CELL, COLUMNS // CELL), np.nan, np.float32)),
        tmp_path / 'nan.onnx',
    )
    with pytest.raises(ValueError, match='nan.onnx returns values that are not finite'):
        PalmDetector(tmp_path / 'nan.onnx')


def test_a_flipped_bit_is_noticed_and_so_is_a_web_page(tmp_path):
    finder(tmp_path, (100.0, 100.0, 600, 2.0))
    whole, rng = (tmp_path / 'finder.onnx').read_bytes(), np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 20):
        (tmp_path / 'copy.onnx').write_bytes(
            whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :]
        )
        with pytest.raises(ValueError, match='copy.onnx'):
            PalmDetector(tmp_path / 'copy.onnx')
    (tmp_path / 'page.onnx').write_text('<!DOCTYPE html>')
    with pytest.raises(ValueError, match='page.onnx cannot be read: it is a web page'):
        PalmDetector(tmp_path / 'page.onnx')


# Its scenes


def test_scenes_are_kept_with_their_hands(scenes, tmp_path):
    assert scenes.depth.shape == (16, ROWS, COLUMNS) and {NONE, TARGET} <= set(
        scenes.kind.unique().tolist()
    )
    scenes.save(tmp_path / 'scenes.pt')
    again = FinderScenes.join([FinderScenes.load(tmp_path / 'scenes.pt')] * 2)
    assert len(again) == 32 and torch.equal(again.palms[16:], scenes.palms)


def skin_above(batch):
    """[mm] how far the median depth within two pixels of each target palm lies before
    it.
    """
    near = []
    depth = 1000 * batch.frame[:, 0]
    for i, j in (batch.kind == TARGET).nonzero().tolist():
        u, v, z = batch.palms[i, j].tolist()
        patch = depth[i, max(0, round(v) - 2) : round(v) + 3, max(0, round(u) - 2) : round(u) + 3]
        if (patch > 0).any():
            near.append(z - patch[patch > 0].median().item())
    return np.array(near)


def test_palms_lie_under_skin_as_rendered_and_as_varied(scenes):
    before = skin_above(as_rendered(scenes, torch.arange(16)))
    assert len(before) >= 8 and -10 < np.median(before) < 40
    generator = torch.Generator().manual_seed(0)
    after = np.concatenate(
        [skin_above(varied(scenes, torch.arange(16), generator)) for _ in range(6)]
    )
    assert (
        len(after) > 20
        and -10 < np.median(after) < 40
        and np.mean((after > -30) & (after < 80)) > 0.75
    )


def test_varied_scenes_reach_farther_with_things_of_their_size():
    """What is moved away is seen by a longer lens: 40 px of the palm's depth stay as many
    millimetres, but for 8 %.
    """
    depth = torch.zeros(400, ROWS, COLUMNS, dtype=torch.uint16)
    depth[:, 44:84, 60:100] = 1600
    scenes = FinderScenes(
        depth,
        torch.full((400,), 150.0),
        torch.tensor([79.5, 63.5, 1600.0]).expand(400, 2, 3),
        torch.full((400, 2), TARGET, dtype=torch.uint8),
    )
    batch = varied(scenes, torch.arange(400), torch.Generator().manual_seed(0))
    palm = batch.palms[:, 0, 2]
    assert palm.min() < 1300 and palm.max() > 2000
    whole = batch.frame[:, 1].sum((1, 2)) > 700
    columns = [torch.nonzero(frame.any(0))[:, 0] for frame in batch.frame[:, 1]]
    width = torch.tensor([float(c.max() - c.min() + 1) for c in columns]) * palm / batch.focal
    assert whole.sum() > 200 and (width[whole] / (40 * 1600 / 150) - 1).abs().quantile(0.98) < 0.12
    assert (batch.kind[:, 0][palm > 2000] != TARGET).all() and (
        batch.kind[:, 0][palm < 1900] == TARGET
    ).float().mean() > 0.9


def test_light_hides_a_hand_and_not_the_wall_behind(monkeypatch):
    """Hands of which it leaves less than two fifths need not be found."""
    depth = torch.full((300, ROWS, COLUMNS), 1500, dtype=torch.uint16)
    depth[:, 34:94, 50:110] = 700
    scenes = FinderScenes(
        depth,
        torch.full((300,), 150.0),
        torch.tensor([79.5, 63.5, 700.0]).expand(300, 2, 3),
        torch.tensor([TARGET, NONE], dtype=torch.uint8).expand(300, 2),
    )

    def batch_of(share):
        monkeypatch.setattr(palm_detector_scenes, 'SPOT_SHARE', share)
        return varied(scenes, torch.arange(300), torch.Generator().manual_seed(0))

    plain, lit = batch_of(0.0), batch_of(1.0)
    lost = (plain.frame[:, 1] > 0) & (lit.frame[:, 1] == 0)
    assert ((lit.frame[:, 1] > 0) <= (plain.frame[:, 1] > 0)).all()
    assert (lost.any((1, 2))).float().mean() > 0.95
    of_hand = plain.frame[:, 0] < 1.15 * plain.palms[:, 0, 2, None, None] / 1000
    assert lost[of_hand].any() and not lost[~of_hand].any()
    rows, columns = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing='ij')
    aside = (columns - plain.palms[:, 0, 0, None, None]) ** 2 + (
        rows - plain.palms[:, 0, 1, None, None]
    ) ** 2
    near = of_hand & (aside.sqrt() * (plain.palms[:, 0, 2] / plain.focal)[:, None, None] < 90)
    left = 1 - (near & lost).sum((1, 2)) / (near & (plain.frame[:, 1] > 0)).sum((1, 2))
    was_target = plain.kind[:, 0] == TARGET
    kind = lit.kind[was_target, 0]
    assert set(kind.tolist()) == {IGNORED, TARGET}
    assert (kind == IGNORED).tolist() == (left[was_target] < 0.4).tolist()


# What it is to say


def test_targets_point_to_palms_and_hidden_hands_are_ignored():
    scenes = FinderScenes(
        torch.full((1, ROWS, COLUMNS), 700, dtype=torch.uint16),
        torch.tensor([150.0]),
        torch.tensor([[[41.0, 50.0, 600.0], [120.0, 80.0, 500.0]]]),
        torch.tensor([[TARGET, IGNORED]], dtype=torch.uint8),
    )
    closeness, mask, values, nearness = (
        t[0] for t in training.targets(as_rendered(scenes, torch.arange(1)))
    )
    row, column = divmod(closeness[0].argmax().item(), COLUMNS // CELL)
    du, dv, depth = values[:, row, column].tolist()
    assert closeness[0, row, column] == 1 == (closeness == 1).sum() and depth == pytest.approx(0.6)
    assert ((column + du) * CELL + 1.5, (row + dv) * CELL + 1.5) == pytest.approx((41.0, 50.0))
    assert mask[0, 20, 30] == 0 and mask[0, row, column] == 1 and nearness[0, 20, 30] == 0


def test_the_loss_is_least_for_who_says_the_truth(scenes):
    batch = as_rendered(scenes, torch.arange(16))
    truth = training.targets(batch)
    closeness, _, values, _ = truth
    output = torch.cat([torch.where(closeness == 1, 9.0, -9.0), values], 1)
    wrong = output.clone()
    wrong[:, 3] += 0.05
    silent = output.clone()
    silent[:, 0] = -9
    right, off, missed = (training.finder_loss(s, *truth).item() for s in (output, wrong, silent))
    assert right < 0.01 and off == pytest.approx(right + 0.5, abs=0.01) and missed > 5


# Its training


@pytest.fixture
def few_scenes(monkeypatch):
    """Six scenes a file."""
    monkeypatch.setattr(
        training,
        'render_finder_scenes',
        lambda count, seed, progress: render_finder_scenes(6, seed, progress),
    )


def test_a_run_renders_once_learns_and_goes_on(tmp_path, monkeypatch, few_scenes):
    # half of what a file holds: one for validation, two to learn from
    monkeypatch.setattr(training, 'SCENES_A_FILE', 750)
    config = FinderTrainConfig(scenes=1500, samples=8, batch=4, validate_every=8)
    training.train_finder(tmp_path, config)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob('scenes_*.pt')}
    assert sorted(files) == ['scenes_-1.pt', 'scenes_0.pt', 'scenes_1.pt']
    training.train_finder(tmp_path, replace(config, samples=16))
    assert files == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob('scenes_*.pt')}
    rows = list(csv.DictReader((tmp_path / 'log.csv').open()))
    assert [row['seen'] for row in rows] == ['8', '16'] and all(
        float(row['loss']) > 0 for row in rows
    )
    assert (
        PalmDetector(tmp_path / 'finder.onnx').find(np.zeros((480, 640), np.uint16), VGA, 150, 1500)
        == []
    )


def outputs(path, frames):
    """What a palm detector's file gives for frames (n,3,128,160)."""
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(None, {'frame': frame[None]})[0] for frame in frames])


def test_a_file_is_read_as_the_network_that_it_holds(scenes):
    frames = as_rendered(scenes, torch.arange(4)).frame
    expected = outputs(DEFAULT_FINDER, frames.numpy())
    network = read_finder(DEFAULT_FINDER)
    with torch.no_grad():
        assert np.abs(network(frames).numpy() - expected).max() < 1e-4
        measure_normalisation(network, [frames[:2], frames[2:]])
        assert np.abs(network(frames).numpy() - expected).max() < 1e-4
        # the inputs of each layer have the means and variances that it says
        stem = network.stem[0]
        inputs = stem[0](frames)
        assert torch.allclose(inputs.mean((0, 2, 3)), stem[1].running_mean, atol=1e-5)
        assert torch.allclose(
            inputs.var((0, 2, 3), unbiased=False), stem[1].running_var, rtol=1e-3, atol=1e-6
        )
        # so a step of training sees nearly the same network
        learning = network.train()(frames)
    assert np.abs(learning.numpy() - expected).mean() < 0.02 * np.abs(expected).mean()


def test_files_of_other_networks_are_no_palm_detectors(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.onnx'):
        read_finder(tmp_path / 'none.onnx')
    pose = tmp_path / 'pose.onnx'
    small = ModelConfig(stem=(4, 8), widths=(8,), blocks=(1,), crop_size=32)
    write_onnx(CompactNetwork(small).eval(), '', pose)
    with pytest.raises(ValueError, match='pose.onnx is no palm detector of this package'):
        read_finder(pose)
    for name in ('none.pt', 'none.onnx'):
        (tmp_path / name).write_bytes(b'PK\x03\x04 no model')
        with pytest.raises(ValueError, match=name):
            read_finder(tmp_path / name)
    (tmp_path / 'none.sha256').write_text(checksum(tmp_path / 'none.onnx'))  # whole, but no model
    with pytest.raises(ValueError, match='none.onnx is no ONNX file'):
        read_finder(tmp_path / 'none.onnx')
    wider = tmp_path / 'wider.onnx'
    write_finder(FinderNetwork(FinderConfig(decoder_width=40)), wider)
    with pytest.raises(ValueError, match=r'wider.onnx is no palm .* expected \[32, '):
        read_finder(wider)


def test_a_run_goes_on_from_a_file(tmp_path, monkeypatch, few_scenes):
    monkeypatch.setattr(training, 'NORMALISED', 256)
    config = FinderTrainConfig(
        scenes=1500, samples=4, batch=4, learning_rate=1e-9, init=str(DEFAULT_FINDER)
    )
    training.train_finder(tmp_path, config)
    frames = next(augmented(render_finder_scenes(6, 3), 32, 1)).numpy()[:4]
    expected, learnt = outputs(DEFAULT_FINDER, frames), outputs(tmp_path / 'finder.onnx', frames)
    assert np.abs(learnt - expected).mean() < 0.1 * np.abs(expected).mean()

    def anew(*_):
        raise AssertionError('a run that goes on has its normalisation')

    monkeypatch.setattr(training, 'measure_normalisation', anew)
    training.train_finder(tmp_path, replace(config, samples=8, validate_every=4))
    rows = list(csv.DictReader((tmp_path / 'log.csv').open()))
    assert [row['seen'] for row in rows] == ['4', '8']


def test_palm_detectors_are_averaged_by_shares(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(average, 'NORMALISED', 128)
    network = read_finder(DEFAULT_FINDER)
    with torch.no_grad():  # a shift of the last layer passes through the average as it is
        network.output.bias += torch.tensor([1.0, 0.0, 0.0, 0.0])
    other, mean = tmp_path / 'other.onnx', tmp_path / 'mean.onnx'
    write_finder(network, other)
    arguments = ['average', str(mean), str(DEFAULT_FINDER), str(other), '--shares', '1', '3']
    assert main([*arguments, '--scenes', '8']) == 0
    assert f'wrote {mean}' in capsys.readouterr().out
    moved = read_finder(mean).output.bias - read_finder(DEFAULT_FINDER).output.bias
    assert torch.allclose(moved, torch.tensor([0.75, 0.0, 0.0, 0.0]), atol=1e-5)
    frames = next(augmented(render_finder_scenes(8, 3), 32, 1)).numpy()[:4]
    expected = outputs(DEFAULT_FINDER, frames)
    expected[:, 0] += 0.75
    assert np.abs(outputs(mean, frames) - expected).mean() < 0.1 * np.abs(expected).mean()
    with pytest.raises(ValueError, match='two or more weights'):
        average.average_finders([other], mean)


def test_the_folder_of_another_run_is_named(tmp_path):
    torch.save({'network': nn.Linear(2, 2).state_dict()}, tmp_path / 'last.pt')
    with pytest.raises(ValueError, match='last.pt is of another network'):
        training.train_finder(tmp_path, FinderTrainConfig(scenes=1500))
    assert not list(tmp_path.glob('scenes_*.pt'))  # before anything was rendered


@pytest.mark.parametrize(
    'change, words',
    [({'scenes': 3}, 'at least 1500, got 3'), ({'batch': 0}, 'batch'), ({'ema': 1.0}, 'ema')],
)
def test_wrong_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        FinderTrainConfig(**change)


def test_a_training_state_with_the_old_name_of_the_last_layer_loads():
    network, other = FinderNetwork(), FinderNetwork()
    old = {name.replace('output.', 'said.'): value for name, value in network.state_dict().items()}
    assert 'said.weight' in old
    other.load_state_dict(old)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
