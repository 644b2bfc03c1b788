# SPDX-License-Identifier: GPL-3.0-or-later
"""The same commands on cgroup v2: run, exec, pause, stats, kill; and a playbook inside a container there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.work_cases import BRIDGE, NETWORK, Controller
from tests.lab import run, trees
from tests.lab.guest import Guest
from tests.lab.run import wait_for


@pytest.mark.parametrize(("program", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("cat", 0)])
def test_run_ends_with_the_exit_code_of_the_program_on_v2(guest: Guest, program: str, code: int) -> None:
    words = ("container", "run", "--rm", "-i", "-i", "tiny", "--", "sh", "-c", program)
    done = guest.baleine(*words, check=False, input="piped\n")
    assert (done.returncode, done.stdout) == (code, "" if code else "piped\n")


@pytest.fixture(scope="module")
def busy(guest: Guest) -> Iterator[str]:
    """The name of a container that has written 4 MiB and keeps a fifth of a CPU busy."""
    writes = "dd if=/dev/zero of=/big bs=64k count=64 conv=fsync 2>/dev/null"
    script = f"{writes}; echo turning; while :; do :; done"
    create = ("container", "create", "-c", "busy", "-i", "tiny", "--memory", "64M", "--cpus", "0.2")
    guest.baleine(*create, "-p", f"sh -c '{script}'")
    assert wait_for(lambda: "turning" in guest.read("/var/log/baleine/busy.log"), 900, 0.2)
    yield "busy"
    guest.baleine("container", "remove", "-f", "busy", check=False)  # a test may have done so


def stats(guest: Guest, name: str) -> dict[str, Any]:
    shown = guest.baleine("container", "stats", name, "--format", "json").stdout
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def test_the_numbers_of_stats_change_on_v2(guest: Guest, busy: str) -> None:
    first = stats(guest, busy)
    assert first["pids"] == 2 and first["writes"] > 0 and first["memory_limit"] == 64 << 20
    assert first["written_bytes"] >= 64 << 16
    assert 0 < first["memory_percent"] < 60
    assert wait_for(lambda: stats(guest, busy)["cpu_seconds"] > first["cpu_seconds"], 900)
    assert wait_for(lambda: stats(guest, busy)["cpu_percent"] > 0, 900)


def test_a_paused_container_uses_no_cpu_and_a_killed_one_is_pruned_on_v2(guest: Guest, busy: str) -> None:
    def used() -> str:
        """The line of the kernel that counts its CPU time."""
        return guest.sh("grep usage_usec /sys/fs/cgroup/baleine/busy/cpu.stat").stdout

    guest.baleine("container", "pause", busy)
    assert " paused " in guest.baleine("container", "list").stdout
    stands_still = used()
    assert stats(guest, busy)["cpu_percent"] == 0
    assert used() == stands_still
    guest.baleine("container", "unpause", busy)
    assert wait_for(lambda: used() != stands_still, 900)
    guest.baleine("container", "kill", busy)
    assert busy in guest.baleine("container", "prune").stdout.split()


def test_apparmor_confines_program_and_exec_even_with_more_capabilities(guest: Guest) -> None:
    def made(**options: Any) -> dict[str, Any]:
        settings = {"image": "tiny", "command": ["sleep", "100000"], "recreate": "on_change", "stop_timeout": 5}
        found: dict[str, Any] = guest.module("baleine_container", name="shut", **{**settings, **options})
        return found

    def inside(script: str) -> tuple[int, str]:
        done = guest.baleine("container", "exec", "-c", "shut", "--", "sh", "-c", script, check=False)
        return done.returncode, done.stdout.strip()

    mount = "mount -t tmpfs none /mnt"
    pid = made()["container"]["pid"]
    current = f"/proc/{pid}/attr/apparmor/current"
    assert wait_for(lambda: guest.read(current).strip() == "baleine-default (enforce)"), guest.read(current)
    assert inside("cat /proc/self/attr/apparmor/current") == (0, "baleine-default (enforce)")
    assert inside("grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status | cut -f 2 | xargs") == (0, "1 2")
    powerful = {"capabilities": {"add": ["SYS_ADMIN"]}, "seccomp": "unconfined"}
    made(**powerful)
    assert inside(mount)[0] != 0
    made(**powerful, apparmor="unconfined")
    assert inside(mount)[0] == 0
    guest.sh("echo 'profile own flags=(attach_disconnected) { file, capability, signal, }' | apparmor_parser -r")
    made(apparmor="own")
    assert inside("cat /proc/self/attr/apparmor/current") == (0, "own (enforce)")
    refused = guest.module(
        "baleine_container",
        name="shut",
        image="tiny",
        command="true",
        apparmor="no",
        recreate="always",
        expect_failure=True,
    )
    assert "the profile no is not loaded" in refused["msg"]
    assert inside("cat /proc/self/attr/apparmor/current") == (0, "own (enforce)")  # the old one is back
    guest.module("baleine_container", name="shut", state="absent")


def test_a_playbook_installs_a_server_in_a_container_and_a_signal_reloads_it(guest: Guest, tmp_path: Path) -> None:
    image = trees.stocked_image(guest)
    guest.module("baleine_bridge", name=BRIDGE, addresses=[f"{NETWORK}.1/24"])
    guest.module(
        "baleine_container",
        name="web1",
        image=image,
        command=["sleep", "infinity"],
        networks=[{"bridge": BRIDGE, "addresses": [f"{NETWORK}.2/24"]}],
    )
    # old lists would be fetched anew; test_work_inside does that, where no processor is emulated
    guest.baleine("container", "exec", "-c", "web1", "--", "touch", "/var/lib/apt/lists")

    def call(argv: list[str], *, check: bool, env: dict[str, str], cwd: str, timeout: float) -> Any:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return run.finish(run.start(argv, env=env, cwd=cwd, **pipes), timeout=timeout, check=check)

    def page() -> str:
        return guest.run(["curl", "-s", f"http://{NETWORK}.2/"], check=False).stdout

    controller = Controller(tmp_path / "controller", call, guest.inventory(), timeout=1800)
    assert controller.play("serve.yml", "web1", pipelining=True).changed == {"web1": 4}
    assert wait_for(lambda: page() == "Hello from web1\n", 300)
    # a second run is test_work_inside's; here, whether a signal arrives that makes the server read its site again
    reload = "sed -i s/Hello/Salut/ /etc/nginx/sites-available/default; service nginx reload"
    guest.baleine("container", "exec", "-c", "web1", "--", "sh", "-ec", reload)
    assert wait_for(lambda: page() == "Salut from web1\n", 300)
    guest.module("baleine_container", name="web1", state="absent")
