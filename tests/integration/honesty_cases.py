# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of every module, and what is done with it: the tables that test_honesty.py drives on a host.

tests/unit/test_honesty.py holds them against the modules' own specifications: an option that is in no table fails there.
A key is an option as the documentation writes it (`networks.mtu`); what follows a # tells two cases of one option apart.
In texts, {ip}, {ip6} and {mac} are those of the resource that the case has for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from tests.lab import debs, rpms

Params = Mapping[str, Any]


class Lacking(NamedTuple):
    """A request that speaks of what this host does not have, and by which words that is named."""

    params: Params
    words: str


class Case(NamedTuple):
    """One option, changed alone, of a resource of its own.

    :param to: what is given beside what its resource was made with; :param base: what that is, beside the module's.
    :param same: the same as `to`, spelled otherwise; :param fewer: `to` without one of its elements.
    :param cased: `to` but for the case of a letter, which must be seen: as a change, or as something that there is not.
    :param does: "change" it; "act" at every run; say "nothing" of the resource itself; "refuse", with these `words`, in
        check mode too; or "fail" with them, because only the act shows it: then all is as it was.
    :param lacking: what an earlier task may make, which check mode therefore only warns of.
    :param kept: going back to `base` changes nothing: what is left out is whatever it is.
    :param shown: what a diff calls it, and what changes with it, where that is not the option's own name; none for all.
    """

    to: Params = {}
    same: tuple[Params, ...] = ()
    fewer: Optional[Params] = None
    cased: Optional[Params] = None
    base: Params = {}
    does: str = "change"
    words: str = ""
    kept: bool = False
    lacking: Optional[Lacking] = None
    shown: Optional[tuple[str, ...]] = ()


#: An option that all cases use: the resource itself, or an internal matter with tests of its own.
EVERYWHERE = Case(does="everywhere")

NETWORK = {"bridge": "hone", "addresses": ["{ip}/16"]}


def network(**more: Any) -> dict[str, Any]:
    return {"networks": [{**NETWORK, **more}]}


def route(*destinations: str) -> dict[str, Any]:
    return network(routes=[{"destination": text, "gateway": "10.9.0.1"} for text in destinations])


def limit(key: str, value: Any, *same: Any, other: Any = None) -> Case:
    """A limit alone; `other` is another value, put in its place by a further change."""
    spelled = tuple({"limits": {key: text}} for text in same)
    return Case({"limits": {key: value}}, spelled, {"limits": {key: other}} if other is not None else None)


def device(*nodes: tuple[str, str]) -> dict[str, Any]:
    return {"limits": {"devices": [{"path": path, "access": access} for path, access in nodes]}}


def volume(source: str, target: str = "/a", **more: bool) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


def check(**options: Any) -> dict[str, Any]:
    """A health check that nobody waits for."""
    return {"healthcheck": {"http": "/", **options}}


WEB = {"base": check()}

#: What is so where nothing is said.
DEFAULTS: Params = {
    "init": True,
    "no_new_privileges": True,
    "read_only": False,
    "restart": False,
    **{key: {} for key in ("env", "labels", "extra_hosts", "ulimits", "sysctls", "capabilities", "dns", "schedule")},
    **{key: [] for key in ("volumes", "depends_on", "secrets", "tmpfs")},
    "seccomp": "default",
    "apparmor": "default",
    "limits": {"cpu_weight": 100, "pids": 2048},
    "restart_policy": "unless-stopped",
    "restart_retries": 0,
    "stop_signal": "TERM",
    "stop_timeout": 10,
    "log_size": "16M",
    "userns": "auto",
}

CONTAINER: dict[str, Case] = {
    "name": EVERYWHERE,
    "state": Case({"state": "stopped"}, shown=("state", "wanted_state")),
    "state#paused": Case({"state": "paused"}),
    "state#present": Case({"state": "present"}, does="nothing"),
    "image": Case(
        {"image": "other"},
        ({"image": "other:latest"},),
        cased={"image": "Other"},
        lacking=Lacking({"image": "hnone"}, "there is no image hnone"),
    ),
    "command": Case(
        {"command": ["sh", "-c", "exec sleep 1000", "a b"]},
        ({"command": "sh -c 'exec sleep 1000' \"a b\""}, {"command": 'sh  -c "exec sleep 1000" a\\ b'}),
        {"command": ["sh", "-c", "exec sleep 1000"]},
        {"command": ["sh", "-c", "exec sleep 1000", "A b"]},
    ),
    "networks": Case({"networks": [NETWORK, {"bridge": "htwo"}]}, fewer={"networks": []}),
    "networks.bridge": Case(
        {"networks": [{"bridge": "htwo"}]},
        cased={"networks": [{"bridge": "Htwo"}]},
        lacking=Lacking({"networks": [{"bridge": "hnone"}]}, "there is no bridge hnone"),
    ),
    "networks.addresses": Case(
        network(addresses=["{ip}/16", "{ip6}/64"]),
        (network(addresses=["{ip}/255.255.0.0", "{IP6}/64"]), network(addresses=["{ip}/16", "{long6}/64"])),
        network(addresses=["{ip6}/64"]),
    ),
    "networks.addresses#order": Case(
        network(addresses=["{ip}/16", "{ip6}/64", "{ip6}0/64"]),
        base=network(addresses=["{ip6}0/64", "{ip6}/64", "{ip}/16"]),
    ),
    "networks.gateway": Case(
        network(gateway="10.9.0.1"), (network(gateway=" 10.9.0.1 "),), network(gateway="10.9.0.2")
    ),
    "networks.gateway#ipv6": Case(
        network(addresses=["{ip6}/64"], gateway="fd09::1"), (network(addresses=["{ip6}/64"], gateway="FD09:0::1"),)
    ),
    "networks.routes": Case(
        route("172.16.0.0/12", "172.48.0.0/12"),
        (route("172.48.0.0/12", "172.16.0.0/12"), route("172.16.0.0/255.240.0.0", "172.48.0.0/12")),
        route("172.48.0.0/12"),
    ),
    "networks.routes.destination": Case(route("172.16.0.0/13"), base=route("172.16.0.0/12")),
    "networks.routes.gateway": Case(
        network(routes=[{"destination": "172.16.0.0/12", "gateway": "10.9.0.2"}]), base=route("172.16.0.0/12")
    ),
    "networks.mac": Case(network(mac="{mac}"), (network(mac="{MAC}"), network(mac="{dashed}"))),
    "networks.mtu": Case(network(mtu=1400), (network(mtu="1400"),), network(mtu=1300)),
    "networks.mtu#beside": Case(
        network(addresses=["{ip6}/64", "{ip}/16", "{ip6}0/64"], mtu=1400),
        base=network(addresses=["{ip6}/64", "{ip}/16", "{ip6}0/64"]),
    ),
    "networks.rate_in": Case(
        network(rate_in="20mbit"), (network(rate_in="20000kbit"), network(rate_in="20Mbit")), network(rate_in="21mbit")
    ),
    "networks.rate_out": Case(network(rate_out="1.5gbit"), (network(rate_out="1500mbit"),), network(rate_out="1gbit")),
    "hostname": Case({"hostname": "other"}, cased={"hostname": "Other"}),
    "env": Case(
        {"env": {"A": "x", "B": "1"}},
        ({"env": {"B": 1, "A": "x"}},),
        {"env": {"A": "x"}},
        {"env": {"A": "X", "B": "1"}},
    ),
    "env#key": Case({"env": {"A": "x"}}, cased={"env": {"a": "x"}}),
    "workdir": Case({"workdir": "/tmp"}, cased={"workdir": "/Tmp"}),
    "user": Case({"user": "app"}, cased={"user": "App"}),
    "limits": Case(
        {"limits": {"memory": "64M", "pids": 50}},
        ({"limits": {"pids": "50", "memory": "64M", "cpus": None}},),
        {"limits": {"pids": 50}},
    ),
    "limits.memory": limit("memory", "64M", "64MiB", "64m", 67108864, "65536K", other="65M"),
    "limits.cpus": limit("cpus", 0.5, "0.50", other=0.6),
    "limits.cpu_weight": limit("cpu_weight", 200, "200", other=300),
    "limits.cpuset": limit("cpuset", "0-1", "0,1", "1,0", " 0-1 ", other="0"),
    "limits.cpuset_mems": limit("cpuset_mems", "0", 0, "0-0"),
    "limits.pids": limit("pids", 50, "50", other=60),
    "limits.io_read_rate": limit("io_read_rate", "10M", 10485760, "10240K", other="11M"),
    "limits.io_write_rate": limit("io_write_rate", "10M", 10485760, "10MiB", other="11M"),
    "limits.io_read_ops": limit("io_read_ops", 500, "500", other=501),
    "limits.io_write_ops": limit("io_write_ops", 500, "500", other=501),
    "limits.devices": Case(
        device(("/dev/loop-control", "r"), ("/dev/loop0", "rw")),
        (device(("/dev/loop0", "rw"), ("/dev/loop-control", "r")),),
        device(("/dev/loop0", "rw")),
    ),
    "limits.devices.path": Case(
        device(("/dev/loop-control", "r")), base=device(("/dev/loop0", "r")), cased=device(("/dev/Loop-control", "r"))
    ),
    "limits.devices.access": Case(
        device(("/dev/loop0", "rw")), (device(("/dev/loop0", "wr")),), base=device(("/dev/loop0", "r"))
    ),
    "volumes": Case(
        {"volumes": [volume("/srv/h/a"), volume("hvolume", "/b")]},
        fewer={"volumes": [volume("hvolume", "/b")]},
        cased={"volumes": [volume("/srv/h/a"), volume("Hvolume", "/b")]},
    ),
    "volumes.source": Case(
        {"volumes": [volume("/srv/h/a")]},
        ({"volumes": [volume("/srv//h/./a/")]},),
        cased={"volumes": [volume("/srv/h/A")]},
        base={"volumes": [volume("/srv/h/b")]},
        lacking=Lacking({"volumes": [volume("/srv/h/none")]}, "volume /srv/h/none"),
    ),
    "volumes.target": Case(
        {"volumes": [volume("/srv/h/a", "/c")]},
        ({"volumes": [volume("/srv/h/a", "//c/")]},),
        cased={"volumes": [volume("/srv/h/a", "/C")]},
        base={"volumes": [volume("/srv/h/a")]},
    ),
    "volumes.read_only": Case(
        {"volumes": [volume("/srv/h/a", read_only=True)]}, base={"volumes": [volume("/srv/h/a")]}
    ),
    "volumes.idmap": Case({"volumes": [volume("/srv/h/a", idmap=True)]}, base={"volumes": [volume("/srv/h/a")]}),
    "init": Case({"init": False}, ({"init": "no"},)),
    "init#defaults": Case(DEFAULTS, does="nothing"),
    "size": Case({"size": "96M"}, ({"size": 96}, {"size": "98304K"}), kept=True),
    "labels": Case(
        {"labels": {"a": "x", "b": "1"}},
        ({"labels": {"b": 1, "a": "x"}},),
        {"labels": {"b": "1"}},
        {"labels": {"a": "X", "b": "1"}},
    ),
    "restart_policy": Case({"restart_policy": "always"}),
    "restart_policy#no": Case({"restart_policy": "no"}, base={"restart_policy": "unless-stopped"}),
    "restart_retries": Case(
        {"restart_policy": "on-failure", "restart_retries": 3},
        ({"restart_policy": "on-failure", "restart_retries": "3"},),
        base={"restart_policy": "on-failure"},
    ),
    "depends_on": Case(
        {"depends_on": [{"name": "hwell"}, {"name": "hbase"}]},
        ({"depends_on": [{"name": "hbase"}, {"name": "hwell"}]},),
        {"depends_on": [{"name": "hbase"}]},
    ),
    "depends_on.name": Case(
        {"depends_on": [{"name": "hwell"}]},
        base={"depends_on": [{"name": "hbase"}]},
        cased={"depends_on": [{"name": "Hwell"}]},
        lacking=Lacking({"depends_on": [{"name": "hnone"}]}, "hnone, which does not run"),
    ),
    "depends_on.condition": Case(
        {"depends_on": [{"name": "hwell", "condition": "healthy"}]}, base={"depends_on": [{"name": "hwell"}]}
    ),
    "schedule": Case(
        {"schedule": {"start": "0 8 * * 1-5", "stop": "0 18 * * *"}}, fewer={"schedule": {"stop": "0 18 * * *"}}
    ),
    "schedule.start": Case({"schedule": {"start": "0 8 * * 1-5"}}, ({"schedule": {"start": " 0  8 * * 1-5"}},)),
    "schedule.stop": Case({"schedule": {"stop": "0 8 * * 1-5"}}, ({"schedule": {"stop": "0 8 *\t* 1-5"}},)),
    "healthcheck": Case(check(), fewer=check(port=81)),
    "healthcheck.http": Case(check(http="/a"), cased=check(http="/A"), **WEB),
    "healthcheck.port": Case(check(port=8080), (check(port="8080"),), **WEB),
    "healthcheck.command": Case(
        {"healthcheck": {"command": ["test", "-e", "/a b"]}},
        ({"healthcheck": {"command": "test -e '/a b'"}},),
        {"healthcheck": {"command": ["test", "-e"]}},
        {"healthcheck": {"command": ["test", "-e", "/A b"]}},
    ),
    "healthcheck.interval": Case(check(interval=2), (check(interval="2"),), **WEB),
    "healthcheck.timeout": Case(check(timeout=3), (check(timeout="3.0"),), **WEB),
    "healthcheck.retries": Case(check(retries=5), (check(retries="5"),), **WEB),
    "healthcheck.start_period": Case(check(start_period=60), (check(start_period="60.0"),), **WEB),
    "healthcheck.action": Case(check(action="restart"), **WEB),
    "stop_signal": Case(
        {"stop_signal": "INT"}, ({"stop_signal": "SIGINT"}, {"stop_signal": "int"}, {"stop_signal": 2})
    ),
    "stop_timeout": Case({"stop_timeout": 5}, ({"stop_timeout": "5.0"},)),
    "extra_hosts": Case(
        {"extra_hosts": {"one": "10.9.9.1", "two": "fd09::9"}},
        ({"extra_hosts": {"two": "FD09:0:0::9", "one": "10.9.9.1"}},),
        {"extra_hosts": {"two": "fd09::9"}},
        {"extra_hosts": {"One": "10.9.9.1", "two": "fd09::9"}},
    ),
    "log_size": Case({"log_size": "1M"}, ({"log_size": 1048576}, {"log_size": "1024k"})),
    "dns": Case(
        {"dns": {"servers": ["10.9.0.1"], "search": ["lab"]}},
        ({"dns": {"search": ["lab"], "servers": ["10.9.0.1"], "options": []}},),
        {"dns": {"search": ["lab"]}},
    ),
    "dns.servers": Case(
        {"dns": {"servers": ["10.9.0.1", "fd09::1"]}},
        ({"dns": {"servers": ["10.9.0.1", "FD09:0::1"]}},),
        {"dns": {"servers": ["fd09::1"]}},
    ),
    "dns.search": Case(
        {"dns": {"search": ["lab", "net"]}},
        fewer={"dns": {"search": ["net"]}},
        cased={"dns": {"search": ["Lab", "net"]}},
    ),
    "dns.options": Case({"dns": {"options": ["ndots:2", "edns0"]}}, fewer={"dns": {"options": ["edns0"]}}),
    "ulimits": Case(
        {"ulimits": {"nofile": "100:100", "core": "0"}},
        ({"ulimits": {"core": 0, "nofile": 100}}, {"ulimits": {"NOFILE": "100", "core": "0:0"}}),
        {"ulimits": {"core": "0"}},
    ),
    "sysctls": Case(
        {"sysctls": {"net.ipv4.ip_default_ttl": "50", "kernel.msgmax": "9000"}},
        ({"sysctls": {"kernel.msgmax": 9000, "net.ipv4.ip_default_ttl": 50}},),
        {"sysctls": {"kernel.msgmax": "9000"}},
    ),
    "secrets": Case(
        {"secrets": [{"name": "one", "source": "/srv/h/one"}, {"name": "two", "source": "/srv/h/two"}]},
        ({"secrets": [{"name": "two", "source": "/srv/h/two"}, {"name": "one", "source": "/srv//h/one"}]},),
        {"secrets": [{"name": "two", "source": "/srv/h/two"}]},
    ),
    "secrets.name": Case(
        {"secrets": [{"name": "two", "source": "/srv/h/one"}]},
        base={"secrets": [{"name": "one", "source": "/srv/h/one"}]},
        cased={"secrets": [{"name": "Two", "source": "/srv/h/one"}]},
    ),
    "secrets.source": Case(
        {"secrets": [{"name": "one", "source": "/srv/h/two"}]},
        base={"secrets": [{"name": "one", "source": "/srv/h/one"}]},
        lacking=Lacking({"secrets": [{"name": "one", "source": "/srv/h/none"}]}, "/srv/h/none"),
    ),
    "secrets.mode": Case(
        {"secrets": [{"name": "one", "source": "/srv/h/one", "mode": "0440"}]},
        base={"secrets": [{"name": "one", "source": "/srv/h/one"}]},
    ),
    "share_network": Case(
        {"share_network": "hbase"},
        base={"networks": []},
        cased={"share_network": "Hbase"},
        lacking=Lacking({"share_network": "hnone"}, "hnone"),
    ),
    "capabilities": Case(
        {"capabilities": {"add": ["NET_RAW"], "drop": ["CHOWN", "FOWNER"]}},
        ({"capabilities": {"drop": ["CAP_FOWNER", "CHOWN"], "add": ["CAP_NET_RAW"]}},),
        {"capabilities": {"drop": ["CHOWN"]}},
    ),
    "capabilities.add": Case({"capabilities": {"add": ["NET_RAW"]}}, ({"capabilities": {"add": ["cap_net_raw"]}},)),
    "capabilities.drop": Case({"capabilities": {"drop": ["CHOWN"]}}, ({"capabilities": {"drop": ["CAP_CHOWN"]}},)),
    "no_new_privileges": Case({"no_new_privileges": False}, ({"no_new_privileges": "no"},)),
    "seccomp": Case({"seccomp": "unconfined"}, lacking=Lacking({"seccomp": "/srv/h/none.json"}, "/srv/h/none.json")),
    "apparmor": Case({"apparmor": "unconfined"}),
    "userns": Case({"userns": "host"}),
    "read_only": Case({"read_only": True}, ({"read_only": "yes"},)),
    "tmpfs": Case(
        {"tmpfs": [{"target": "/a"}, {"target": "/b"}]},
        ({"tmpfs": [{"target": "/b/"}, {"target": "/a"}]},),
        {"tmpfs": [{"target": "/b"}]},
        {"tmpfs": [{"target": "/A"}, {"target": "/b"}]},
    ),
    "tmpfs.target": Case({"tmpfs": [{"target": "/a"}]}, base={"tmpfs": [{"target": "/b"}]}),
    "tmpfs.size": Case(
        {"tmpfs": [{"target": "/a", "size": "16M"}]},
        ({"tmpfs": [{"target": "/a", "size": 16777216}]},),
        {"tmpfs": [{"target": "/a", "size": "17M"}]},
        base={"tmpfs": [{"target": "/a"}]},
    ),
    "tmpfs.mode": Case({"tmpfs": [{"target": "/a", "mode": "0755"}]}, base={"tmpfs": [{"target": "/a"}]}),
    "restart": Case({"restart": True}, does="act"),
    "recreate": Case({"recreate": "always"}, does="act"),
    "recreate#never": Case(
        {"recreate": "never", "env": {"A": "x"}}, does="refuse", words="cannot change in place: env none -> {'A': 'x'}"
    ),
    "wait": Case({"wait": {"command": "true"}}, does="nothing"),
    "wait.http": Case(
        {"wait": {"http": "/", "port": 9, "timeout": 0}}, does="fail", words="http / on port 9 did not answer in 0 s"
    ),
    "wait.port": Case(
        {"wait": {"http": "/", "port": 10, "timeout": 0}},
        does="fail",
        words="http / on port 10 did not answer in 0 s",
    ),
    "wait.timeout": Case(
        {"wait": {"http": "/", "timeout": 0.5}}, does="fail", words="http / on port 80 did not answer in 0.5 s"
    ),
    "wait.command": Case(
        {"wait": {"command": ["false"], "timeout": 0}}, does="fail", words="command false did not answer in 0 s"
    ),
    "wait.healthy": Case({"wait": {"healthy": True}}, base={"healthcheck": {"command": "true"}}, does="nothing"),
}

BRIDGE: dict[str, Case] = {
    "name": EVERYWHERE,
    "state": Case({"state": "down"}),
    "addresses": Case(
        {"addresses": ["{ip}/24", "{ip6}/64"]},
        ({"addresses": ["{ip}/255.255.255.0", "{IP6}/64"]}, {"addresses": ["{ip}/24", "{long6}/64", "{ip}/24"]}),
        {"addresses": ["{ip6}/64"]},
    ),
    "addresses#order": Case(
        {"addresses": ["{ip}/24", "{ip6}/64", "{ip6}0/64"]}, base={"addresses": ["{ip6}0/64", "{ip6}/64", "{ip}/24"]}
    ),
    "mtu": Case({"mtu": 1400}, ({"mtu": "1400"},)),
    "mtu#beside": Case({"mtu": 1400}, base={"addresses": ["{ip6}/64", "{ip}/24", "{ip6}0/64"]}),
    "stp": Case({"stp": True}, ({"stp": "yes"},)),
    "mac": Case({"mac": "{mac}"}, ({"mac": "{MAC}"}, {"mac": "{dashed}"})),
    "ports": Case({"ports": ["hport1", "hport2"]}, fewer={"ports": ["hport2"]}, cased={"ports": ["Hport1", "hport2"]}),
    "move_addresses": Case({"ports": ["hport3"], "move_addresses": True}, shown=("ports", "addresses", "moved", "mac")),
    "move_addresses#no": Case(
        {"ports": ["hport4"], "move_addresses": False}, does="refuse", words="has addresses (10.8.4.1/24)"
    ),
    "confirm": Case({"confirm": "hnone"}, does="fail", words="confirm"),
}

VOLUME: dict[str, Case] = {"name": EVERYWHERE, "state": Case({"state": "present"}, does="nothing")}

NO_IMAGE = {"from_image": None}
#: A tree of the suites that tests/lab/debs.py makes, and one of the repository of tests/lab/rpms.py.
SMALL = {**NO_IMAGE, "suite": debs.SMALL, "mirror": debs.SMALL_MIRROR, "keyring": debs.SMALL_KEYRING}
REPOSITORY = {"name": "lab", "baseurl": "file:///srv/rpm/$releasever", "gpgkey": rpms.KEY}
RED = {**NO_IMAGE, "packages": ["bash"], "releasever": "9", "size": "256M", "repositories": [REPOSITORY]}


def repository(**more: str) -> dict[str, Any]:
    return {"repositories": [{**REPOSITORY, **more}]}


FILES = [{"path": "/srv/one", "content": "thunder one"}, {"path": "/srv/two", "content": "thunder two", "mode": "0600"}]

IMAGE: dict[str, Case] = {
    "name": EVERYWHERE,
    "name#latest": Case({"name": "{name}:latest"}, does="nothing"),
    "state": EVERYWHERE,
    "size": Case({"size": "96M"}, ({"size": 96}, {"size": "96MiB"}, {"size": "98304k"})),
    "suite": Case({"suite": debs.SMALLER}, cased={"suite": "Smaller"}, base=SMALL),
    "suite#derived": Case({"suite": "trixie"}, does="refuse", words="do not go with from_image"),
    "mirror": Case(
        {"mirror": "copy:///srv/again"},
        ({"mirror": "copy:///srv/again/"},),
        cased={"mirror": "copy:///srv/Again"},
        base=SMALL,
    ),
    "mirror#derived": Case({"mirror": "copy:///srv/again"}, does="refuse", words="do not go with from_image"),
    "packages": Case(
        {"packages": ["hello", "ed"]},
        ({"packages": ["ed", "hello", "ed"]},),
        {"packages": ["ed"]},
        {"packages": ["Hello", "ed"]},
        base=SMALL,
    ),
    "packages#derived": Case({"packages": ["hello"]}, does="fail", words="neither apt-get nor dnf"),
    "architecture": Case({"architecture": "i386"}, base=SMALL),
    "architecture#own": Case({"architecture": "amd64"}, base=SMALL, does="nothing"),
    "architecture#foreign": Case(
        {"architecture": "arm64"},
        base=SMALL,
        does="fail",
        words="cannot run them",
        lacking=Lacking({"architecture": "arm64"}, "cannot run them"),
    ),
    "keyring": Case(
        {"keyring": "/srv/small/again.gpg"},
        ({"keyring": "/srv//small/./again.gpg"},),
        cased={"keyring": "/srv/small/Again.gpg"},
        lacking=Lacking({"keyring": "/srv/h/none.gpg"}, "/srv/h/none.gpg"),
        base=SMALL,
    ),
    "proxy": Case({"proxy": "http://proxy.example:3128"}, does="nothing"),
    "from_image": Case(
        {"from_image": "other"},
        ({"from_image": "other:latest"},),
        cased={"from_image": "Other"},
        lacking=Lacking({"from_image": "hnone"}, "there is no image hnone"),
        shown=("from_image", "source"),
    ),
    "source": Case(
        {"source": "tar:/srv/h/two.tar"},
        ({"source": "tar:/srv/h/two.copy"},),
        base={**NO_IMAGE, "source": "dir:/srv/h/tree"},
        shown=("origin", "source"),
        lacking=Lacking({"source": "tar:/srv/h/none.tar"}, "/srv/h/none.tar"),
    ),
    "repositories": Case(
        {"repositories": [REPOSITORY, {**REPOSITORY, "name": "again"}]},
        fewer={"repositories": [{**REPOSITORY, "name": "again"}]},
        base=RED,
    ),
    "repositories.name": Case(repository(name="other"), cased=repository(name="Other"), base=RED),
    "repositories.baseurl": Case(
        repository(baseurl="file:///srv/rpm/again"),
        (repository(baseurl="file:///srv/rpm/again/"),),
        cased=repository(baseurl="file:///srv/rpm/Again"),
        base=RED,
    ),
    "repositories.gpgkey": Case(
        repository(gpgkey="/srv/rpm/again.key"),
        (repository(gpgkey="/srv//rpm/./again.key"), repository(gpgkey="file:///srv/rpm/again.key")),
        cased=repository(gpgkey="/srv/rpm/Again.key"),
        lacking=Lacking(repository(gpgkey="/srv/h/none.key"), "/srv/h/none.key"),
        base=RED,
    ),
    "releasever": Case({"releasever": "again"}, cased={"releasever": "Again"}, base=RED),
    "from_container": Case(
        {**NO_IMAGE, "size": None, "from_container": "hbase"},
        shown=None,
        lacking=Lacking({**NO_IMAGE, "size": None, "from_container": "hnone"}, "there is none"),
    ),
    "insecure": Case({"insecure": True}, does="nothing"),
    "unsigned": Case({"unsigned": True}, does="nothing"),
    "ca_certificate": Case({"ca_certificate": "/srv/h/one"}, does="nothing"),
    "files": Case({"files": FILES}, fewer={"files": FILES[1:]}),
    "files.path": Case(
        {"files": [{"path": "/srv/a"}]}, ({"files": [{"path": "//srv/./a"}]},), cased={"files": [{"path": "/srv/A"}]}
    ),
    "files.content": Case(
        {"files": [{"path": "/a", "content": "x"}]}, cased={"files": [{"path": "/a", "content": "X"}]}
    ),
    "files.mode": Case({"files": [{"path": "/a", "mode": "0600"}]}, ({"files": [{"path": "/a", "mode": "00600"}]},)),
    "commands": Case(
        {"commands": ["echo a >/a", "echo b >/b"]},
        fewer={"commands": ["echo b >/b"]},
        cased={"commands": ["echo A >/a", "echo b >/b"]},
    ),
    "rebuild": Case({"rebuild": "always"}, does="act"),
    "rebuild#never": Case({"rebuild": "never", "commands": ["true"]}, does="nothing"),
}

COMMAND: dict[str, Case] = {
    "state": EVERYWHERE,
    "cron": Case({"cron": False}, ({"cron": "no"},), shown=("files",)),
    "files": Case(
        {"files": {"baleine/a.py": "a", "baleine/b.py": "b"}},
        ({"files": {"baleine/b.py": "b", "baleine/a.py": "a"}},),
        {"files": {"baleine/b.py": "b"}},
        {"files": {"baleine/a.py": "A", "baleine/b.py": "b"}},
    ),
}

TREE = {"target": "tar:/srv/h/tree.tar"}
EXPORT: dict[str, Case] = {
    "name": EVERYWHERE,
    "target": Case(
        {"target": "docker-archive:/srv/h/out.tar"},
        ({"target": "docker-archive:/srv//h/./out.tar"}, {"name": "tiny:latest"}),
        cased={"target": "docker-archive:/srv/h/Out.tar"},
    ),
    "target#oci": Case(
        {"target": "oci-archive:/srv/h/out.oci"},
        lacking=Lacking({"target": "oci-archive:/srv/h/hlack.oci"}, "image hlack: there is none"),
    ),
    "target#tree": Case(TREE, ({"target": "tar:/srv/h/../h/tree.tar"},)),
    "insecure": Case({"insecure": True}, base=TREE, does="nothing"),
    "proxy": Case({"proxy": "http://proxy.example:3128"}, base=TREE, does="nothing"),
}

STORE: dict[str, Case] = {
    "state": EVERYWHERE,
    "size": Case({"size": "700M"}, ({"size": "700MiB"}, {"size": "716800K"}, {"size": 700}), base={"size": "640M"}),
}

#: Modules without a state of their own: what is asked of them, in check mode and really.
EXEC: dict[str, Case] = {
    "name": EVERYWHERE,
    "argv": Case({"argv": ["true"]}, does="unknown"),
    "creates": Case({"argv": ["touch", "/made"], "creates": "/made"}, cased={"creates": "/Made"}),
    "removes": Case({"argv": ["rm", "/made"], "removes": "/made"}),
    "stdin": Case({"argv": ["grep", "-x", "word"], "stdin": "word"}, does="unknown"),
    "env": Case({"argv": ["sh", "-c", "test $A = x"], "env": {"A": "x"}}, does="unknown"),
    "workdir": Case({"argv": ["test", "-e", "passwd"], "workdir": "/etc"}, does="unknown"),
    "user": Case({"argv": ["sh", "-c", "test $(id -u) = 1000"], "user": "app"}, does="unknown"),
}
INFO: dict[str, Case] = {"names": Case({"names": ["hbase", "hnone"]}, does="nothing")}

TABLES: dict[str, dict[str, Case]] = {
    "baleine_bridge": BRIDGE,
    "baleine_bridge_info": INFO,
    "baleine_command": COMMAND,
    "baleine_container": CONTAINER,
    "baleine_container_exec": EXEC,
    "baleine_container_info": INFO,
    "baleine_containers": {
        "containers": EVERYWHERE,
        **{f"containers.{key}": case for key, case in CONTAINER.items()},
        "prune": EVERYWHERE,
        "prune.label": Case(
            {"prune": {"label": "honest=gone"}},
            ({"prune": {"label": "honest"}},),
            cased={"prune": {"label": "honest=Gone"}},
        ),
        "prune.prefix": Case({"prune": {"prefix": "hgone"}}, cased={"prune": {"prefix": "Hgone"}}),
    },
    "baleine_host_info": {},
    "baleine_image": IMAGE,
    "baleine_image_export": EXPORT,
    "baleine_image_info": INFO,
    "baleine_store": STORE,
    "baleine_volume": VOLUME,
}
