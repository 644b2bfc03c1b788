# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordinary playbooks inside the containers of a lab host, over SSH: packages, templates, services, users, and what goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.integration.work_cases import BRIDGE, NETWORK, Controller
from tests.lab import trees
from tests.lab.host import LabHost
from tests.lab.run import wait_for
from tests.lab.wire import Wire

PORT = 3142
#: The proxy is for packages alone: what is asked of the container itself does not go there.
ENVIRONMENT = {"http_proxy": f"http://{NETWORK}.1:{PORT}", "no_proxy": "localhost,127.0.0.1"}
WEBS = {"web1": f"{NETWORK}.2", "web2": f"{NETWORK}.3"}
BALEINE = "/usr/local/bin/baleine"


@pytest.fixture(scope="module")
def box(wire: Wire, lab_factory: Any) -> Iterator[LabHost]:
    """A host behind sshd, with the package proxy on a bridge's address, two containers of Debian and one without Python."""
    host: LabHost = lab_factory("box", wire=wire)
    host.start_sshd()
    host.install_baleine()
    image, tiny = trees.debian_image(host), trees.tiny_image(host)
    host.module("baleine_bridge", name=BRIDGE, addresses=[f"{NETWORK}.1/24"])
    host.expect("process *socat*")
    far = wire.proxy_url.removeprefix("http://").rstrip("/")
    host.serve(PORT, ["socat", f"TCP-LISTEN:{PORT},bind={NETWORK}.1,fork,reuseaddr", f"TCP:{far}"])
    for name, address in WEBS.items():
        networks = [{"bridge": BRIDGE, "addresses": [f"{address}/24"]}]
        host.module(
            "baleine_container",
            name=name,
            image=image,
            command=["sleep", "infinity"],
            networks=networks,
            env=ENVIRONMENT,
        )
    host.module("baleine_container", name="bare", image=tiny, command=["sleep", "infinity"])
    yield host
    for name in (*WEBS, "bare"):
        host.module("baleine_container", name=name, state="absent")
    host.module("baleine_bridge", name=BRIDGE, state="absent")


@pytest.fixture(scope="module")
def controller(wire: Wire, box: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    def call(argv: list[str], *, env: dict[str, str], **options: Any) -> Any:
        return wire.run(argv, env={**env, **wire.environment}, **options)

    return Controller(tmp_path_factory.mktemp("controller"), call, wire.inventory(box))


def inside(box: LabHost, name: str, line: str) -> str:
    return box.run([BALEINE, "container", "exec", "-c", name, "--", "sh", "-c", line], check=False).stdout.strip()


def test_every_container_with_python_answers_a_ping_like_its_host(controller: Controller) -> None:
    discovered = ("-e", "ansible_python_interpreter=auto_silent")  # as where no inventory names one
    done = controller.ansible("ansible", "all:!bare", "-m", "ping", *discovered)
    assert done.stdout.count('"pong"') == 3 and done.returncode == 0, done.stdout + done.stderr


def serve(controller: Controller, *words: str) -> dict[str, int]:
    """Play the playbook of a web server in both containers; how many tasks changed something in each."""
    return controller.play("serve.yml", "web*", *words, pipelining=True).changed


def pages(box: LabHost) -> list[str]:
    return [box.run(["curl", "-s", f"http://{address}/"], check=False).stdout for address in WEBS.values()]


def greetings(word: str) -> list[str]:
    return [f"{word} from {name}\n" for name in WEBS]


def masters(box: LabHost) -> list[str]:
    """The process of the web server in each container."""
    return [inside(box, name, "cat /run/nginx.pid") for name in WEBS]


class Served(NamedTuple):
    """How many tasks changed something in check mode, then really, then once more; and what check mode left."""

    predicted: dict[str, int]
    early: str
    done: dict[str, int]
    again: dict[str, int]


@pytest.fixture(scope="module")
def served(controller: Controller, box: LabHost) -> Served:
    """A web server in both containers, by a playbook."""
    # apt's check mode needs python3-apt; the module installs it where it may change something
    controller.play("prepare.yml", "web*", pipelining=True)
    predicted = serve(controller, "--check", "--tags", "packages")
    early = inside(box, "web1", "command -v nginx")
    return Served(predicted, early, serve(controller), serve(controller))


def test_check_mode_predicts_the_packages_of_a_server_and_installs_none(served: Served) -> None:
    assert (served.predicted, served.early) == (dict.fromkeys(WEBS, 1), "")


def test_a_playbook_installs_and_starts_a_server_once(served: Served, box: LabHost) -> None:
    assert [served.done, served.again] == [dict.fromkeys(WEBS, 4), dict.fromkeys(WEBS, 0)]
    assert all(masters(box))
    assert wait_for(lambda: pages(box) in (greetings("Hello"), greetings("Salut")))


def test_a_changed_template_is_predicted_and_loaded_by_the_running_server(
    served: Served, controller: Controller, box: LabHost
) -> None:
    serve(controller)
    assert wait_for(lambda: pages(box) == greetings("Hello"))
    started = masters(box)
    assert serve(controller, "--check", "-e", "work_greeting=Salut") == dict.fromkeys(WEBS, 2)
    assert pages(box) == greetings("Hello")
    assert serve(controller, "-e", "work_greeting=Salut") == dict.fromkeys(WEBS, 2)
    assert wait_for(lambda: pages(box) == greetings("Salut"))
    assert masters(box) == started


@pytest.mark.parametrize(("pipelining", "limit"), [(False, "web1"), (True, "web2")])
def test_files_users_facts_scripts_and_background_tasks_work_as_on_any_host(
    controller: Controller, pipelining: bool, limit: str
) -> None:
    names = controller.play("modules.yml", limit, pipelining=pipelining).changed
    for name in ("bytes", "empty"):
        here = hashlib.sha256((controller.folder / name).read_bytes())
        for container in names:
            back = controller.folder / "back" / f"{container} {name}"
            assert hashlib.sha256(back.read_bytes()).digest() == here.digest(), back


def test_a_container_may_restart_between_two_tasks_and_ends_the_daemons_started_inside(
    controller: Controller, box: LabHost
) -> None:
    done = controller.play("restart.yml", "web1")
    assert "running before, stopped after" in done.words, done.words


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("pause", "unpause", "it is paused. Let it go on: baleine container unpause -c web2"),
        ("stop", "start", "it does not run. Start it first: baleine container start -c web2"),
    ],
)
def test_a_container_that_cannot_run_tasks_is_unreachable_with_advice(
    controller: Controller, box: LabHost, before: str, after: str, words: str
) -> None:
    box.run([BALEINE, "container", before, "web2"])
    try:
        done = controller.ansible("ansible", "web2", "-m", "ping")
    finally:
        box.run([BALEINE, "container", after, "web2"])
    shown = " ".join((done.stdout + done.stderr).split())
    assert "UNREACHABLE" in shown and words in shown, shown


def test_exec_in_a_paused_container_is_refused_by_module_and_command_line(box: LabHost) -> None:
    box.run([BALEINE, "container", "pause", "web2"])
    try:
        done = box.run([BALEINE, "container", "exec", "-c", "web2", "--", "true"], check=False)
        failed = box.module("baleine_container_exec", name="web2", argv=["true"], expect_failure=True)
    finally:
        box.run([BALEINE, "container", "unpause", "web2"])
    assert done.returncode == 125 and "baleine container unpause -c web2" in done.stderr
    assert "baleine container unpause -c web2" in failed["msg"]


def test_a_container_that_ends_during_a_task_is_unreachable_but_a_killed_task_is_a_failure(
    controller: Controller, box: LabHost
) -> None:
    done = controller.ansible("ansible", "web2", "-m", "raw", "-a", "kill -9 $$")
    assert "rc=137" in done.stdout and "UNREACHABLE" not in done.stdout, done.stdout + done.stderr
    script = f"{BALEINE} container exec -c web2 -- sh -c 'until pgrep -x sleep -n -a | grep -q 4242; do :; done'"
    killer = box.popen(["sh", "-c", f"{script}; {BALEINE} container kill -c web2"])
    done = controller.ansible("ansible", "web2", "-m", "command", "-a", "sleep 4242")
    killer.wait(300)
    box.run([BALEINE, "container", "start", "web2"])
    shown = " ".join((done.stdout + done.stderr).split())
    assert "UNREACHABLE" in shown and "it does not run" in shown, shown


def test_raw_works_without_python_and_modules_give_advice(controller: Controller) -> None:
    done = controller.ansible("ansible", "bare", "-m", "raw", "-a", "hostname")
    assert "bare" in done.stdout and done.returncode == 0, done.stdout + done.stderr
    done = controller.ansible("ansible", "bare", "-m", "ping")
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode and "packages: [python3]" in shown and "ansible.builtin.raw" in shown, shown


def test_a_user_of_the_host_is_refused_with_advice_to_set_baleine_host_user(controller: Controller) -> None:
    done = controller.ansible("ansible", "web1", "-m", "ping", "-e", "ansible_user=ops")
    shown = " ".join((done.stdout + done.stderr).split())
    assert "has no user ops" in shown and "baleine_host_user" in shown, shown


def test_a_program_may_end_with_an_exit_code_that_baleine_also_uses(controller: Controller) -> None:
    done = controller.ansible("ansible", "web1", "-m", "raw", "-a", "echo mine >&2; exit 125")
    assert "rc=125" in done.stdout and "mine" in done.stdout and "UNREACHABLE" not in done.stdout, done.stdout
