"""Camera info given by the user: four numbers, or a file."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import yaml

WANTED = 'expected fx,fy,cx,cy in pixels, or a YAML or JSON file with a camera info'


def given_camera_info(text: str) -> Callable:
    """Return a function (width, height) -> fields of sensor_msgs/CameraInfo, from 'fx,fy,cx,cy'
    [px] or the path of a file.

    The file is a CameraInfo (output of `ros2 topic echo --once .../camera_info`), the output of
    camera_calibration (camera_matrix, ...), or has the keys fx, fy, cx, cy. Without a size in it,
    the camera is for images of any size.
    """
    if Path(text).is_file():
        values = _read(text)
        try:
            fields = _fields(values)
        except KeyError as error:
            raise ValueError(f'{text} has no {error}; {WANTED}') from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f'{text}: {error}; {WANTED}') from None
    else:
        try:
            fields = _pinhole(*text.split(','))
        except (TypeError, ValueError):
            raise ValueError(
                f"--intrinsics is '{text}', and there is no such file; {WANTED}"
            ) from None

    def info(width, height):
        return SimpleNamespace(**{'width': width, 'height': height, **fields})

    return info


def _read(path):
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
        # The first document: `ros2 topic echo` ends with the mark of a second, empty one.
        values = (
            json.loads(text) if path.endswith('.json') else next(yaml.safe_load_all(text), None)
        )
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError) as error:
        raise ValueError(f'{path}: {" ".join(str(error).split())[:300]}') from None
    except RecursionError:
        raise ValueError(f'{path}: its lists lie in one another too deep') from None
    if not isinstance(values, dict):
        raise ValueError(f'{path} has no keys; {WANTED}')
    return values


def _fields(values):
    """Return the fields of a CameraInfo used by awr_ros.messages.depth_camera, from one of the
    three kinds of file.
    """
    if 'fx' in values:
        fields = _pinhole(*(values[key] for key in ('fx', 'fy', 'cx', 'cy')))
        return {**fields, **{key: int(values[key]) for key in ('width', 'height') if key in values}}
    if 'camera_matrix' in values:
        lens = values.get('distortion_coefficients') or {}
        projection = values.get('projection_matrix') or {}
        return {
            **_matrices(values['camera_matrix']['data'], projection.get('data')),
            'd': [float(value) for value in lens.get('data', ())],
            'distortion_model': values.get('distortion_model', 'plumb_bob'),
            'width': int(values['image_width']),
            'height': int(values['image_height']),
        }
    roi = values.get('roi') or {}
    return {
        **_matrices(values['k'], values.get('p')),
        'd': [float(value) for value in values.get('d', ())],
        'distortion_model': values.get('distortion_model', 'plumb_bob'),
        'width': int(values['width']),
        'height': int(values['height']),
        'binning_x': int(values.get('binning_x', 0)),
        'binning_y': int(values.get('binning_y', 0)),
        'roi': SimpleNamespace(**{key: int(roi.get(key, 0)) for key in vars(NO_ROI)}),
    }


NO_ROI = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)  # 0: the whole image


def _pinhole(fx, fy, cx, cy):
    return _matrices([fx, 0, cx, 0, fy, cy, 0, 0, 1])


def _matrices(k, p=None):
    p = p or [0.0] * 12
    if len(k) != 9 or len(p) != 12:
        raise ValueError(
            f'the camera matrix has {len(k)} numbers, expected 9, and the projection matrix '
            f'{len(p)}, expected 12'
        )
    return {
        'k': [float(value) for value in k],
        'p': [float(value) for value in p],
        'd': [],
        'distortion_model': '',
        'binning_x': 0,
        'binning_y': 0,
        'roi': NO_ROI,
    }
