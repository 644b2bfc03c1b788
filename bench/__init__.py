# SPDX-License-Identifier: GPL-3.0-or-later
"""Baleine and its peers side by side, on one laboratory host.

main.py      the run: laboratory host, contenders, cases, leak check
scale.py     how much is measured: the usual run, and the smallest
measures.py  what is measured, round by round
peers.py     one class a contender: how it makes, starts, enters, lists and stops a container
agent.py     runs inside the laboratory host: times whole commands there, and counts processes
images.py    the cases of images
batch.py     the case of a playbook
result.py    medians, ratios and tables; pure
report.py    the machine, the goals, the table of idle containers
profile.py   where the milliseconds of our own start go
profiled.py  runs inside the laboratory host: our command line with clocks in it
"""
