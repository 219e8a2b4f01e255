"""The network's shapes and sizes, and checkpoints that describe themselves and say what is wrong
with them.
"""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from awr_ros.networks.checkpoint import (
    COMPACT_M,
    COMPACT_S,
    CompactNetwork,
    HourglassConfig,
    ModelConfig,
    ResNet,
    ResNetConfig,
    StackedHourglass,
    checksum,
    load_checkpoint,
    save_checkpoint,
)
from awr_ros.networks.refiner import (
    DEPTH_RANGE,
    PATCH_SIZE,
    PATCH_STEP,
    Refiner,
    pool_votes,
    sample_patches,
)
from awr_ros.offset_field import decode, vote
from awr_ros.skeleton import JOINT_NAMES
from awr_ros.weight_files import save_with_checksum

TINY = ModelConfig(
    stem=(4, 8),
    widths=(8, 16),
    blocks=(1, 1),
    decoder_width=8,
    crop_size=32,
    cube_mm=250.0,
    kernel_size=0.7,
)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    network = CompactNetwork(TINY)
    network.train()
    network(torch.rand(4, 1, 32, 32))  # batch statistics that are not the initial ones
    return network.eval()


@pytest.mark.parametrize(
    'config, shape',
    [
        (COMPACT_S, (84, 32, 32)),
        (TINY, (84, 8, 8)),
        (
            ModelConfig(
                widths=(8, 16, 24), blocks=(1, 2, 1), joint_names=JOINT_NAMES[:14], crop_size=96
            ),
            (56, 24, 24),
        ),
    ],
)
def test_field_and_logit_have_the_documented_shapes(config, shape):
    with torch.no_grad():
        field, logit = CompactNetwork(config).eval()(
            torch.rand(2, 1, config.crop_size, config.crop_size)
        )
    assert field.shape == (2, *shape) and logit.shape == (2,)
    assert config.field_size == shape[-1]


# Pinned: shipped weights fit these networks only.
@pytest.mark.parametrize('config, count', [(COMPACT_S, 1_377_989), (COMPACT_M, 4_488_325)])
def test_parameter_counts_of_s_and_m(config, count):
    assert sum(p.numel() for p in CompactNetwork(config).parameters()) == count


def test_every_stage_reaches_the_field():
    network = CompactNetwork(TINY)
    field, logit = network(torch.rand(2, 1, 32, 32))
    (field.square().sum() + logit.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize(
    'change, message',
    [
        ({'widths': (8, 16, 32)}, 'widths and blocks'),
        ({'crop_size': 36}, 'multiple of 8, got 36'),
        ({'crop_size': 0}, 'multiple of 8, got 0'),
        ({'crop_size': -8}, 'got -8'),
        ({'cube_mm': 0.0}, 'cube_mm'),
        ({'kernel_size': -0.1}, 'kernel_size'),
        ({'refiner': -1}, 'refiner must be at least 0'),
        ({'kernel_size': float('nan')}, 'kernel_size'),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    fields = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**fields, **change})


def test_configurations_from_lists_equal_those_from_tuples():
    assert (
        ModelConfig(widths=[32, 64, 128, 256], stem=[16, 32], joint_names=list(JOINT_NAMES))
        == COMPACT_S
    )
    assert hash(ModelConfig(blocks=[1, 1, 1, 1])) == hash(COMPACT_S)


def test_a_checkpoint_comes_back_as_it_was_up_to_half_precision(tiny, tmp_path):
    path = tmp_path / 'folder' / 'weights.pt'
    save_checkpoint(path, tiny, 1234, {'mean_mm': 9.5})
    network, about = load_checkpoint(path)
    assert network.config == TINY and not network.training
    assert (
        about['step'] == 1234 and about['metrics'] == {'mean_mm': 9.5} and 'state_dict' not in about
    )
    assert (
        tuple(about['config']['joint_names']) == JOINT_NAMES and about['config']['cube_mm'] == 250.0
    )
    before, after = tiny.state_dict(), network.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name].dtype == value.dtype
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-6)  # 11 bits of mantissa
    crop = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for one, two in zip(tiny(crop), network(crop)):
            torch.testing.assert_close(one, two, atol=2e-2, rtol=2e-2)


def test_the_checksum_lies_beside_and_covers_the_file(tiny, tmp_path):
    path = tmp_path / 'weights.pt'
    save_checkpoint(path, tiny, 1, {})
    assert (tmp_path / 'weights.sha256').read_text() == f'{checksum(path)}  weights.pt\n'
    load_checkpoint(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # one bit of the weights
    path.write_bytes(data)
    with pytest.raises(ValueError, match='SHA-256') as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)


def test_weights_without_a_checksum_file_load(tiny, tmp_path):
    path = tmp_path / 'weights.pt'
    save_checkpoint(path, tiny, 1, {})
    path.with_suffix('.sha256').unlink()
    assert load_checkpoint(path)[0].config == TINY


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / 'none.pt')):
        load_checkpoint(tmp_path / 'none.pt')


class Opener:
    """What a hostile pickle would be: unpickling it runs code."""

    def __reduce__(self):
        return exec, ('raise SystemExit("code of the checkpoint ran")',)


@pytest.mark.parametrize(
    'write, reason',
    [
        (lambda path, good: path.write_bytes(b''), 'cannot be read'),
        (lambda path, good: path.write_bytes(b'no checkpoint at all'), 'cannot be read'),
        (lambda path, good: path.write_bytes(good.read_bytes()[:2000]), 'cannot be read'),
        (
            lambda path, good: torch.save({'format': 'awr_ros checkpoint 1', 'x': Opener()}, path),
            'cannot be read',
        ),
        (lambda path, good: torch.save([1, 2, 3], path), 'no checkpoint of this package'),
        (lambda path, good: torch.save({'model': {}}, path), 'no checkpoint of this package'),
        (
            lambda path, good: resave(path, good, format='awr_ros checkpoint 0'),
            'no checkpoint of this package',
        ),
        (lambda path, good: resave(path, good, state_dict={}), 'do not fit'),
        (lambda path, good: resave(path, good, config={'colour': 'red'}), 'do not fit'),
        (lambda path, good: resave(path, good, config={'widths': (8, 16)}), 'do not fit'),
        (
            lambda path, good: resave(
                path,
                good,
                config={
                    'stem': (4, 8),
                    'widths': (8, 32),
                    'blocks': (1, 1),
                    'decoder_width': 8,
                    'crop_size': 32,
                },
            ),
            'do not fit',
        ),
    ],
)
def test_damaged_or_foreign_files_name_path_and_reason(tiny, tmp_path, write, reason):
    good, path = tmp_path / 'good.pt', tmp_path / 'bad.pt'
    save_checkpoint(good, tiny, 1, {})
    write(path, good)
    with pytest.raises(ValueError, match=reason) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    'change',
    [
        {'made_by': None},
        {'step': '7'},
        {'step': None},
        {'metrics': []},
        {'network': ['compact']},
        {'network': 'tree'},
        {'config': None},
        {'config': {'crop_size': '32'}},
        {'config': {'crop_size': 32.0}},
        {'config': {'crop_size': 33}},
        {'config': {'crop_size': 2**40}},
        {'config': {'widths': 8}},
        {'config': {'widths': (8, 'x')}},
        {'config': {'blocks': (10**9, 1)}},
        {'config': {'cube_mm': None}},
        {'config': {'kernel_size': float('inf')}},
        {'config': {'joint_names': (1, 2)}},
        {'config': {3: 4}},
        {'state_dict': None},
        {'state_dict': {'a': 1}},
        {'state_dict': [1]},
    ],
)
def test_a_hostile_description_is_a_value_error(tiny, tmp_path, change):
    good, path = tmp_path / 'good.pt', tmp_path / 'bad.pt'
    save_checkpoint(good, tiny, 1, {})
    config = {**torch.load(good, weights_only=True)['config'], **(change.get('config') or {})}
    resave(path, good, **({'config': config} if isinstance(change.get('config'), dict) else change))
    with pytest.raises(ValueError, match='bad.pt do not fit their own description'):
        load_checkpoint(path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tiny, tmp_path, value):
    with torch.no_grad():
        tiny.field.weight[0, 0] = value
    save_checkpoint(tmp_path / 'w.pt', tiny, 1, {})
    with pytest.raises(ValueError, match='w.pt are not finite'):
        load_checkpoint(tmp_path / 'w.pt')


class Killed(BaseException):
    pass


@pytest.mark.parametrize('moment', range(20))
def test_a_save_that_is_killed_leaves_the_old_or_the_new_file(tiny, tmp_path, monkeypatch, moment):
    """Killed at each of the calls that change the disk: between torch.save and the last rename
    there are at most 20.
    """
    path, calls = tmp_path / 'weights.pt', iter(range(99))
    save_checkpoint(path, tiny, 1, {})

    def counted(call):
        def wrapped(*arguments, **options):
            if next(calls) == moment:
                raise Killed
            return call(*arguments, **options)

        return wrapped

    for owner, name in (
        (torch, 'save'),
        (os, 'fsync'),
        (Path, 'replace'),
        (Path, 'write_bytes'),
        (Path, 'read_bytes'),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    try:
        save_checkpoint(path, tiny, 2, {})
    except Killed:
        pass
    monkeypatch.undo()
    assert load_checkpoint(path)[1]['step'] in (1, 2) and not list(tmp_path.glob('.*'))
    save_checkpoint(path, tiny, 3, {})
    assert (
        load_checkpoint(path)[1]['step'] == 3
        and len((tmp_path / 'weights.sha256').read_text().splitlines()) == 1
    )


def test_a_full_disk_leaves_the_old_file(tiny, tmp_path):
    save_checkpoint(tmp_path / 'w.pt', tiny, 1, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError):
            save_checkpoint(tmp_path / 'w.pt', tiny, 2, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(tmp_path / 'w.pt')[1]['step'] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['w.pt', 'w.sha256']


def resave(path, good, **change):
    torch.save({**torch.load(good, weights_only=True), **change}, path)


# ---- the refiner


def test_an_untrained_refiner_moves_no_joint():
    network = CompactNetwork(replace(TINY, refiner=8)).eval()
    depth = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        field, *rest = network.forward_features(depth)
        out = network.read_out(field, depth, *rest)
        expected, confidence = decode(field, depth, TINY.kernel_size)
    for got, want in (
        (out.joints_uvdn, expected),
        (out.voted_uvdn, expected),
        (out.closeness, confidence),
        (out.joint_scores, torch.full((3, 21), 0.5)),
    ):
        torch.testing.assert_close(got, want)


def test_a_stray_pixel_does_not_outvote_the_hand():
    network = CompactNetwork(replace(TINY, refiner=8)).eval()
    depth, crop_features = torch.ones(1, 1, 32, 32), torch.zeros(1, TINY.widths[-1])
    depth[:, :, 8:20, 8:20] = 0.1
    field = torch.rand(1, 84, 8, 8)
    field[:, 63:, 7, 7] = 5  # it claims more than any pixel of the hand
    stray = depth.clone()
    stray[:, :, 28, 28] = 0.9
    with torch.no_grad():
        got, want = (
            network.read_out(field, seen, torch.zeros(1), crop_features) for seen in (stray, depth)
        )
        torch.testing.assert_close(got.joints_uvdn, want.joints_uvdn)
        torch.testing.assert_close(got.joint_scores, want.joint_scores)
        assert (
            vote(field, stray, TINY.kernel_size)[0] - vote(field, depth, TINY.kernel_size)[0]
        ).abs().max() > 0.1


def test_claims_are_what_the_voters_of_each_joint_say_on_average():
    torch.manual_seed(0)
    field, depth = torch.randn(2, 20, 8, 8), torch.rand(2, 1, 32, 32)
    *_, weights = vote(field, depth, 0.7)
    expected = torch.einsum('bjuv,bcuv->bjc', weights.unflatten(2, (8, 8)), field)
    torch.testing.assert_close(pool_votes(field, weights), expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))


def test_around_a_joint_depth_is_seen_relative_to_it():
    """A ramp across the crop, and a joint whose window leaves it."""
    column = (torch.arange(128) + 0.5) / 64 - 1
    depth = 0.2 * column.expand(2, 1, 128, 128)
    joints = torch.tensor(
        [[[0.0, 0.0, 0.05], [0.99, -0.99, 0.2]], [[0.2, 0.1, -5.0], [0.0, 0.0, 5.0]]]
    )
    seen = sample_patches(depth, joints)
    assert seen.shape == (2, 2, PATCH_SIZE, PATCH_SIZE)
    offsets = PATCH_STEP * (torch.arange(PATCH_SIZE) - (PATCH_SIZE - 1) / 2)
    torch.testing.assert_close(
        seen[0, 0],
        (0.2 * offsets - 0.05).expand(PATCH_SIZE, PATCH_SIZE),
        atol=0.2 / 128 + 1e-6,
        rtol=0,
    )
    # the border's
    torch.testing.assert_close(
        seen[0, 1, :, -1], torch.full((PATCH_SIZE,), 0.2 * column[-1].item() - 0.2)
    )
    assert (seen[1, 0] == DEPTH_RANGE).all() and (seen[1, 1] == -DEPTH_RANGE).all()
    upright = sample_patches(depth.transpose(2, 3).contiguous(), joints[..., [1, 0, 2]])
    torch.testing.assert_close(upright, seen.transpose(2, 3))


@pytest.mark.timeout(600)  # it takes seconds, but on a busy machine minutes
def test_a_refiner_learns_where_a_joint_is_from_the_others():
    """Joints on a line, of which the last one has no votes worth the name."""
    torch.manual_seed(0)
    ends = torch.rand(256, 2, 3) - 0.5
    truth = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.linspace(0, 1, 5)[:, None]
    features = torch.cat([truth[:, :4], torch.zeros(256, 1, 3)], 1)
    refiner = Refiner(5, 4, 16)
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=3e-3)

    def error(some):
        count = len(features[some])
        joints, _ = refiner(
            features[some],
            torch.ones(count, 5),
            torch.zeros(count, 5, 20),
            torch.zeros(count, 4),
            torch.ones(count, 1, 32, 32),
        )
        return (joints - truth[some]).abs().mean()

    trained, held_out = slice(0, 192), slice(192, 256)
    before = error(held_out).item()
    for _ in range(200):
        optimizer.zero_grad()
        error(trained).backward()
        optimizer.step()
    assert error(held_out).item() < 0.5 * before


def test_what_voters_claim_and_the_crop_as_a_whole_are_heard():
    torch.manual_seed(0)
    refiner = Refiner(5, 4, 16)
    for stage in refiner.stages:
        for layer in (*stage.to_joints, stage.head):
            torch.nn.init.normal_(layer.weight)
    given = [
        torch.rand(2, 5, 3),
        torch.rand(2, 5),
        torch.rand(2, 5, 20),
        torch.rand(2, 4),
        0.2 * torch.rand(2, 1, 32, 32),
    ]
    for part in given:
        part.requires_grad_()
    for output in refiner(*given):
        assert output.is_contiguous()  # as messages and files want them
        heard = torch.autograd.grad(output.sum(), given, retain_graph=True)
        assert all(part.abs().sum() > 0 for part in heard)


def test_a_checkpoint_with_the_names_of_the_format_before_loads(tmp_path):
    network = CompactNetwork(replace(TINY, refiner=8, handedness=8)).eval()
    network.config = replace(network.config, upright=True, detection_weights=(1.0, 2.0, 3.0, 4.0))
    save_checkpoint(tmp_path / 'new.pt', network, 7, {'hand_accuracy': 0.5}, {'by': 'a test'})
    checkpoint = torch.load(tmp_path / 'new.pt', weights_only=True)
    before = {
        'handedness.': 'judge.',
        'refiner.pooled_votes.': 'refiner.claimed.',
        'refiner.crop_features.': 'refiner.summary.',
        'refiner.global_features.': 'refiner.overview.',
        '.patch_encoder.encoder.': '.look.eyes.',
        '.patch_encoder.head.': '.look.tell.',
        '.embed.': '.first.',
        '.to_hidden.': '.gather.',
        '.to_joints.': '.spread.',
        '.update.': '.then.',
        '.head.': '.last.',
    }
    state = {}
    for name, value in checkpoint['state_dict'].items():
        for new, old in before.items():
            name = name.replace(new, old)
        state[name] = value
    config = dict(checkpoint['config'])
    for new, old in (
        ('upright', 'aligned'),
        ('handedness', 'judge'),
        ('detection_weights', 'start'),
    ):
        config[old] = config.pop(new)
    old = {
        'format': 'awr_ros checkpoint 1',
        'network': 'compact',
        'config': config,
        'step': 7,
        'metrics': {'hand_told': 0.5},
        'recipe': {'by': 'a test'},
        'state_dict': state,
    }
    assert len(state) == len(checkpoint['state_dict'])
    assert not set(state) & {name for name in checkpoint['state_dict'] if 'stages.0.embed' in name}
    save_with_checksum(tmp_path / 'old.pt', lambda part: torch.save(old, part))
    loaded, about = load_checkpoint(tmp_path / 'old.pt')
    again, about_new = load_checkpoint(tmp_path / 'new.pt')
    assert loaded.config == again.config == network.config
    assert about == about_new and about['metrics'] == {'hand_accuracy': 0.5}
    for name, value in again.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize('network', [ResNet(ResNetConfig()), StackedHourglass(HourglassConfig())])
def test_old_checkpoints_of_the_networks_of_the_paper_load(tmp_path, network):
    save_checkpoint(tmp_path / 'new.pt', network, 7, {})
    old = torch.load(tmp_path / 'new.pt', weights_only=True)
    old['format'] = 'awr_ros checkpoint 1'
    old['config']['aligned'] = not old['config'].pop('upright')
    save_with_checksum(tmp_path / 'old.pt', lambda part: torch.save(old, part))
    loaded, _ = load_checkpoint(tmp_path / 'old.pt')
    assert loaded.config == replace(network.config, upright=True)
