# SPDX-License-Identifier: Apache-2.0
"""How fast each way to run a model is, beside the work of the published implementation."""
