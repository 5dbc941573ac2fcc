# SPDX-License-Identifier: Apache-2.0
"""What ROS adds to the command ``camseg``: parsing only."""
