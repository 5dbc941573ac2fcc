# SPDX-License-Identifier: Apache-2.0
"""Replay: bags, or frames, through the model or the real node; what came out is scored."""
