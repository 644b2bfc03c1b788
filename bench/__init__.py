# SPDX-License-Identifier: GPL-3.0-or-later
"""Baleine and its peers side by side, on one laboratory host.

main.py      the run: laboratory host, contenders, rounds, report, leak check
measures.py  what is measured, round by round
peers.py     one class a contender: how it makes, starts, enters, lists and stops a container
agent.py     runs inside the laboratory host: times whole commands there, and counts processes
result.py    medians, ratios and tables; pure
profile.py   where the milliseconds of our own start go
"""
