# SPDX-License-Identifier: Apache-2.0
"""The player against a subscriber, over DDS: order, clock, repeats, offset, pause."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import made_bags as bags
import numpy as np
import pytest
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from camseg_core.errors import CamsegError
from camseg_ros.bag.camera_topics import CameraTopics, find_cameras
from camseg_ros.bag.reader import Bag, open_bag
from camseg_ros.bag.writer import BagWriter
from camseg_ros.messages.images import array_from_image_message, stamp_ns
from camseg_ros.node.dds_environment import use_free_domain
from camseg_ros.remote.node_client import NodeClient, ros_context
from camseg_ros.replay.live.bag_player import BagPlayer, PlaySettings

LIMIT_S = 30.0
RATE = 4.0


class Listener:
    def __init__(self, client: NodeClient) -> None:
        self.client = client
        self.stamps: list[int] = []
        self.clock_ns: list[int] = []
        self.clock_at: list[int] = []
        self.truth: list[Image] = []
        node = client.node
        node.create_subscription(Image, bags.CAMERA.image, self.on_image, 50)
        node.create_subscription(Image, str(bags.CAMERA.truth), self.truth.append, 50)
        node.create_subscription(Clock, "/clock", self.on_clock, 50)

    def on_image(self, message: Image) -> None:
        self.clock_at.append(self.clock_ns[-1] if self.clock_ns else 0)
        self.stamps.append(stamp_ns(message.header))

    def on_clock(self, message: Clock) -> None:
        self.clock_ns.append(message.clock.sec * 10**9 + message.clock.nanosec)

    def wait_for(self, count: int) -> None:
        self.client.wait(lambda: len(self.stamps) >= count, LIMIT_S, f"{count} images")


@pytest.fixture
def played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[BagPlayer, Bag, Listener]]:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    use_free_domain()
    path = bags.write_bag(tmp_path / "drive", 5)
    with ros_context() as context, open_bag(path) as bag:
        client = NodeClient(context, "listener")
        listener = Listener(client)
        player = BagPlayer(client.node, find_cameras(bag.topics))
        client.start()
        client.wait(player.is_heard, LIMIT_S, "the listener")
        yield player, bag, listener
        player.stop()
        client.close()


def stamps(*places: int) -> list[int]:
    return [(place + 1) * bags.STEP_NS for place in places]


def test_every_frame_comes_once_in_order_with_truth_and_clock(
    played: tuple[BagPlayer, Bag, Listener],
) -> None:
    player, bag, listener = played
    count: list[int] = []
    player.play_bag(bag, PlaySettings(speed=RATE), lambda: count.append(1))
    listener.wait_for(5)
    listener.client.wait(lambda: len(listener.truth) == 5, LIMIT_S, "the truth")
    assert listener.stamps == stamps(0, 1, 2, 3, 4)
    assert len(count) == 5
    traffic = player.traffic[bags.CAMERA.name]
    assert ([*traffic.sent_ns], traffic.played) == (listener.stamps, 5)
    assert listener.clock_ns == sorted(listener.clock_ns)
    # An image never comes before its time.
    for clock_ns, stamp in zip(listener.clock_at[1:], listener.stamps[1:], strict=True):
        assert clock_ns >= stamp - 2 * bags.STEP_NS


def test_loops_and_start_offset(played: tuple[BagPlayer, Bag, Listener]) -> None:
    player, bag, listener = played
    player.play_bag(bag, PlaySettings(speed=RATE, loops=2, start_offset_s=0.25))
    listener.wait_for(4)
    assert listener.stamps == stamps(3, 4, 3, 4)
    assert player.traffic[bags.CAMERA.name].played == 4
    sent_ns = player.traffic[bags.CAMERA.name].sent_ns
    assert sorted(sent_ns) == stamps(3, 4)
    assert sent_ns[stamps(4)[0]] > sent_ns[stamps(3)[0]]
    assert min(listener.clock_ns) >= stamps(0)[0] + 250_000_000
    with pytest.raises(CamsegError, match=r"the start offset is 0\.5 s, but .* is 0\.400 s long$"):
        player.play_bag(bag, PlaySettings(start_offset_s=0.5))


def test_an_image_of_a_stamp_that_was_played_is_left_out_as_offline(
    played: tuple[BagPlayer, Bag, Listener], tmp_path: Path
) -> None:
    player, _, listener = played
    with BagWriter(tmp_path / "odd") as writer:
        for log_ns, index in enumerate((1, 0, 1, 2), start=1):
            writer.write(bags.CAMERA.image, bags.noise_image(index), log_ns)
    with open_bag(tmp_path / "odd") as odd:
        player.play_bag(odd, PlaySettings(speed=RATE, loops=2))
    listener.wait_for(6)
    assert listener.stamps == stamps(1, 0, 2) * 2
    assert player.traffic[bags.CAMERA.name].played == 6


def test_pause_stops_time_and_resume_goes_on(played: tuple[BagPlayer, Bag, Listener]) -> None:
    player, bag, listener = played
    player.running.clear()
    thread = threading.Thread(target=player.play_bag, args=(bag, PlaySettings()))
    thread.start()
    assert not listener.client.wait(lambda: bool(listener.stamps), 0.3)
    started = time.monotonic()
    player.running.set()
    listener.wait_for(2)
    paused = time.monotonic()
    player.running.clear()
    seen = len(listener.clock_ns)
    before = len(listener.stamps)
    assert not listener.client.wait(lambda: len(listener.clock_ns) > seen + 3, 0.5)
    assert len(listener.stamps) <= before + 1
    started += time.monotonic() - paused
    player.running.set()
    listener.wait_for(5)
    thread.join()
    assert time.monotonic() - started > 0.3  # of the 0.4 s that the bag is long
    assert listener.stamps == stamps(0, 1, 2, 3, 4)


def test_stop_ends_an_endless_play(played: tuple[BagPlayer, Bag, Listener]) -> None:
    player, bag, listener = played
    thread = threading.Thread(target=player.play_bag, args=(bag, PlaySettings(speed=50.0, loops=0)))
    thread.start()
    listener.wait_for(12)
    player.stop()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert listener.stamps[:10] == stamps(0, 1, 2, 3, 4) * 2


def test_compressed_truth_is_played_raw_and_what_cannot_be_read_is_left_out(
    played: tuple[BagPlayer, Bag, Listener], tmp_path: Path
) -> None:
    player, _, listener = played
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    packed = CompressedImage(header=bags.header(7), format="png")
    packed.data = array("B", cv2.imencode(".png", ids)[1].tobytes())
    torn = CompressedImage(header=bags.header(8), format="png", data=packed.data[:9])
    with BagWriter(tmp_path / "odd") as writer:
        for log_ns, message in enumerate((torn, packed), start=1):
            writer.write(str(bags.CAMERA.truth), message, log_ns)
    with open_bag(tmp_path / "odd") as odd:
        player.play_bag(odd, PlaySettings())
    listener.client.wait(lambda: bool(listener.truth), LIMIT_S, "the truth")
    (found,) = listener.truth
    assert (found.encoding, found.header.stamp.nanosec) == ("mono8", 7)
    assert np.array_equal(array_from_image_message(found), ids)


@pytest.mark.parametrize("topic", ["/0cam/image", "/my-cam/image"])
def test_names_that_ros_2_does_not_know(topic: str) -> None:
    with ros_context() as context:
        client = NodeClient(context, "player")
        with pytest.raises(CamsegError, match=f"^topic '{topic}' cannot be played: parts of lett"):
            BagPlayer(client.node, [CameraTopics("cam", topic)])
        client.close()
