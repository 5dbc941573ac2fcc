# SPDX-License-Identifier: Apache-2.0
"""Numbers of the Cityscapes classes, by name."""

from __future__ import annotations

from camseg_core.labels import CITYSCAPES

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(8, 19)

NAMES = CITYSCAPES.names
