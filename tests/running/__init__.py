# SPDX-License-Identifier: GPL-3.0-or-later
"""How the integration tests are run: files side by side, the measured tests alone, what failed once more.

order.py    which file begins first
workers.py  which tests stay together in one worker
report.py   what one run of pytest leaves for the next: failed tests, seconds of each file
suite.py    the phases of `make integration`, and its last lines
"""
