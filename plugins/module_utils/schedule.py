# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cron is told: the pass, and when containers start and stop (crontab(5), files in /etc/cron.d)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from . import log, manifest
from .errors import BaleineError
from .process import PATH

PASS, TIMES = "/etc/cron.d/baleine", "/etc/cron.d/baleine-schedule"
HEAD = f"SHELL=/bin/sh\nPATH={PATH}\n"
#: What is done and said; the directory may be gone, and then the shell would not even begin.
LINE = f"{{}} root mkdir -p -m 0700 {log.LOGS}; {{}} >>{log.path_of('supervise')} 2>&1\n"
PASS_TEXT = f"""\
# The pass of Baleine, each minute and at boot. Installed by the role lab.baleine.host.
{HEAD}{"".join(LINE.format(when, "baleine supervise") for when in ("* * * * *", "@reboot"))}"""


def times(schedules: Mapping[str, Mapping[str, str]]) -> str:
    """Return the file of when containers start and stop; nothing where no one has a schedule. Pure."""
    lines = [
        LINE.format(schedule[verb], f"/usr/local/bin/baleine container {verb} -c {name}")
        for name, schedule in sorted(schedules.items())
        for verb in ("start", "stop")
        if schedule.get(verb)
    ]
    return f"# Made from the manifests of containers: changes here are lost.\n{HEAD}{''.join(lines)}" if lines else ""


def refresh() -> bool:
    """Make the file of times what the manifests say, and say whether it was something else.

    Under the registry lock, so that the last to write is the last to have looked.

    :raises OSError: when the filesystem refuses.
    """
    with manifest.registry():
        schedules, found = {}, ""
        for name, record in manifest.records("container").items():
            with contextlib.suppress(BaleineError):  # a torn schedule is that container's trouble
                schedules[name] = manifest.from_json(record, "schedule", {})
        with contextlib.suppress(FileNotFoundError), open(TIMES, encoding="utf-8", errors="replace") as stream:
            found = stream.read()
        text = times(schedules)
        if text and text != found:
            os.makedirs(os.path.dirname(TIMES), exist_ok=True)
            manifest.replace(TIMES, text.encode(), 0o644)
        elif found and not text:
            os.unlink(TIMES)
        return text != found
