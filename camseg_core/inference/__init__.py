# SPDX-License-Identifier: Apache-2.0
"""From a batch of prepared images to class ids: the networks on a device, stage by stage."""
