# SPDX-License-Identifier: Apache-2.0
"""The commands of ``camseg``, one module a subject: options in, one call, lines and a status out.

Imports of the work stand in the functions, so that --help and a wrong word answer at once, without
torch.
"""
