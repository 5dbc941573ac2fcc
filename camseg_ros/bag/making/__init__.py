# SPDX-License-Identifier: Apache-2.0
"""Bags made from data sets, videos, folders and the synthetic drive."""
