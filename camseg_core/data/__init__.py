# SPDX-License-Identifier: Apache-2.0
"""Labelled road images: the sample contract, readers for each layout, label sets, checks."""
