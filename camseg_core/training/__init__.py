# SPDX-License-Identifier: Apache-2.0
"""Training: four stages, one loop."""
