# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs need goes on working in a container that is confined: apt, programs that change their user, sudo where allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import trees
from tests.lab.host import LabHost
from tests.lab.wire import Wire

BRIDGE, INSIDE, PORT = "192.168.78.1", "192.168.78.2", "3142"


@pytest.fixture(scope="module")
def host(lab_factory: Any, wire: Wire) -> Iterator[LabHost]:
    """A lab host with an HTTP proxy on the address of a bridge: the containers' way out."""
    made: LabHost = lab_factory("out", wire=wire)
    made.install_baleine()
    trees.debian_image(made)
    made.run(["/usr/local/bin/baleine", "bridge", "create", "-b", "out", "-a", f"{BRIDGE}/24"])
    made.expect("process *socat*")
    far = wire.proxy_url.removeprefix("http://").rstrip("/")
    made.serve(int(PORT), ["socat", f"TCP-LISTEN:{PORT},bind={BRIDGE},fork,reuseaddr", f"TCP:{far}"])
    yield made
    made.run(["/usr/local/bin/baleine", "bridge", "remove", "out"])


@pytest.fixture
def box(host: LabHost) -> Any:
    """box(options…): a container of Debian; returns what runs a line of shell in it."""

    def make(*options: str) -> Any:
        words = ["container", "create", "-c", "box", "-i", "debian", "-b", "out", "-a", f"{INSIDE}/24", *options]
        host.run(["/usr/local/bin/baleine", *words, "-p", "sleep 100000"])

        def inside(line: str, *flags: str, check: bool = True, timeout: float = 300) -> str:
            words = ["container", "exec", "-c", "box", *flags, "--", "sh", "-c", f"{{ {line}; }} 2>&1"]
            return host.run(["/usr/local/bin/baleine", *words], check=check, timeout=timeout).stdout

        return inside

    yield make
    host.run(["/usr/local/bin/baleine", "container", "remove", "box"])


def test_apt_installs_packages_in_a_container_with_a_route_out(box: Any, wire: Wire) -> None:
    inside = box()
    proxy = f'Acquire::http::Proxy "http://{BRIDGE}:{PORT}";'
    settings = "\n".join([proxy, *(f"{option};" for option in wire.apt_options())])
    inside(f"echo '{settings}' >/etc/apt/apt.conf.d/95proxy; sed -i s/https:/http:/ /etc/apt/sources.list")
    inside(
        "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install at",
        timeout=600,
    )
    # at brings a group, a set-user-ID program and a user's spool along
    assert inside("stat -c '%A %U' /usr/bin/at").split() == [
        "-rwsr-sr-x",
        "daemon",
    ]
    inside("apt-get -q -y purge at && dpkg --audit", timeout=600)


def test_root_can_change_to_another_user_as_entry_points_of_images_do(box: Any) -> None:
    inside = box()
    drop = "setpriv --reuid=33 --regid=33 --clear-groups"
    assert inside(f"{drop} sh -c 'id -u; id -g; touch /tmp/mine; stat -c %U /tmp/mine'").split() == [
        "33",
        "33",
        "www-data",
    ]
    assert inside("runuser -u www-data -- id -un").strip() == "www-data"
    assert inside("id -un", "-u", "www-data").strip() == "www-data"


def test_sudo_works_only_if_new_privileges_are_allowed(box: Any, host: LabHost) -> None:
    allow = "echo 'www-data ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/test; chmod 440 /etc/sudoers.d/test"
    ask = "setpriv --reuid=33 --regid=33 --clear-groups sudo -n id -u"
    inside = box("--new-privileges")
    inside(allow)
    assert inside(ask).strip() == "0"
    host.run(["/usr/local/bin/baleine", "container", "remove", "box"])
    inside = box()
    inside(allow)
    assert "no new privileges" in inside(ask, check=False)
