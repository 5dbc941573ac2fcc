# SPDX-License-Identifier: Apache-2.0
"""The live replay: player, evaluator and the nodes that run them."""
