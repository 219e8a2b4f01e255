"""What our launch files use of launch and launch_ros, for machines that have ROS from wheels and so
lack both.

Names and behaviour are theirs, as far as test_launch.py needs them, which uses the real ones where
they are installed.
"""

import importlib.util
import os
import sys
from types import ModuleType


class Context:
    def __init__(self):
        self.launch_configurations = {}


class Action:
    def visit(self, context):
        return self.execute(context)


class LaunchDescription(Action):
    def __init__(self, entities=()):
        self.entities = list(entities)

    def execute(self, context):
        return self.entities


def perform(value, context):
    return value.perform(context) if hasattr(value, 'perform') else value


class LaunchConfiguration:
    def __init__(self, name):
        self.name = name

    def perform(self, context):
        return context.launch_configurations[self.name]


class DeclareLaunchArgument(Action):
    def __init__(self, name, *, default_value=None, description=None, choices=None):
        self.name, self.default, self.description, self.choices = (
            name,
            default_value,
            description,
            choices,
        )

    def execute(self, context):
        value = context.launch_configurations.setdefault(self.name, perform(self.default, context))
        if value is None or self.choices and value not in self.choices:
            raise RuntimeError(f"argument '{self.name}' is {value!r}, choices are {self.choices}")


class SetLaunchConfiguration(Action):
    def __init__(self, name, value):
        self.name, self.value = name, value

    def execute(self, context):
        context.launch_configurations[self.name] = perform(self.value, context)


class UnsetLaunchConfiguration(Action):
    def __init__(self, name):
        self.name = name

    def execute(self, context):
        context.launch_configurations.pop(self.name, None)


class SetEnvironmentVariable(Action):
    def __init__(self, name, value):
        self.name, self.value = name, value

    def execute(self, context):
        os.environ[self.name] = perform(self.value, context)


class OpaqueFunction(Action):
    def __init__(self, *, function):
        self.function = function

    def execute(self, context):
        return self.function(context)


class GroupAction(Action):
    """Scoped: what its actions set is undone behind them."""

    def __init__(self, actions):
        self.actions = actions

    def execute(self, context):
        configurations, environment = dict(context.launch_configurations), dict(os.environ)

        def leave(context):
            context.launch_configurations.clear()
            context.launch_configurations.update(configurations)
            os.environ.clear()
            os.environ.update(environment)

        return [*self.actions, OpaqueFunction(function=leave)]


class IncludeLaunchDescription(Action):
    def __init__(self, source, *, launch_arguments=()):
        self.source, self.arguments = source, launch_arguments

    def execute(self, context):
        spec = importlib.util.spec_from_file_location('launch_file', self.source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return [
            *(SetLaunchConfiguration(name, value) for name, value in self.arguments),
            module.generate_launch_description(),
        ]


class Shutdown(Action):
    def __init__(self, *, reason):
        self.reason = reason


def install(monkeypatch):
    """Put the fakes where `import launch` finds them."""
    modules = {
        'launch': dict(LaunchDescription=LaunchDescription, Action=Action, LaunchContext=Context),
        'launch.actions': dict(LogInfo=None)
        | {
            cls.__name__: cls
            for cls in (
                DeclareLaunchArgument,
                SetLaunchConfiguration,
                UnsetLaunchConfiguration,
                SetEnvironmentVariable,
                OpaqueFunction,
                GroupAction,
                IncludeLaunchDescription,
                Shutdown,
            )
        },
        'launch.substitutions': dict(LaunchConfiguration=LaunchConfiguration),
        'launch.launch_description_sources': dict(PythonLaunchDescriptionSource=lambda path: path),
        'launch_ros': {},
        'launch_ros.actions': dict(Node=None),
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
