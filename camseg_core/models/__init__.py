# SPDX-License-Identifier: Apache-2.0
"""The networks, and the configurations that size them."""
