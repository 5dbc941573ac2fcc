# SPDX-License-Identifier: Apache-2.0
"""CAM-Seg in PyTorch: continuous-latent, diffusion-based segmentation. Imports no ROS."""
