# SPDX-License-Identifier: Apache-2.0
"""Scores: metrics, calibration, evaluation runs and their report."""
