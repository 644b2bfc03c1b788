# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes of cron that a test makes itself; what a container is before and after them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence

from tests.integration import support
from tests.integration.support import MANIFESTS
from tests.lab.host import LabHost
from tests.lab.run import wait_for

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+( \S+)?: [a-z]+: .+")


def supervise(lab: LabHost, code: int = 0, now: int | None = None, before: Sequence[str] = ()) -> list[str]:
    """Make a pass; returns its lines without their times.

    now: the time of the pass in seconds since the epoch; before: words of a command that runs the pass.
    """
    clock = {} if now is None else {"BALEINE_NOW": str(now)}
    done = lab.run([*before, "/usr/local/bin/baleine", "supervise"], check=False, env=clock)
    assert (done.returncode, done.stderr) == (code, ""), done
    assert all(LINE.fullmatch(line) for line in done.stdout.splitlines()), done.stdout
    return [line.partition(" ")[2] for line in done.stdout.splitlines()]


def record(lab: LabHost, name: str, kind: str = "container") -> dict[str, str]:
    return support.record(lab, kind, name)


def edit(lab: LabHost, name: str, **changes: str | None) -> None:
    """Change keys of a manifest by hand; None takes one away."""
    keys = {**record(lab, name), **changes}
    text = "".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None)
    lab.write(f"{MANIFESTS}/containers/{name}.manifest", text)


def pid(lab: LabHost, name: str) -> int | None:
    shown = json.loads(lab.run(["/usr/local/bin/baleine", "container", "inspect", name, "--format", "json"]).stdout)
    found: int | None = shown[0]["pid"]
    return found


def end(lab: LabHost, name: str, code: int | str = 0) -> None:
    """Let a container's program end with a code, or kill it with its first process."""
    first = int(record(lab, name)["pid"])
    if code == "unknown":
        lab.run(["kill", "-9", str(first)])
    elif code == 137:
        children = f"/proc/{first}/task/{first}/children"
        assert wait_for(lambda: lab.read(children).split())
        lab.sh(f"kill -9 $(cat {children})")
    else:
        told = ["/usr/local/bin/baleine", "container", "exec", "-c", name, "--", "sh", "-c", f"echo {code} >/code"]
        # its program may only now take away what was there before
        assert wait_for(lambda: lab.run(told, check=False) and not lab.path(f"/proc/{first}").exists())
    assert wait_for(lambda: not lab.path(f"/proc/{first}").exists())


#: Ends with the code that is written to /code.
OBEDIENT = ["sh", "-c", "rm -f /code; until read code </code; do usleep 20000; done 2>/dev/null; exit $code"]


def reboot(lab: LabHost, name: str) -> None:
    """What a reboot leaves of a running container: its manifest."""
    lab.run(["kill", "-9", record(lab, name)["pid"]])
    lab.sh(f"umount /run/baleine/containers/{name}/state; rm -rf /run/baleine/containers/{name}")
    edit(lab, name, boot_id="11111111-2222-3333-4444-555555555555")


#: The first pass of a test that gives the times: 13 s after a full minute.
START = 1_900_000_000 // 60 * 60 + 13


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
