# SPDX-License-Identifier: Apache-2.0
"""A node in another process, and a client that talks to it."""
