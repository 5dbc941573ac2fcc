# SPDX-License-Identifier: Apache-2.0
"""Weights: load, save, convert, describe, download and verify; the bundled weights."""
