# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the benchmark inside the laboratory host: times whole commands, counts processes and their memory.

Run as `python3 -IS agent.py`: a JSON request a line on stdin, a JSON answer a line on stdout. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any


def timed(argv: list[str], timeout: float) -> dict[str, Any]:
    """Run a command from fork and exec to its end; its output goes to a file, so that nobody has to read it meanwhile.

    The same for every contender. What it leaves running in the background is not waited for.
    """
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:  # the program does not exist: the agent goes on
            return {"seconds": 0.0, "code": 127, "said": f"{argv[0]}: {error.strerror}"}
        ended = select.poll()  # Popen.wait with a time limit asks every 50 ms; the kernel tells at once
        descriptor = os.pidfd_open(process.pid)
        ended.register(descriptor, select.POLLIN)
        late = not ended.poll(timeout * 1000)
        seconds = time.perf_counter() - begin
        os.close(descriptor)
        if late:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip()
        return {"seconds": seconds, "code": code, "said": f"not ended after {timeout:g} s" if late else said}


def census() -> list[dict[str, Any]]:
    """Every process here but PID 1 and us: pid, name, whether it is in a PID namespace of its own, its bytes (PSS)."""
    found = []
    own = os.stat("/proc/self/ns/pid").st_ino
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) in (1, os.getpid()):
            continue
        with contextlib.suppress(OSError):  # it may end while it is looked at
            with open(f"/proc/{name}/smaps_rollup") as stream:
                shares = [int(line.split()[1]) << 10 for line in stream if line.startswith("Pss:")]
            with open(f"/proc/{name}/comm") as stream:
                command = stream.read().strip()
            inside = os.stat(f"/proc/{name}/ns/pid").st_ino != own
            found.append({"pid": int(name), "name": command, "inside": inside, "bytes": sum(shares)})
    return found


def background(argv: list[str]) -> dict[str, Any]:
    """Start what has to stay, as a child of PID 1, which reaps it; it ends with the laboratory host, or earlier."""
    script = '"$@" </dev/null >/dev/null 2>&1 & echo $!'
    words = ["sh", "-c", script, "sh", *argv]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True)
    return {"pid": int(done.stdout)}


def main() -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "time":
            answer: Any = timed(request["argv"], request["timeout"])
        elif request["do"] == "background":
            answer = background(request["argv"])
        else:
            answer = census()
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
