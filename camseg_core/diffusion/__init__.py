# SPDX-License-Identifier: Apache-2.0
"""Diffusion: the process, its loss, the samplers and their options."""
