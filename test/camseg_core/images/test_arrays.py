# SPDX-License-Identifier: Apache-2.0
"""Confidence is one thing, whatever library holds the probabilities."""

import numpy as np
import torch

from camseg_core.images.arrays import confidence_of


def test_confidence_is_the_largest_probability_in_numpy_and_torch() -> None:
    probabilities = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    probabilities[2, 1, 1] = np.nan
    confidence = confidence_of(probabilities)
    assert confidence.shape == (3, 4)
    assert confidence[0, 0] == max(probabilities[:, 0, 0])
    assert np.isnan(confidence[1, 1])
    tensor = confidence_of(torch.from_numpy(probabilities))
    np.testing.assert_array_equal(tensor.numpy(), confidence)
