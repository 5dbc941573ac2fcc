# SPDX-License-Identifier: Apache-2.0
"""The machine that everything runs on: files, processes, devices, progress."""
