# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 terminal.py SCRIPT: run it at a terminal of its own; print what is typed there when it has ended."""

import fcntl
import os
import pty
import select
import sys
import termios

master, slave = pty.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
shown = b""
while not os.waitpid(child, os.WNOHANG)[0]:
    if select.select([master], [], [], 0.1)[0]:
        shown += os.read(master, 4096)
typed = os.read(slave, 4096) if select.select([slave], [], [], 1)[0] else b""
print(f"typed: {typed!r}\nshown: {shown!r}")
