# SPDX-License-Identifier: Apache-2.0
"""The world of the synthetic drive: roads, scenes, traffic and people."""
