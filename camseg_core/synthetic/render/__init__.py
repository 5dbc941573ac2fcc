# SPDX-License-Identifier: Apache-2.0
"""Rendering of the synthetic drive: rasterizer, ground, light, shading, weather."""
