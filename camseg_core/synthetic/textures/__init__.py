# SPDX-License-Identifier: Apache-2.0
"""Textures of the synthetic drive, one module for each kind of surface."""
