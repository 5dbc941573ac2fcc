# SPDX-License-Identifier: Apache-2.0
"""Types of the arrays that pass between modules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
"""RGB images, class ids, confidence, probabilities in 255ths."""

Int64 = NDArray[np.int64]
"""Counts."""
