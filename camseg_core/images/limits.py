# SPDX-License-Identifier: Apache-2.0
"""The limit of what is read as an image. Plain data: importing it imports no library."""

MAX_IMAGE_MEGAPIXELS = 64
"""Size of the largest image that is read, in millions of pixels, where nothing else is said."""
