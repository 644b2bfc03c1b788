# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option of every module, and what is done with it: the tables that test_honesty.py drives on a host.

tests/unit/test_honesty.py holds them against the modules' own specifications: an option that is in no table fails there.
"""

from __future__ import annotations

from .case import EVERYWHERE, Case
from .container_cases import CONTAINER
from .image_cases import EXPORT, IMAGE

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
