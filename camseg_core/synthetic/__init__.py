# SPDX-License-Identifier: Apache-2.0
"""The synthetic drive: a procedural, seeded road world seen from a moving vehicle.

`drive` renders frames; `write` puts them into the folders of a data set, or on a contact sheet.
"""
