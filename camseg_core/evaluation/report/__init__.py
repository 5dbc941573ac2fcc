# SPDX-License-Identifier: Apache-2.0
"""The report: figures, plots and the HTML page."""
