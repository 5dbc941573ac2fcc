# SPDX-License-Identifier: Apache-2.0
"""Pictures and videos: reading, drawing, fitting to the model."""
