# SPDX-License-Identifier: Apache-2.0
"""Images and videos: reading, drawing, fitting to the model."""
