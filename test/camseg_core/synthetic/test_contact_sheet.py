# SPDX-License-Identifier: Apache-2.0
"""The picture of five conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from camseg_core.images.reading import read_image
from camseg_core.labels import CITYSCAPES
from camseg_core.synthetic.drive import SyntheticDrive
from camseg_core.synthetic.write import contact_sheet, write_contact_sheet


def test_columns_are_conditions_and_rows_images_and_classes() -> None:
    sheet = contact_sheet(2, (64, 32), (1, 2))
    assert sheet.shape == (4 * 32, 5 * 64, 3)
    fog = SyntheticDrive(2, 64, 32, "fog").frame(2)
    np.testing.assert_array_equal(sheet[64:96, 64:128], fog.image)
    np.testing.assert_array_equal(sheet[96:, 64:128], CITYSCAPES.color_image(fog.class_ids))


def test_the_file_is_small_enough_for_a_repository(tmp_path: Path) -> None:
    path = tmp_path / "images" / "sheet.jpg"
    write_contact_sheet(path, 2)
    assert read_image(path).shape == (640, 1600, 3)
    assert path.stat().st_size < 400_000
