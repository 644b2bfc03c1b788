# SPDX-License-Identifier: GPL-3.0-or-later
"""The honesty harness: every option of every module, and what is done with it on a host.

case.py              one case of an option
container_cases.py, image_cases.py, cases.py   the tables of all modules
answers.py           what a module says of one resource
subject.py           a module with the resources that its cases have
by_hand.py           what somebody does by hand to a resource, and what a module says of it
walk.py              all steps, in order
table.py             the table of modules and cases that is printed at the end
"""
