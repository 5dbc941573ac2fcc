# SPDX-License-Identifier: Apache-2.0
"""The report: numbers, plots and the HTML page."""
