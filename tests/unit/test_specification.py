# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runtime is told, as data; who a user is; what waiting means; which rules of the host hurt."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from baleine import enter, hazards, neighbours, oci, pid1, waiting
from baleine.errors import BaleineError
from baleine.process import find_program
from tests.unit.support import Recorded


def specification(identity: oci.Identity = oci.Identity(), devices: Any = (), **process: Any) -> dict[str, Any]:  # noqa: B008
    first = oci.process(("/bin/sh",), identity, process.get("env", {}), process.get("workdir", ""))
    return oci.specification(
        "/tree", "web1", first, devices, 0x70000000, "/baleine/web1", oci.init_binds("/bin/busybox", "/b")
    )


def test_the_runtime_specification_can_be_written_as_json():
    assert json.loads(json.dumps(specification()))["hostname"] == "web1"


def test_a_container_has_seven_new_namespaces():
    kinds = [namespace["type"] for namespace in specification()["linux"]["namespaces"]]
    assert sorted(kinds) == ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]
    assert all(set(namespace) == {"type"} for namespace in specification()["linux"]["namespaces"])


@pytest.mark.parametrize("kind", ["uidMappings", "gidMappings"])
def test_root_of_a_container_is_an_unused_user_of_the_host(kind):
    assert specification()["linux"][kind] == [{"containerID": 0, "hostID": 0x70000000, "size": 65536}]


@pytest.mark.parametrize(
    "key", ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding"]
)
def test_a_container_forwards_no_packets(key):
    assert specification()["linux"]["sysctl"][key] == "0"


def test_only_the_devices_of_the_runtime_are_allowed():
    assert specification()["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}


def test_a_given_device_is_allowed_by_its_numbers_only():
    rules = specification(devices=[{"path": "/dev/zero", "access": "r"}])["linux"]["resources"]["devices"]
    assert rules[1:] == [{"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}]


def test_no_rlimit_is_set_without_a_request():
    assert "rlimits" not in specification()["process"]


@pytest.mark.parametrize("identity", [oci.Identity(), oci.Identity(33, 33, (4,), "/var/www")], ids=["root", "www-data"])
def test_no_capability_is_inherited(identity):
    found = specification(identity)["process"]["capabilities"]
    assert found["inheritable"] == found["ambient"] == []
    expected = found["bounding"] if identity.uid == 0 else []
    assert found["effective"] == found["permitted"] == expected


@pytest.mark.parametrize(
    "name", ["SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_MODULE", "SYS_PTRACE", "MKNOD", "SYS_RAWIO"]
)
def test_no_dangerous_capability_is_given(name):
    assert f"CAP_{name}" not in oci.CAPABILITIES


def test_a_user_is_resolved_to_numbers_and_a_home():
    process = specification(oci.Identity(33, 34, (4, 5), "/var/www"), env={"A": "1", "HOME": "/x"}, workdir="/srv")[
        "process"
    ]
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [4, 5]}
    assert process["cwd"] == "/srv"
    assert process["terminal"] is False
    assert {"A=1", "HOME=/x"} <= set(process["env"])
    assert "HOME=/var/www" not in process["env"]
    assert specification()["process"]["cwd"] == "/"


def test_pid_1_and_its_script_are_read_only_and_its_state_is_writable():
    mounts = {mount["destination"]: mount for mount in specification()["mounts"]}
    for name, mode in (("busybox", "ro"), ("init", "ro"), ("state", "rw")):
        options = mounts[f"{pid1.INSIDE}/{name}"]["options"]
        assert mode in options
        assert {"nosuid", "nodev"} <= set(options)
    assert "noexec" in mounts[f"{pid1.INSIDE}/state"]["options"]
    assert pid1.arguments(("a", "b c")) == [f"{pid1.INSIDE}/busybox", "sh", f"{pid1.INSIDE}/init", "a", "b c"]


@pytest.mark.parametrize("path", ["/sys", "/sys/fs/cgroup"])
def test_the_trees_of_the_kernel_are_read_only(path):
    mounts = {mount["destination"]: mount for mount in specification()["mounts"]}
    assert "ro" in mounts[path]["options"]


def test_the_read_only_flag_of_a_volume_reaches_the_runtime():
    assert "ro" in oci.Bind("/a", "/b", True).as_mount()["options"]
    assert "rw" in oci.Bind("/a", "/b", False, ("nodev",)).as_mount()["options"]


# ---- users

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
www-data:x:33:34:www-data:/var/www:/usr/sbin/nologin
nohome:x:1000:1000:::/bin/sh
relative:x:1001:1001::home:/bin/sh
short:x:5
7up:x:1002:1002::/home/7up:/bin/sh
"""
GROUP = "root:x:0:\nadm:x:4:www-data,nohome\nwww-data:x:34:\nstaff:x:50:\nshort:x\n"


def tree(tmp_path: Any, passwd: Any = PASSWD, group: Any = GROUP) -> str:
    (tmp_path / "etc").mkdir()
    for name, content in (("passwd", passwd), ("group", group)):
        if content is not None:
            (tmp_path / "etc" / name).write_text(content)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", oci.Identity(0, 0, (), "/root")),
        ("root", oci.Identity(0, 0, (), "/root")),
        ("0", oci.Identity(0, 0, (), "/root")),
        ("www-data", oci.Identity(33, 34, (4,), "/var/www")),
        ("33", oci.Identity(33, 34, (4,), "/var/www")),
        ("www-data:staff", oci.Identity(33, 50, (), "/var/www")),
        ("www-data:50", oci.Identity(33, 50, (), "/var/www")),
        ("33:77", oci.Identity(33, 77, (), "/var/www")),
        ("4711", oci.Identity(4711, 0, (), "/")),
        ("4711:4712", oci.Identity(4711, 4712, (), "/")),
        ("nohome", oci.Identity(1000, 1000, (4,), "/")),
        ("relative", oci.Identity(1001, 1001, (), "/")),
        ("7up", oci.Identity(1002, 1002, (), "/home/7up")),
        ("65535:65535", oci.Identity(65535, 65535, (), "/")),
    ],
)
def test_a_user_is_looked_up_in_the_tree(user, identity, tmp_path):
    assert enter.find_identity(tree(tmp_path), user, "container c") == identity


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("nobody-here", "has no user nobody-here"),
        ("www-data:nobody-here", "has no group nobody-here"),
        ("short", "has no user short"),
        (":staff", "no user"),
        ("-1", "no user -1"),
        ("65536", "below 65536"),
        ("0:65536", "below 65536"),
        ("9" * 5000, "user"),
    ],
    ids=lambda text: text[:20],
)
def test_a_user_unknown_to_the_tree_is_refused(user, why, tmp_path):
    with pytest.raises(BaleineError, match=why):
        enter.find_identity(tree(tmp_path), user, "container c")


def test_a_tree_without_users_accepts_numbers_and_root(tmp_path):
    root = tree(tmp_path, None, None)
    assert enter.find_identity(root, "", "c") == oci.Identity(0, 0, (), "/")
    assert enter.find_identity(root, "5:6", "c") == oci.Identity(5, 6, (), "/")
    with pytest.raises(BaleineError, match="no user root"):
        enter.find_identity(root, "root", "c")


@pytest.mark.parametrize(
    ("passwd", "group"),
    [
        ("a:x:abc:0::/:/bin/sh\n", ""),
        ("a:x:²:0::/:/bin/sh\n", ""),
        ("a:x:0:²::/:/bin/sh\n", ""),
        (f"a:x:{'9' * 5000}:0::/:/bin/sh\n", ""),
        ("a:x:99999999999:0::/:/bin/sh\n", ""),
        ("a:x:-1:0::/:/bin/sh\n", ""),
        ("a:x:1:1::/:/bin/sh\n", "g:x:²:a\n"),
        ("a:x:1:1::/:/bin/sh\n", f"g:x:{'9' * 5000}:a\n"),
        ("a:x:1:1::/:/bin/sh\n", "g:x:65536:a\n"),
        (":::::::\n" * 1000, ":::\n" * 1000),
        ("a\0b:x:0\n", ""),
        ("\udcff".encode("utf-8", "surrogatepass").decode("utf-8", "replace"), ""),
    ],
    ids=["word", "superscript", "superscript group", "long", "large", "negative", "group", "long group", "large group"]
    + ["colons", "NUL", "bytes"],
)
def test_a_hostile_list_of_users_gives_a_readable_error_or_a_valid_number(passwd, group, tmp_path):
    root = tree(tmp_path, passwd, group)
    try:
        found = enter.find_identity(root, "a", "container c")
    except BaleineError as error:
        assert "container c" in error.message
    else:
        assert 0 <= found.uid < 65536
        assert 0 <= found.gid < 65536


@pytest.mark.parametrize("kind", ["absolute", "climbing", "fifo", "loop", "directory"])
def test_the_users_of_the_host_are_never_read(kind, tmp_path):
    (tmp_path / "outside").write_text("evil:x:1:1::/:/bin/sh\n")
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    path = root / "etc" / "passwd"
    make: dict[str, Any] = {
        "absolute": lambda: path.symlink_to(tmp_path / "outside"),
        "climbing": lambda: path.symlink_to("../../outside"),
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to("passwd"),
        "directory": path.mkdir,
    }
    make[kind]()
    with pytest.raises(BaleineError, match="has no user evil"):
        enter.find_identity(str(root), "evil", "container c")


def test_the_hosts_file_names_every_address():
    record = {"nom_bridge": "a,b", "address": "192.168.42.2/24+fd00::2/64,", "hostname": "web1.example"}
    text = neighbours.hosts("web1", record, {})
    assert "127.0.0.1 localhost\n" in text
    assert "192.168.42.2 web1.example\n" in text
    assert "fd00::2 web1.example\n" in text
    alone = neighbours.hosts("web1", {}, {})
    assert "127.0.1.1 web1\n" in alone


def test_the_hosts_file_names_neighbours_only_on_their_common_bridge():
    record = {"nom_bridge": "a,b", "address": "10.0.0.2/24,10.1.0.2/24", "extra_hosts": '{"db": "10.9.0.1"}'}
    running = {
        "web1": record,
        "web2": {"nom_bridge": "b,c", "address": "10.1.0.3/24+fd00::3/64,10.2.0.3/24", "hostname": "two"},
        "web3": {"nom_bridge": "c", "address": "10.2.0.4/24"},
    }
    text = neighbours.hosts("web1", record, running)
    assert "10.9.0.1 db\n" in text and "10.1.0.3 web2 two\n" in text and "fd00::3 web2 two\n" in text
    assert "10.2.0.3" not in text and "web3" not in text and text.count("10.0.0.2") == 1


# ---- waiting


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        (None, None),
        ({}, None),
        ({"http": "/"}, waiting.Condition("/")),
        ({"http": "/status?x=1", "port": 8080, "timeout": 5}, waiting.Condition("/status?x=1", 8080, (), 5.0)),
        ({"http": "/", "command": None, "timeout": None, "port": None}, waiting.Condition("/")),
        ({"http": "/", "timeout": 0}, waiting.Condition("/", seconds=0.0)),
        ({"command": "test -e '/a b'"}, waiting.Condition(command=("test", "-e", "/a b"))),
        ({"command": ["true"]}, waiting.Condition(command=("true",))),
        ({"healthy": True, "timeout": 9}, waiting.Condition(seconds=9.0, healthy=True)),
        ({"healthy": False, "http": "/"}, waiting.Condition("/")),
    ],
)
def test_a_wait_condition_has_one_normal_form(params, condition):
    assert waiting.request(params, "container c") == condition


@pytest.mark.parametrize(
    "params",
    [
        {"timeout": 5},
        {"http": "/", "command": "true"},
        {"http": "status"},
        {"http": "/", "port": 65536},
        {"http": "/", "port": -1},
        {"http": "/", "port": 0},
        {"http": "/", "timeout": -1},
        {"http": "/", "timeout": float("nan")},
        {"http": "/a b"},
        {"http": "/a\r\nX: y"},
        {"command": "echo 'open"},
        {"command": "  "},
    ],
    ids=str,
)
def test_an_invalid_wait_condition_is_refused(params):
    with pytest.raises(BaleineError, match="container c"):
        waiting.request(params, "container c")


# ---- rules of the host, recorded from `nft -j list chains` (nftables 1.0.6) in a network namespace of its own

META = {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}


def chain(family: str, table: str, name: str, hook: str = "", policy: str = "") -> dict[str, Any]:
    base = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": {"family": family, "table": table, "name": name, "handle": 1, **base}}


@pytest.mark.skipif(find_program("nft") is None, reason="needs nft")
@pytest.mark.parametrize(
    ("chains", "words"),
    [
        ([], None),
        ([chain("ip", "filter", "FORWARD", "forward", "drop")], "-P FORWARD DROP"),
        ([chain("ip", "filter", "FORWARD", "forward", "accept")], None),
        ([chain("inet", "fw", "fwd", "forward", "drop")], "chain fwd in table inet fw is drop"),
        (
            [chain("inet", "fw", "forward", "forward", "accept"), chain("inet", "fw", "other"), chain("inet", "fw", "in", "input", "drop")],
            None,
        ),
    ],
    ids=["none", "iptables' DROP", "iptables' ACCEPT", "another name", "only input drops"],
)  # fmt: skip
def test_the_rule_that_drops_forwarded_frames_is_named(chains, words, monkeypatch, tmp_path):
    monkeypatch.setattr(hazards, "LEGACY_TABLES", str(tmp_path / "none"))
    run = Recorded((0, json.dumps({"nftables": [META, *chains]})), (0, "table inet fw {}"))
    rule = hazards.dropping_rule(run)
    assert (rule is None) is (words is None)
    assert words is None or words in str(rule)
    assert [argv[1:] for argv, _stdin in run.asked][:1] == [["-j", "list", "chains"]]


DOCKERS = """table ip filter {
    chain DOCKER-USER {
        %s
    }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        counter packets 8 bytes 672 jump DOCKER-USER
        oifname "docker0" ct state related,established counter packets 0 bytes 0 accept
    }
}"""


@pytest.mark.skipif(find_program("nft") is None, reason="needs nft")
@pytest.mark.parametrize(
    ("bridges", "rule", "drops"),
    [
        (["private"], 'iifname "private" oifname "private" counter packets 2 bytes 168 accept', False),
        (["private", "public"], 'iifname "private" oifname "private" counter packets 2 bytes 168 accept', True),
        (["private"], 'iifname "private" oifname "private" counter packets 2 bytes 168 drop', True),
        (["priv"], 'iifname "private" oifname "private" counter packets 2 bytes 168 accept', True),
        ([], "counter packets 0 bytes 0 return", True),
    ],
    ids=["accepted", "one of two", "dropped by name", "a longer name", "no bridge yet"],
)  # fmt: skip
def test_frames_that_a_rule_accepts_for_every_bridge_are_not_reported_as_dropped(
    bridges, rule, drops, monkeypatch, tmp_path
):
    monkeypatch.setattr(hazards, "LEGACY_TABLES", str(tmp_path / "none"))
    monkeypatch.setattr(hazards.manifest, "names", lambda kind: bridges)
    chains = json.dumps({"nftables": [META, chain("ip", "filter", "FORWARD", "forward", "drop")]})
    run = Recorded((0, chains), (0, DOCKERS % rule))
    assert (hazards.dropping_rule(run) is not None) is drops
    assert [argv[1:] for argv, _stdin in run.asked] == [["-j", "list", "chains"], ["list", "table", "ip", "filter"]]


@pytest.mark.skipif(find_program("nft") is None, reason="needs nft")
@pytest.mark.parametrize("answer", [(1, ""), (0, ""), (0, "[]"), (0, "{}"), (0, "{"), (0, '{"nftables": [1]}')])
def test_an_unknown_answer_of_the_packet_filter_is_no_rule(answer, monkeypatch, tmp_path):
    monkeypatch.setattr(hazards, "LEGACY_TABLES", str(tmp_path / "none"))
    assert hazards.dropping_rule(Recorded(answer)) is None


@pytest.mark.parametrize(("value", "count"), [("1\n", 1), ("0\n", 0), (None, 0)])
def test_a_dropping_rule_matters_only_if_bridges_call_it(value, count, monkeypatch, tmp_path):
    if value is not None:
        (tmp_path / "filter").write_text(value)
    monkeypatch.setattr(hazards, "BRIDGE_FILTER", str(tmp_path / "filter"))
    monkeypatch.setattr(hazards, "dropping_rule", lambda run: "the rule")
    found = hazards.forwarding(Recorded())
    assert len(found) == count
    for entry in found:
        assert entry["what"].startswith("the rule while")
        assert "changes no rule" in entry["hint"]


def test_a_shared_network_is_joined_with_the_user_namespace_that_owns_it():
    first = oci.process(("/bin/sh",), oci.Identity(), {}, "")
    found = oci.specification("/tree", "a", first, (), 0x70000000, "/baleine/a", (), joined=77)["linux"]["namespaces"]
    paths = {item["type"]: item["path"] for item in found if "path" in item}
    assert paths == {"network": "/proc/77/ns/net", "user": "/proc/77/ns/user"} and len(found) == 7
