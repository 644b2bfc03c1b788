# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's processes may do: options in one form, and the runtime's specification made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from baleine import apparmor, oci, privileges, seccomp
from baleine.errors import BaleineError
from tests.unit.support import Recorded

WHAT = "container web1"
#: What moby's default profile refuses to a root without further capabilities (profiles/seccomp/default.json, 2026-06).
REFUSED = """
acct add_key bpf clock_settime clock_settime64 clone3 delete_module fanotify_init finit_module fsconfig fsmount fsopen
fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load
kexec_load keyctl lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages mount
mount_setattr move_mount move_pages open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root
process_madvise quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setdomainname sethostname
setns settimeofday stime swapoff swapon syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old
"""
EVERYDAY = "read write openat execve fork wait4 chown setuid setgroups chroot mknod ptrace kill futex rename prctl"


def parse(**params: Any) -> dict[str, Any]:
    return privileges.parse(params, WHAT)


def rules(*added: str, setting: str = "default") -> list[dict[str, Any]]:
    found = seccomp.profile(setting, {*oci.CAPABILITIES, *added}, WHAT)
    assert found is not None
    return found["syscalls"]


def allowed(found: list[dict[str, Any]], name: str) -> bool:
    """Whether a call is allowed with all arguments; the runtime takes the most specific rule."""
    return any(name in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule for rule in found)


def test_an_omitted_option_has_its_documented_default():
    assert parse() == dict(privileges.DEFAULTS)
    assert parse(**dict.fromkeys(privileges.DEFAULTS)) == dict(privileges.DEFAULTS)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ({}, {}),
        ({"add": None, "drop": None}, {}),
        ({"add": ["net_raw", "CAP_NET_RAW"]}, {"add": ["NET_RAW"]}),
        ({"add": ["CHOWN"], "drop": ["SYS_ADMIN"]}, {}),
        ({"add": ["SYS_ADMIN", "BPF"], "drop": ["KILL"]}, {"add": ["BPF", "SYS_ADMIN"], "drop": ["KILL"]}),
        ({"drop": ["all", "KILL"]}, {"drop": ["ALL"]}),
        ({"drop": ["ALL"], "add": ["chown"]}, {"add": ["CHOWN"], "drop": ["ALL"]}),
    ],
)
def test_capabilities_have_one_normal_form(given, normal):
    assert parse(capabilities=given)["capabilities"] == normal


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"capabilities": {"add": ["SUPER"]}}, "SUPER cannot be added"),
        ({"capabilities": {"drop": ["CAP_"]}}, "cannot be added"),
        ({"capabilities": {"add": ["ALL"]}}, "ALL cannot be added"),
        ({"capabilities": {"add": ["KILL"], "drop": ["CAP_KILL"]}}, "KILL cannot be added and dropped"),
        ({"seccomp": "strict"}, "absolute path of a profile"),
        ({"seccomp": "/a\nb"}, "absolute path of a profile"),
        ({"apparmor": "a\nb"}, "is no profile"),
        ({"userns": "keep-id"}, "userns 'keep-id'"),
        ({"tmpfs": [{"target": "run"}]}, "no absolute path"),
        ({"tmpfs": [{"target": "/"}]}, "cannot lie at /"),
        ({"tmpfs": [{"target": "/x/../dev/shm"}]}, "cannot lie at /dev/shm"),
        ({"tmpfs": [{"target": "/run", "mode": "rwx"}]}, "no mode"),
        ({"tmpfs": [{"target": "/run", "mode": str(0o777)}]}, "no mode"),  # as YAML has 0777 without quotes
        ({"tmpfs": [{"target": "/run", "size": "much"}]}, "tmpfs"),
    ],
    ids=str,
)
def test_an_invalid_value_is_refused_by_name(params, said):
    with pytest.raises(BaleineError, match=WHAT) as caught:
        parse(**params)
    assert said in str(caught.value)


def test_tmpfs_mounts_have_one_normal_form_and_order():
    found = parse(tmpfs=[{"target": "/run/", "size": None, "mode": "0755"}, {"target": "//a", "size": "1M"}])["tmpfs"]
    assert found == [
        {"target": "/a", "size": 1 << 20, "mode": "1777"},
        {"target": "/run", "size": 64 << 20, "mode": "0755"},
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, set(oci.CAPABILITIES)),
        ({"add": ["NET_RAW"], "drop": ["KILL"]}, {*oci.CAPABILITIES, "CAP_NET_RAW"} - {"CAP_KILL"}),
        ({"drop": ["ALL"]}, set()),
        ({"drop": ["ALL"], "add": ["CHOWN"]}, {"CAP_CHOWN"}),
    ],
)
@pytest.mark.parametrize("uid", [0, 33])
def test_a_process_has_these_capabilities_and_inherits_none(given, expected, uid):
    rights = privileges.rights(parse(capabilities=given), "")
    found = oci.process(("true",), oci.Identity(uid), {}, "", rights=rights)
    sets = {key: set(names) for key, names in found["capabilities"].items()}
    mine = expected if uid == 0 else set()
    assert sets == {"bounding": expected, "effective": mine, "permitted": mine, "inheritable": set(), "ambient": set()}
    assert found["noNewPrivileges"] is True


def test_new_privileges_are_allowed_only_if_requested():
    assert privileges.rights(parse(no_new_privileges=False), "").no_new_privileges is False


def test_an_apparmor_profile_reaches_the_runtime_if_one_is_set():
    found = [
        oci.process(("true",), oci.Identity(), {}, "", rights=privileges.rights(parse(), name)) for name in ("", "a")
    ]
    assert [item.get("apparmorProfile") for item in found] == [None, "a"]


LOADED = "baleine-default (enforce)\n/usr/bin/man (enforce)\nmy (own) (complain)\n"


@pytest.mark.parametrize(
    ("enabled", "setting", "expected", "loads"),
    [
        ("Y", "default", "baleine-default", True),
        ("Y", "unconfined", "", False),
        ("Y", "/usr/bin/man", "/usr/bin/man", False),
        ("Y", "my (own)", "my (own)", False),
        ("Y", "other", "the profile other is not loaded", False),
        ("N", "default", "", False),
        (None, "default", "", False),
        (None, "unconfined", "", False),
        (None, "baleine-default", "baleine-default", False),
    ],
)
def test_the_apparmor_profile_is_ours_if_the_host_has_apparmor(
    enabled, setting, expected, loads, monkeypatch, tmp_path
):
    for name, text in (("ENABLED", enabled), ("LOADED", LOADED)):
        (tmp_path / name).write_text(text or "")
        monkeypatch.setattr(apparmor, name, str(tmp_path / name))
    monkeypatch.setattr(apparmor.runtime, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(apparmor, "find_program", lambda name: f"/sbin/{name}")
    run = Recorded(*[(0, "")] * 2)
    try:
        found = [apparmor.profile(run, setting, WHAT) for _turn in range(2)]
    except BaleineError as error:
        found = [expected] * 2 if expected in str(error) else []
    assert found == [expected] * 2
    assert len(run.asked) == loads  # the second time it is there


def test_a_profile_that_cannot_be_loaded_is_an_error_and_is_tried_again(monkeypatch, tmp_path):
    (tmp_path / "enabled").write_text("Y")
    monkeypatch.setattr(apparmor, "ENABLED", str(tmp_path / "enabled"))
    monkeypatch.setattr(apparmor.runtime, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(apparmor, "find_program", lambda name: None)
    with pytest.raises(BaleineError, match="no apparmor_parser"):
        apparmor.profile(Recorded(), "default", WHAT)
    monkeypatch.setattr(apparmor, "find_program", lambda name: f"/sbin/{name}")
    for _turn in range(2):
        with pytest.raises(BaleineError, match="loading the profile"):
            apparmor.profile(Recorded((1, "")), "default", WHAT)
    assert not list((tmp_path / "state").iterdir())


# ---- system calls


@pytest.mark.parametrize("name", REFUSED.split())
def test_system_calls_that_docker_refuses_are_refused(name):
    assert not allowed(rules(), name)


@pytest.mark.parametrize("name", EVERYDAY.split())
def test_system_calls_that_every_program_needs_are_allowed(name):
    assert allowed(rules(), name)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYSLOG", "syslog"),
    ],
)
def test_a_capability_allows_only_its_own_system_calls(capability, name):
    assert allowed(rules(capability), name)
    assert not allowed(rules(capability), "kexec_load") and not allowed(rules(capability), "keyctl")


def test_every_system_call_has_exactly_one_rule():
    for added in ((), ("CAP_SYS_ADMIN",), tuple(seccomp.PRIVILEGED)):
        names = [name for rule in rules(*added) if "args" not in rule for name in rule["names"]]
        assert len(names) == len(set(names))
    found = seccomp.profile("default", oci.CAPABILITIES, WHAT)
    assert found is not None and (found["defaultAction"], found["defaultErrnoRet"]) == (
        "SCMP_ACT_ERRNO",
        seccomp.ENOSYS,
    )


@pytest.mark.parametrize(("name", "index"), [("socket", 0), ("socketpair", 0)])
def test_only_a_few_socket_families_are_allowed(name, index):
    families = {rule["args"][index]["value"] for rule in rules() if rule["names"] == [name]}
    assert families <= {1, 2, 10, 16, 17} and not allowed(rules(), name)


def test_a_process_can_be_cloned_but_not_into_new_namespaces():
    (rule,) = [rule for rule in rules() if rule["names"] == ["clone"]]
    assert rule["args"][0]["op"] == "SCMP_CMP_MASKED_EQ" and rule["args"][0]["valueTwo"] == 0
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert rule["args"][0]["value"] & flag
    assert not rule["args"][0]["value"] & 0x01200011  # what fork(3) passes


@pytest.mark.parametrize(("setting", "count"), [("default", 0), ("compat", 1)])
def test_32_bit_programs_run_only_if_requested(setting, count, monkeypatch):
    monkeypatch.setattr(seccomp.os, "uname", lambda: type("uname", (), {"machine": "x86_64"}))
    found = seccomp.profile(setting, oci.CAPABILITIES, WHAT)
    assert found is not None and found["architectures"] == ["SCMP_ARCH_X86"][:count]


def test_unconfined_installs_no_filter():
    assert seccomp.profile("unconfined", oci.CAPABILITIES, WHAT) is None


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_S390X", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "comment": "x"},
        {"name": "old", "action": "SCMP_ACT_ALLOW"},
        {"names": ["both"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}},
        {
            "names": ["mine"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"caps": ["CAP_CHOWN"], "arches": ["amd64", "x32"]},
        },
        {"names": ["arm"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["less"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_CHOWN"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ],
}


def test_a_profile_in_the_form_of_docker_is_converted_for_the_runtime(tmp_path, monkeypatch):
    monkeypatch.setattr(seccomp.os, "uname", lambda: type("uname", (), {"machine": "x86_64"}))
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE))
    assert seccomp.profile(str(path), oci.CAPABILITIES, WHAT) == {
        "architectures": ["SCMP_ARCH_X86"],
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["old"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mine"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"syscalls": 1}', '{"syscalls": [{}]}', '{"syscalls": [1]}']
)
def test_an_invalid_profile_file_is_named(text, tmp_path):
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BaleineError, match=f"seccomp profile {path}"):
        seccomp.profile(str(path), oci.CAPABILITIES, WHAT)


# ---- the specification


def specification(**options: Any) -> dict[str, Any]:
    first = oci.process(("true",), oci.Identity(), {}, "")
    binds = (oci.Bind("/h", "/run/secrets", True), oci.Bind("/v", "/data", False))
    return oci.specification(
        "/tree", "a", first, (), 0x70000000, "/baleine/a", binds, privileges=parse(**options), seccomp={"x": 1}
    )


def test_a_container_with_the_ids_of_the_host_has_no_user_namespace():
    kinds = [item["type"] for item in specification(userns="host")["linux"]["namespaces"]]
    assert "user" not in kinds and len(kinds) == 6
    assert not {"uidMappings", "gidMappings"} & set(specification(userns="host")["linux"])
    assert specification()["linux"]["uidMappings"][0]["hostID"] == 0x70000000


def test_a_tmpfs_is_mounted_before_the_mounts_inside_it():
    found = specification(tmpfs=[{"target": "/run", "size": "1M"}, {"target": "/data/cache"}], read_only=True)
    order = [mount["destination"] for mount in found["mounts"]]
    assert order.index("/run") < order.index("/run/secrets")
    assert order.index("/data") < order.index("/data/cache")
    (run,) = [mount for mount in found["mounts"] if mount["destination"] == "/run"]
    assert {"nosuid", "nodev", "noexec", "size=1048576", "mode=1777"} == set(run["options"])
    assert found["root"]["readonly"] is True and specification()["root"]["readonly"] is False


#: moby daemon/pkg/oci/defaults.go and containers/common pkg/config/default.go, 2026
DOCKER = """
/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
"""
PODMAN = """
/proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats
/sys/dev/block /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux
"""


@pytest.mark.parametrize("path", sorted({*DOCKER.split(), *PODMAN.split()}))
def test_every_path_that_docker_or_podman_masks_is_masked(path):
    assert path in specification()["linux"]["maskedPaths"]


@pytest.mark.parametrize("path", ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
def test_every_path_that_docker_or_podman_makes_read_only_is_read_only(path):
    assert path in specification()["linux"]["readonlyPaths"]


def test_the_filter_reaches_the_runtime():
    assert specification()["linux"]["seccomp"] == {"x": 1}
