# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node: parameters, cameras, pipeline, health, diagnostics."""
