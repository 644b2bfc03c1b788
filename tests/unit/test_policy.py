# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only Baleine looks at of a container: parsed, recorded, read back, compared; and its state `paused`."""

from __future__ import annotations

from typing import Any

import pytest

from baleine import container, description, oci, policy
from baleine.errors import BaleineError
from tests.unit.support import reasons, verbs

BASE: dict[str, Any] = {"name": "web1", "image": "debian", "command": ["/bin/true"]}
EVERYTHING: dict[str, Any] = {
    "labels": {"tier": "web", "empty": ""},
    "restart_policy": "on-failure",
    "restart_retries": 5,
    "depends_on": [{"name": "db", "condition": "healthy"}, {"name": "cache"}],
    "schedule": {"start": "0  8 * * 1-5", "stop": "*/5 18 * * mon,tue"},
    "healthcheck": {"http": "/up", "port": 8080, "retries": 2, "start_period": 30, "action": "restart"},
    "stop_signal": "sigusr1",
    "stop_timeout": 3,
    "extra_hosts": {"db": "10.0.0.9", "six": "FD00:0::1"},
    "log_size": "1M",
    "dns": {"servers": ["10.0.0.1"], "search": ["lab.example"], "options": []},
    "ulimits": {"nofile": "1024:2048", "CORE": 0},
    "sysctls": {"net.core.somaxconn": 512, "kernel.shmmax": "1000"},
    "secrets": [{"name": "key", "source": "/etc//ssl/key"}, {"name": "a", "source": "/a", "mode": "0440"}],
}


def describe(**changes: Any) -> description.Description:
    return description.describe({**BASE, **changes}, "container web1")


def test_every_setting_of_the_supervisor_has_one_normal_form():
    settings = describe(**EVERYTHING).settings
    assert settings["labels"] == {"empty": "", "tier": "web"}
    assert settings["depends_on"] == [{"name": "cache", "condition": "started"}, {"name": "db", "condition": "healthy"}]
    assert settings["schedule"] == {"start": "0 8 * * 1-5", "stop": "*/5 18 * * mon,tue"}
    assert settings["healthcheck"]["http"] == "/up"
    assert settings["healthcheck"]["timeout"] == 5.0
    assert (settings["stop_signal"], settings["stop_timeout"], settings["log_size"]) == ("USR1", 3.0, 1 << 20)
    assert settings["extra_hosts"] == {"db": "10.0.0.9", "six": "fd00::1"}


def test_every_setting_of_the_runtime_has_one_normal_form():
    found = describe(**EVERYTHING)
    assert found.dns == {"servers": ["10.0.0.1"], "search": ["lab.example"]}
    assert found.ulimits == {"core": "0:0", "nofile": "1024:2048"}
    assert found.sysctls == {"kernel.shmmax": "1000", "net.core.somaxconn": "512"}
    assert [tuple(secret) for secret in found.secrets] == [("a", "/a", "0440"), ("key", "/etc/ssl/key", "0400")]


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_every_option_is_read_back_from_its_manifest(given):
    found = describe(**given, directory="/mnt/baleine/web1")
    record = description.to_record("web1", found, (), {"state": "stopped", "wanted_state": "stopped"})
    assert description.from_record("web1", record)[0] == found


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("SIGTERM", "TERM", 15), ("quit", "QUIT", 3), (2, "INT", 2), ("9", "KILL", 9), ("SIGRTMIN+3", "RTMIN+3", 37),
        ("37", "RTMIN+3", 37), ("rtmax-27", "RTMIN+3", 37), ("RTMIN", "RTMIN+0", 34), ("SIGRTMAX", "RTMIN+30", 64),
    ],
)  # fmt: skip
def test_a_signal_has_one_name_in_every_spelling(text, name, number):
    assert policy.parse_signal(text, "c", init=True) == name and policy.signals()[name] == number


@pytest.mark.parametrize(
    "text", ["", "SIG", "0", "65", "-1", "RTMIN+31", "RTMIN+", "RTMIN-1", "²", "9" * 5000, "SIGSIGTERM"]
)
def test_an_invalid_signal_is_refused(text):
    with pytest.raises(BaleineError, match="no signal that it takes"):
        policy.parse_signal(text, "c")


def test_a_manifest_omits_defaults_and_removed_options():
    record = description.to_record("web1", describe(**EVERYTHING), (), {"state": "stopped", "first_id": "7"})
    assert record["restart_policy"] == "on-failure" and "labels" in record
    again = description.to_record("web1", describe(), (), record)
    assert not set(again) & {*policy.DEFAULTS, *description.SELDOM}
    assert (again["state"], again["first_id"]) == ("stopped", "7")


def test_a_manifest_holds_no_content_of_a_secret(tmp_path):
    (tmp_path / "key").write_text("hunter2")
    found = describe(secrets=[{"name": "key", "source": str(tmp_path / "key")}])
    assert "hunter2" not in str(description.to_record("web1", found, (), {})) + str(found.fixed())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"restart_policy": "sometimes"}, "there are no, always"),
        ({"restart_policy": "on-failure", "init": False}, "needs the exit code"),
        ({"restart_retries": 3}, "goes with restart_policy on-failure"),
        ({"restart_policy": "on-failure", "restart_retries": -1}, "or more"),
        ({"labels": {"a": None}}, "labels: 'a'"),
        ({"depends_on": [{"name": "web1"}]}, "not itself"),
        ({"depends_on": [{"name": "a b"}]}, "no valid name"),
        ({"schedule": {"start": "0 8 * *"}}, "no time of a crontab"),
        ({"schedule": {"start": "99 8 * * *"}}, "no time of a crontab"),
        ({"schedule": {"start": "0 24 * * *"}}, "no time of a crontab"),
        ({"schedule": {"start": "0 8 0 * *"}}, "no time of a crontab"),
        ({"schedule": {"start": "0 8 * foo *"}}, "no time of a crontab"),
        ({"schedule": {"start": "0 8 * * 5-1"}}, "no time of a crontab"),
        ({"schedule": {"start": "*/0 8 * * *"}}, "no time of a crontab"),
        ({"schedule": {"start": "1,,2 8 * * *"}}, "no time of a crontab"),
        ({"schedule": {"stop": "0 8 * * 1; reboot"}}, "no time of a crontab"),
        ({"schedule": {"stop": "0 8 * * $(reboot)"}}, "no time of a crontab"),
        ({"healthcheck": {"port": 80}}, "healthcheck: name either http or command"),
        ({"healthcheck": {"http": "/", "command": "true"}}, "healthcheck: name either http or command"),
        ({"healthcheck": {"http": "/", "retries": -1}}, "out of range"),
        ({"healthcheck": {"http": "/", "interval": 0}}, "out of range"),
        ({"healthcheck": {"http": "/", "action": "pray"}}, "out of range"),
        ({"stop_signal": "HALT"}, "no signal that it takes"),
        ({"stop_signal": "SEGV"}, "no signal that it takes"),
        ({"stop_timeout": -1}, "no number of seconds"),
        ({"extra_hosts": {"db": "ten"}}, "extra_hosts"),
        ({"extra_hosts": {"a b": "10.0.0.1"}}, "no host name"),
        ({"log_size": "1K"}, "too small"),
        ({"dns": {"servers": ["ns1"]}}, "dns"),
        ({"dns": {"search": ["a b"]}}, "no word of resolv.conf"),
        ({"ulimits": {"files": "10"}}, "ulimits: files"),
        ({"ulimits": {"nofile": "20:10"}}, "ulimits: nofile"),
        ({"ulimits": {"nofile": "many"}}, "ulimits: nofile"),
        ({"sysctls": {"kernel.core_pattern": "x"}}, "no setting of its own namespaces"),
        ({"sysctls": {"net/../kernel/panic": "1"}}, "no setting of its own namespaces"),
        ({"sysctls": {"net.core.somaxconn": "1\n2"}}, "no setting of its own namespaces"),
        ({"secrets": [{"name": "../x", "source": "/a"}]}, "no name of a file"),
        ({"secrets": [{"name": "x", "source": "a"}]}, "no absolute path"),
        ({"secrets": [{"name": "x", "source": "/a", "mode": "400"}]}, "no mode"),
        ({"secrets": [{"name": "x", "source": "/a"}, {"name": "x", "source": "/b"}]}, "given twice"),
        ({"share_network": "web1"}, "another container"),
        ({"share_network": "db", "networks": [{"bridge": "private"}]}, "no networks of its own"),
    ],
    ids=str,
)
def test_an_invalid_value_is_refused_with_its_option(changes, says):
    with pytest.raises(BaleineError, match="container ") as caught:
        describe(**changes)
    assert says in str(caught.value) and caught.value.message


def test_only_requested_rlimits_reach_the_runtime():
    process = oci.process(("/bin/sh",), oci.Identity(), {}, "", False, {"nofile": "1024:2048"})
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}]


# ---- plans


def found(**changes: Any) -> container.Found:
    old = describe(directory="/mnt/baleine/web1", **changes.pop("old", {}))
    record = {"state": "running", "wanted_state": "started", "nom_image": "debian", "image_digest": "d"}
    record.update(changes.pop("record", {}))
    settings: dict[str, Any] = {"alive": True, "disk": True, "limits": dict(old.limits), "image_digest": "d"}
    return container.Found(record=record, description=old, **{**settings, **changes})


def wanted(**changes: Any) -> container.Wanted:
    return container.request({**BASE, **changes})


def test_a_policy_changes_in_place():
    decided = container.plan(wanted(restart_policy="always", labels={"a": "1"}), found())
    assert verbs(decided) == ["set_policy"]
    assert "restart_policy unless-stopped -> always" in reasons(decided) and "labels" in reasons(decided)
    assert decided.before["restart_policy"] == "unless-stopped" and decided.after["restart_policy"] == "always"


def test_an_omitted_option_returns_to_its_default():
    assert verbs(container.plan(wanted(), found(old={"labels": {"a": "1"}}))) == ["set_policy"]
    assert verbs(container.plan(wanted(labels={"a": "1"}), found(old={"labels": {"a": "1"}}))) == []
    assert verbs(container.plan(wanted(labels={"a": "B"}), found(old={"labels": {"a": "b"}}))) == ["set_policy"]


@pytest.mark.parametrize("option", ["dns", "ulimits", "sysctls", "secrets"])
def test_an_option_that_a_running_program_received_needs_a_recreate(option):
    with pytest.raises(BaleineError, match=f"cannot change in place: {option}"):
        container.plan(wanted(**{option: EVERYTHING[option]}), found())
    decided = container.plan(wanted(**{option: EVERYTHING[option]}, recreate="on_change"), found())
    assert verbs(decided) == ["recreate"] and not decided.actions[0].data["new_disk"]


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        ("paused", {}, ["pause"]),
        ("paused", {"frozen": True}, []),
        ("paused", {"alive": False, "record": {"state": "stopped", "wanted_state": "stopped"}}, ["start", "pause"]),
        ("started", {"frozen": True}, ["unpause"]),
        ("stopped", {"frozen": True}, ["stop"]),
        ("present", {"frozen": True}, []),
        ("absent", {"frozen": True}, ["stop", "remove"]),
    ],
)
def test_paused_is_a_separate_state(state, changes, expected):
    assert verbs(container.plan(wanted(state=state), found(**changes))) == expected


def test_a_new_container_can_be_created_paused():
    around: dict[str, Any] = {"bridges": {}, "image_digest": "d"}
    decided = container.plan(wanted(state="paused"), container.Found(**around))
    assert verbs(decided) == ["create", "start", "pause"] and decided.after["state"] == "paused"


# ---- the size of a disk

MIB = 1 << 20
STOPPED = {"alive": False, "record": {"state": "stopped", "wanted_state": "stopped"}}


@pytest.mark.parametrize(
    ("given", "changes", "expected"),
    [
        ({"size": 64}, {"disk_size": 64 * MIB}, []),
        ({"size": "64MiB"}, {"disk_size": 64 * MIB}, []),
        ({}, {"disk_size": 64 * MIB}, []),
        ({"size": "128M", "state": "stopped"}, {"disk_size": 64 * MIB, **STOPPED}, ["grow"]),
        ({"size": "128M", "state": "present"}, {"disk_size": 64 * MIB, **STOPPED}, ["grow"]),
        ({"size": "128M"}, {"disk_size": 64 * MIB, **STOPPED}, ["grow", "start"]),
        ({"size": "128M", "state": "stopped"}, {"disk_size": 64 * MIB}, ["stop", "grow"]),
        ({"size": "128M", "recreate": "on_change"}, {"disk_size": 64 * MIB}, ["stop", "grow", "start"]),
        (
            {"size": "128M", "recreate": "on_change", "state": "present"},
            {"disk_size": 64 * MIB},
            ["stop", "grow", "start"],
        ),
        (
            {"size": "128M", "recreate": "on_change", "user": "app"},
            {"disk_size": 64 * MIB},
            ["stop", "grow", "recreate"],
        ),
    ],
)
def test_a_disk_grows_if_it_is_not_mounted(given, changes, expected):
    decided = container.plan(wanted(**given), found(**changes))
    assert verbs(decided) == expected
    if "size" in given and expected:
        assert (decided.before["size"], decided.after["size"]) == (64 * MIB, 128 * MIB)


def test_a_disk_neither_shrinks_nor_grows_under_a_running_program():
    with pytest.raises(BaleineError, match="size 64M -> 32M: a disk can only grow"):
        container.plan(wanted(size="32M"), found(disk_size=64 * MIB))
    with pytest.raises(BaleineError, match="not while it runs"):
        container.plan(wanted(size="128M"), found(disk_size=64 * MIB))
    with pytest.raises(BaleineError, match="a disk can only grow"):
        container.plan(wanted(size="32M"), container.Found(image_digest="d", disk_size=64 * MIB))


@pytest.mark.parametrize("text", ["* * * * *", "*/5 0-23/2 1,15 jan-mar SUN", "0 8 31 12 7", "59 23 * * mon,tue-fri"])
def test_a_time_of_cron_is_accepted(text):
    assert describe(schedule={"start": text}).settings["schedule"] == {"start": text}


def test_a_container_is_refused_if_its_log_would_be_that_of_the_supervisor():
    with pytest.raises(BaleineError, match="container supervise: its log"):
        container.request({**BASE, "name": "supervise"})
