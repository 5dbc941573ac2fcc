# SPDX-License-Identifier: Apache-2.0
import pytest

from camseg_core.errors import CamsegError
from camseg_core.labels import CAMVID
from camseg_ros.bag.about import AboutDrive


@pytest.mark.parametrize(
    "about", [AboutDrive(), AboutDrive(CAMVID, "camvid", "val", "p", "fog", "0016E5")]
)
def test_comes_back(about: AboutDrive) -> None:
    assert AboutDrive.from_json(about.to_json()) == about


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"label_set": 3}', '{"label_set": null, "x": 1}']
)
def test_what_is_something_else(text: str) -> None:
    with pytest.raises(CamsegError, match="is not readable"):
        AboutDrive.from_json(text)
