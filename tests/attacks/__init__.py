# SPDX-License-Identifier: GPL-3.0-or-later
"""The attack suite: what a root shell in a container tries, and what an image tries.

attacks.c, attacks.h     the runner and the steps that attacks share
escapes.c, kernel.c, host.c   one function an attack
catalogue.py   the attacks by name and CVE, and what answers each
suite.py       the host they are after, and the containers they run in
images.py      hostile images
terminal.py    a person's terminal, in the guest
report.py      the table in docs/security.md
"""
