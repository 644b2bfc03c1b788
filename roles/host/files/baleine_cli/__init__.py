# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line `baleine`, above the core (package `baleine`)."""

#: That of the collection.
VERSION = "0.1.0"
