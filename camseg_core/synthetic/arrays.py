# SPDX-License-Identifier: Apache-2.0
"""Types of the arrays that pass between the modules of the synthetic drive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Index = NDArray[np.intp]
"""Positions in another array."""
