# SPDX-License-Identifier: Apache-2.0
"""What a replay leaves behind: results, gates, bags, pages."""
