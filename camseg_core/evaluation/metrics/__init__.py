# SPDX-License-Identifier: Apache-2.0
"""Metrics: confusion, both protocols, calibration, risk-coverage and flicker."""
