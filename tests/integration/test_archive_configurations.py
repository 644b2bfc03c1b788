# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images with unusual configurations: how a container of each of them runs."""

from __future__ import annotations

import json
import tarfile
from typing import Any

import pytest

from tests.integration.archives import WORK, archive, tar_of
from tests.integration.listing import IMAGES
from tests.lab.host import LabHost
from tests.lab.run import wait_for


@pytest.fixture(scope="module", autouse=True)
def work(lab: LabHost) -> None:
    """Baleine, and a directory for archives."""
    lab.install_baleine()
    lab.sh(f"mkdir -p {WORK} {IMAGES} /var/lib/baleine/manifeste/images")


#: What an image can say of how it is run -> what its program prints. Its tree has a busybox and nothing else.
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "variables with line ends, more than one sign, none, and no name": (
        {"Env": ["A=1\n2", "B=x=y=", "C=", "NOTHING", "=none", "my.odd-one=1", "PATH=/bin"], "Cmd": ["/bin/env"]},
        "PATH=/bin\nA=1\n2\nB=x=y=\nC=\nmy.odd-one=1\ncontainer=baleine\nHOME=/\n",
    ),
    "a working directory that is not there": (
        {"WorkingDir": "/not/there/../yet/", "Cmd": ["/bin/sh", "-c", "pwd"]}, "/not/yet\n"
    ),
    "a program beside the working directory": ({"WorkingDir": "/bin", "Entrypoint": ["./echo"], "Cmd": ["a  b", "$HOME", ""]}, "a  b $HOME \n"),
    "numbers that have no names": ({"User": "4711:4712", "Cmd": ["/bin/id"]}, "uid=4711 gid=4712\n"),
    "a signal that has no name": ({"StopSignal": "SIGRTMIN+3", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "a signal that there is not": ({"StopSignal": "SIGNONE", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "a signal that PID 1 is not told": ({"StopSignal": "SIGPWR", "Cmd": ["/bin/echo", "x"]}, "x\n"),
    "nothing but null": (
        {**dict.fromkeys(("Entrypoint", "Env", "User", "WorkingDir", "Labels", "ExposedPorts", "StopSignal")), "Cmd": ["/bin/echo", "x"]},
        "x\n",
    ),
}  # fmt: skip


def small(lab: LabHost) -> bytes:
    """A layer with a busybox."""
    links = [(f"bin/{name}", {"type": tarfile.SYMTYPE, "linkname": "busybox"}) for name in ("sh", "env", "echo", "id")]
    folders = [(name, {"type": tarfile.DIRTYPE, "mode": 0o755}) for name in ("bin", "etc", "dev", "proc", "sys", "tmp")]
    return tar_of(*folders, ("bin/busybox", {"data": lab.path("/bin/busybox").read_bytes(), "mode": 0o755}), *links)


@pytest.mark.parametrize("name", SAID)
def test_an_image_runs_as_its_unusual_configuration_says(lab: LabHost, name: str) -> None:
    config, said = SAID[name]
    nothing = (b"", bytes(1024))  # layers of commands that changed nothing, as engines and builders write them
    twisted = archive(small(lab), *nothing, config=lambda found: {**found, "config": config})
    lab.path(f"{WORK}/said.tar").write_bytes(twisted)
    for kind in ("docker-archive", "oci-archive"):
        lab.module("baleine_image", name="said", source=f"{kind}:{WORK}/said.tar", size="32M", state="present")
        done = lab.run(["baleine", "container", "run", "--rm", "-i", "said"])
        printed = [
            line for line in done.stdout.splitlines() if not line.startswith(("PWD=", "SHLVL="))
        ]  # of PID 1, a shell
        assert sorted(printed) == sorted(said.splitlines()) and done.stderr == ""
        lab.module("baleine_image", name="said", state="absent")


def test_a_container_is_stopped_by_the_real_time_signal_of_its_image(lab: LabHost) -> None:
    script = "trap 'exit 7' 37; echo up >/tmp/up; while :; do sleep 0.1; done"
    config = {"StopSignal": "SIGRTMIN+3", "Cmd": ["/bin/busybox", "sh", "-c", script]}
    twisted = archive(small(lab), config=lambda found: {**found, "config": config})
    lab.path(f"{WORK}/signal.tar").write_bytes(twisted)
    lab.module("baleine_image", name="signal", source=f"docker-archive:{WORK}/signal.tar", size="32M")
    for number, init in enumerate((True, False)):
        request = {"name": f"signal{number}", "image": "signal", "init": init, "stop_timeout": 60}
        facts = lab.module("baleine_container", **request)["container"]
        assert facts["stop_signal"] == "RTMIN+3" and not lab.module("baleine_container", **request)["changed"]
        up = ["baleine", "container", "exec", "-c", request["name"], "--", "/bin/busybox", "test", "-e", "/tmp/up"]
        assert wait_for(lambda up=up: lab.run(up, check=False).returncode == 0)
        lab.run(["baleine", "container", "stop", "-c", request["name"]])
        shown = json.loads(lab.run(["baleine", "container", "inspect", request["name"], "--format", "json"]).stdout)[0]
        assert shown["exit_code"] == (7 if init else None), shown
        lab.module("baleine_container", name=request["name"], state="absent")
    lab.module("baleine_image", name="signal", state="absent")
