# SPDX-License-Identifier: Apache-2.0
"""What pixels show: Cityscapes train ids by the names of their classes, and ground materials."""

from __future__ import annotations

from enum import IntEnum

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(8, 19)


class Ground(IntEnum):
    """Ground materials by rising priority: where two roads meet, the higher one shows.

    Those from GRASS to PAVING_SECOND lie a kerb higher than the road.
    """

    NOTHING = 0
    GRASS_LOW = 1
    SOIL_LOW = 2
    GRAVEL_LOW = 3
    GRASS = 4
    SOIL = 5
    GRAVEL = 6
    PAVING = 7
    PAVING_SECOND = 8
    LANE_PARKING = 9
    LANE = 10
