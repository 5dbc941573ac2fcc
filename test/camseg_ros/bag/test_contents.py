# SPDX-License-Identifier: Apache-2.0
from camseg_ros.bag.contents import BagLoss


def test_losses_add_up() -> None:
    first = BagLoss("a is torn", {"/a": 2, "/b": 1}, 0.5)
    second = BagLoss("b is torn", {"/a": 3}, 0.25)
    assert BagLoss.sum([]) is None
    assert BagLoss.sum([first]) == first
    found = BagLoss.sum([first, second])
    assert found == BagLoss("a is torn; b is torn", {"/a": 5, "/b": 1}, 0.75)
    # What one part does not know, nobody knows.
    unknown = BagLoss("a is torn", None, None)
    assert BagLoss.sum([first, unknown]) == unknown


def test_the_loss_in_words() -> None:
    loss = BagLoss("x.mcap is cut off", {"/a": 2, "/b": 1, "/c": 9}, 0.5)
    assert loss.frames(["/a", "/b", "/absent"]) == 3
    assert loss.line(["/a", "/b"]) == "damaged: x.mcap is cut off; lost: 3 frames, the last 0.500 s"
    assert BagLoss("torn", None, None).line(["/a"]) == (
        "damaged: torn; lost: an unknown number of frames, an unknown time"
    )
