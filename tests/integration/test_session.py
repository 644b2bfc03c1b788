# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents' own session, typed line by line on a host with the package proxy as its only way out."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.run import wait_for
from tests.lab.wire import Wire

SITE = """<VirtualHost *:80>
    ProxyPass / http://192.168.42.2/ retry=0
    ProxyPassReverse / http://192.168.42.2/
</VirtualHost>
"""
SESSION = """
baleine image create -i apache2 -s 10240
baleine image create -i apache2_reverse -s 10240
baleine image mount -i apache2_reverse
baleine image umount -i apache2_reverse
baleine image list
baleine bridge create -b private -a 192.168.42.1/24
baleine bridge create -b public -a 10.0.0.1/8
baleine container create -c mycontainer -i apache2 -b private -a 192.168.42.2/24 -p "/usr/sbin/apache2ctl start"
baleine container create -c mycontainer2 -i apache2_reverse -b private,public -a 192.168.42.3/24,10.0.0.2/8 -p "/usr/sbin/apache2ctl start"
baleine container list
baleine container stop -c mycontainer
baleine container restart -c mycontainer
baleine container remove -c mycontainer2
baleine container remove -c mycontainer
baleine bridge remove -b public
baleine bridge remove -b private
baleine image remove -i apache2_reverse
baleine image remove -i apache2
"""


@pytest.fixture(scope="module")
def host(wire: Wire, lab_factory: Any) -> LabHost:
    machine = lab_factory("session", wire=wire)
    machine.use_package_proxy()
    machine.install_baleine()
    return machine


def edit(host: LabHost, tree: str) -> None:
    """What a person does in the tree that ``image mount`` prints."""
    for module in ("proxy.load", "proxy.conf", "proxy_http.load"):
        host.run(["ln", "-s", f"../mods-available/{module}", f"{tree}/etc/apache2/mods-enabled/{module}"])
    host.write(f"{tree}/etc/apache2/sites-enabled/000-default.conf", SITE)


def ask(host: LabHost) -> str:
    """The status and page of the proxy's public address."""
    return host.run(["curl", "-s", "-m", "200", "-w", " %{http_code}", "http://10.0.0.2/"], check=False).stdout


def answers(host: LabHost) -> None:
    """Wait as long as a person needs to type: Apache listens a moment after its container runs."""
    host.sh("for i in $(seq 1000); do curl -sf -o /dev/null http://10.0.0.2/ && exit; sleep 0.1; done; exit 1")


def images(shown: str) -> set[str]:
    """The names in a list of images; the list must tell the size and the path of one of them."""
    assert "10G" in shown
    assert "/var/lib/baleine/images/apache2" in shown
    return {row.split()[0] for row in shown.splitlines()}


def test_the_documented_session_works_line_by_line_and_leaves_nothing(host: LabHost) -> None:
    for line in SESSION.strip().splitlines():
        done = host.run(shlex.split(line), timeout=900)
        words = set(line.split())
        if "mount" in words:
            edit(host, done.stdout.strip())
        elif {"image", "list"} <= words:
            assert images(done.stdout) == {"NAME", "apache2", "apache2_reverse"}
        elif {"container", "list"} <= words:
            rows = {row.split()[0]: row for row in done.stdout.splitlines()}
            assert set(rows) == {"NAME", "mycontainer", "mycontainer2"}
            assert "private=192.168.42.3/24 public=10.0.0.2/8" in rows["mycontainer2"]
            answers(host)
            assert ask(host).endswith("200") and "Apache2 Debian Default Page" in ask(host)
        elif {"container", "stop"} <= words:
            assert ask(host).endswith("503")
        elif "restart" in words:
            answers(host)
            assert "Apache2 Debian Default Page" in ask(host)
    assert (
        host.sh("find /var/lib/baleine /run/baleine /mnt/baleine* /var/log/baleine -type f", check=False).stdout == ""
    )
    assert wait_for(lambda: set(kernel.of(host).links) == {"lo", "eth0"})
