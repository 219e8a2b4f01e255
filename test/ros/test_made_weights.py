"""Weights that make-weights wrote, after it was killed and resumed, in a tracker node."""

import signal

import numpy as np
import pytest
import tiny_make_weights
from fakes import HEIGHT, WIDTH, Camera, image
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.parameter import Parameter

from awr_ros.msg import HandArray
from awr_ros.ros.node import TrackerNode
from awr_ros.weight_files import checksum

IMAGES = 10


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp('made')
    killed = tiny_make_weights.run(folder, 'network 8')
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert not (folder / 'weights.pt').exists()
    done = tiny_make_weights.run(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / 'weights.pt'


@pytest.mark.timeout(300)
@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_a_node_tracks_with_weights_of_a_resumed_run(
    engine, bench, weights, diagnostics, tmp_path, monkeypatch
):
    pytest.importorskip(engine)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    settings = dict(
        weights=str(weights), engine=engine, device='cpu', num_threads=1, finder='nearest'
    )
    node = bench.add(
        TrackerNode(parameter_overrides=[Parameter(name, value=v) for name, v in settings.items()])
    )
    node.autostart()
    state = bench.call(GetState, 'tracker/get_state', GetState.Request()).current_state
    assert state.id == State.PRIMARY_STATE_ACTIVE, node._failure

    loaded, passes = node._tracker.estimator.engine, []
    assert loaded.config.crop_size == 64 and '16 training samples' in loaded.description
    predict = loaded.predict
    monkeypatch.setattr(loaded, 'predict', lambda crops: (passes.append(crops), predict(crops))[1])

    camera, hands = Camera(bench.client), bench.listen(HandArray, 'tracker/hands')
    bench.until(camera.connected, 'the node to find the camera')
    camera.info()
    bench.until(lambda: node._info, 'camera_info')
    bench.until(
        lambda: node._outputs.hands_pub.get_subscription_count(), 'the hands to have a listener'
    )
    depth_mm = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    depth_mm[8:18, 12:22] = 500  # as large as a hand
    for number in range(IMAGES):
        camera.image(image(100 + number / 30, depth_mm=depth_mm))
        bench.until(lambda: len(hands) > number, 'the hands of an image')
    assert len(hands) == IMAGES and len(passes) >= IMAGES
    assert [
        round(30 * (h.header.stamp.sec + 1e-9 * h.header.stamp.nanosec - 100)) for h in hands
    ] == [*range(IMAGES)]
    joints = [joint for array in hands for hand in array.hands for joint in hand.joints]
    assert all(np.isfinite([joint.x, joint.y, joint.z]).all() for joint in joints)

    def named():
        return any(
            value.key == 'engine' and str(weights) in value.value
            for message in diagnostics._heard
            for status in message.status
            if status.name == 'tracker: tracking'
            for value in status.values
        )

    bench.until(named, 'diagnostics with the name of the weights')
    assert checksum(weights) in weights.with_suffix('.sha256').read_text()
