"""The command line: every package registers its verbs, and options that do not fit are named."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from awr_ros.__main__ import COMMANDS, main
from awr_ros.tracker_config import TRACKER_SETTINGS

VERBS = (
    'track train average train-refiner train-handedness train-judge train-finder make-weights evaluate '
    'render import export bench conformance view'
).split()


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_has_a_help_text(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, '--help'])
    assert end.value.code == 0 and 'show this help message' in capsys.readouterr().out


@pytest.mark.parametrize('name', COMMANDS)
def test_what_a_verb_imports_when_it_runs_is_there(name):
    """Imports inside functions are seen by no other test until somebody runs the verb."""
    tree = ast.parse(Path(import_module(name).__file__).read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module.startswith('awr_ros.')
            and not node.module.startswith('awr_ros.ros.')
        ):
            module = import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f'{name} imports {missing} from {node.module}'


@pytest.mark.parametrize(
    'words, error',
    [
        (['--network', 'resnet_18'], '--network: only with --dataset'),
        (['--dataset', 'nyu'], '--dataset needs --root'),
        (['--dataset', 'nyu', '--root', '.', '--negatives', '3'], '--negatives: only without'),
        (['--samples', '0'], 'samples must be at least 1'),
        (['--dataset', 'nyu', '--root', '.', '--batch', '0'], 'batch must be at least 1'),
    ],
)
def test_train_names_options_that_do_not_fit(tmp_path, capsys, words, error):
    assert main(['train', str(tmp_path), *words]) == 1
    assert error in capsys.readouterr().err


def test_options_with_two_defaults_keep_that_of_their_configuration(monkeypatch, tmp_path):
    import awr_ros.datasets.train
    import awr_ros.training.train

    seen = []
    monkeypatch.setattr(awr_ros.training.train, 'train', lambda _, config: seen.append(config))
    monkeypatch.setattr(
        awr_ros.datasets.train, 'train_on_dataset', lambda *given: seen.append(given[-1])
    )
    assert main(['train', str(tmp_path), '--seed', '7']) == 0
    assert main(['train', str(tmp_path), '--dataset', 'nyu', '--root', '.', '--seed', '7']) == 0
    assert [(config.batch, config.seed) for config in seen] == [(64, 7), (32, 7)]


@pytest.mark.parametrize('name', [each.name for each in TRACKER_SETTINGS if each.range])
def test_track_refuses_values_out_of_range_and_names_the_range(name, capsys):
    setting = next(each for each in TRACKER_SETTINGS if each.name == name)
    with pytest.raises(SystemExit):
        main(['track', 'x', f'--{name.replace("_", "-")}', str(int(setting.range[1]) + 1)])
    assert f'from {setting.limits}' in capsys.readouterr().err


COUNTS = {
    'render': ['--crops', '--scenes', '--bag', '--seed'],
    'evaluate': ['--crops', '--scenes', '--seconds', '--sequences', '--off-axis'],
    'bench': ['--repeats', '--seconds'],
    'conformance': ['--seconds'],
    'train': ['--samples', '--batch', '--learning-rate', '--weight-decay', '--seed', '--workers'],
    'train-refiner': ['--crops', '--workers'],
    'train-handedness': ['--crops', '--scenes'],
    'train-finder': ['--scenes', '--seed'],
    'make-weights': ['--minutes', '--validation', '--scenes', '--evaluated-seconds', '--workers'],
}


@pytest.mark.parametrize('value', ['-1', 'nan', 'inf', '-inf', '1e400', ''])
@pytest.mark.parametrize(
    'verb, option', [(verb, option) for verb, options in COUNTS.items() for option in options]
)
def test_numbers_that_are_none_are_refused_before_the_work(verb, option, value, tmp_path, capsys):
    """Counts below 0 ended in tracebacks of torch, times that are none in divisions by zero."""
    output = [] if verb in ('evaluate', 'bench', 'conformance') else [str(tmp_path / 'o')]
    with pytest.raises(SystemExit):
        main([verb, *output, f'{option}={value}'])
    said = capsys.readouterr().err.splitlines()[-1]
    assert option in said and ' is not a' in said and 'or more' in said
    assert list(tmp_path.iterdir()) == []
