# SPDX-License-Identifier: GPL-3.0-or-later
"""The package proxy: an apt-cacher-ng of the test run, reached through a unix socket only."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import random
import re
import shutil
import socket
import subprocess
from pathlib import Path

from . import run

LOCAL = "127.0.0.1"
#: The variable with the socket of the package proxy that several processes share.
SHARED = "BALEINE_TEST_PROXY"


@functools.cache
def apt_settings() -> dict[str, str]:
    """The machine's apt settings that decide how packages are fetched (validity dates, authorities, a proxy)."""
    text = run.machine(["apt-config", "dump", "--format", "%F %v%n"]).stdout
    wanted = re.compile(r"(Acquire::(?:Check-Valid-Until|Check-Date|https?::(?:CAInfo|Verify-\w+|Proxy))) (\S+)")
    return {match[1]: match[2] for match in map(wanted.fullmatch, text.splitlines()) if match}


def apt_options() -> list[str]:
    """The same as apt options, without a proxy of the machine's own: `Acquire::Check-Date "false"`."""
    return [f'{key} "{value}"' for key, value in apt_settings().items() if not key.endswith("Proxy")]


def free_port() -> int:
    """A port of the machine's loopback that is free now; apt-cacher-ng 3.7.4 refuses those above 32767."""
    for port in random.sample(range(20000, 32768), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOCAL, port))
            return port
    raise run.LabError(f"no free port on {LOCAL} for the package proxy")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOCAL, port)) == 0


class PackageProxy:
    """apt-cacher-ng behind a unix socket; its cache outlives the run (a second run meanwhile gets a fresh one).

    The processes of one run share it: who starts them names its socket in the environment.
    """

    _shared: PackageProxy | None = None

    def __init__(self) -> None:
        self.folder = run.run_folder() / ".packages"
        self.socket = self.folder / "socket"
        self._exit = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[str]] = []
        self._start()

    @classmethod
    def shared(cls) -> Path:
        """The socket of the one of this test run, which is started if need be."""
        given = os.environ.get(SHARED)
        if given:
            return Path(given)
        if cls._shared is None:
            cls._shared = cls()
            atexit.register(cls.stop_shared)
        return cls._shared.socket

    @classmethod
    def stop_shared(cls) -> None:
        if cls._shared is not None:
            cls._shared.stop()
            cls._shared = None

    def _start(self) -> None:
        (self.folder / "conf").mkdir(parents=True)
        cache = run.CACHE / "apt-cacher-ng"
        if not self._exit.enter_context(run.locked(run.CACHE / "apt-cacher-ng.lock", wait=False)):
            cache = self.folder / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        port = free_port()
        settings: dict[str, object] = {
            "BindAddress": LOCAL,
            "Port": port,
            "SocketPath": self.folder / "admin",
            "CacheDir": cache,
            "LogDir": self.folder,
            "SupportDir": "/usr/lib/apt-cacher-ng",
            "ForeGround": 1,
            "ExThreshold": 365,
        }
        upstream = apt_settings().get("Acquire::http::Proxy")
        if upstream:
            settings["Proxy"] = upstream
        (self.folder / "conf/acng.conf").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        # Its own unix socket is for administration: it answers no proxy request. Another one passes them on.
        self._spawn("apt-cacher-ng", "-c", str(self.folder / "conf"))
        self._spawn("socat", f"UNIX-LISTEN:{self.socket},fork", f"TCP:{LOCAL}:{port}")
        if not run.wait_for(lambda: answers(port) and self.socket.exists()):
            told = self.log()
            self.stop()
            raise run.LabError(f"the package proxy does not start: {told}")

    def _spawn(self, program: str, *words: str) -> None:
        with (self.folder / f"{program}.output").open("w") as log:
            self._processes.append(
                run.start(run.dying([run.tool(program), *words]), stdout=log, stderr=subprocess.STDOUT)
            )

    def log(self) -> str:
        """What it printed and logged."""
        return "\n".join(
            Path(path).read_text(errors="replace") for path in sorted(self.folder.glob("*")) if path.is_file()
        )

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._exit.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()
