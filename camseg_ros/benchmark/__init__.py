# SPDX-License-Identifier: Apache-2.0
"""The node's benchmark: rate, latency, drops, CPU and memory over DDS."""
