# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of a container, and what is done with it."""

from __future__ import annotations

from typing import Any

from .case import EVERYWHERE, Case, Lacking, Params

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
