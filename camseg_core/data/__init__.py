# SPDX-License-Identifier: Apache-2.0
"""Labelled road images: readers, the synthetic drive, augmentation, corruptions."""
