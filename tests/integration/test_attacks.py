# SPDX-License-Identifier: GPL-3.0-or-later
"""The attack suite in the guest: what succeeds in namespaces and a chroot is refused in a container of Baleine's."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import images, report, suite
from tests.attacks.catalogue import ATTACKS
from tests.attacks.images import BASE, CONTAINER, HARMED, IMAGES, RESET, TREE, Image
from tests.lab import trees
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.run import wait_for

NAMES = {attack.name for attack in ATTACKS}


@pytest.fixture(scope="module")
def facts(guest: Guest) -> dict[str, str]:
    return suite.prepare(guest)


@pytest.fixture(scope="module")
def naive(guest: Guest, facts: dict[str, str]) -> dict[str, suite.Result]:
    return suite.results(guest, suite.naive(facts))


@pytest.fixture(scope="module")
def refusing(guest: Guest, facts: dict[str, str]) -> dict[str, suite.Result]:
    return suite.results(guest, suite.baleine(facts))


def done(results: dict[str, suite.Result]) -> set[str]:
    return {name for name, result in results.items() if result.done}


def test_every_attack_succeeds_in_a_naive_container(naive: dict[str, suite.Result]) -> None:
    assert set(naive) == NAMES and len(NAMES) >= 40
    assert {name: result for name, result in naive.items() if not result.done} == {}


def test_no_attack_succeeds_as_the_program_of_a_container(refusing: dict[str, suite.Result]) -> None:
    assert set(refusing) == NAMES
    assert done(refusing) == set()


@pytest.fixture(scope="module")
def entered(guest: Guest, facts: dict[str, str]) -> str:
    """A container to enter."""
    words = ("-c", "entered", "-i", suite.IMAGE, "-v", f"{suite.SHARED}:/shared", "-p", "sleep 100000")
    guest.baleine("container", "create", *words)
    return "baleine container exec -c entered"


def test_no_attack_succeeds_by_exec(
    guest: Guest, facts: dict[str, str], naive: dict[str, suite.Result], entered: str
) -> None:
    variables = " ".join(f"-e {key}={value}" for key, value in facts.items())
    found = suite.results(guest, f"{suite.CARELESS}; {entered} {variables} -- /attacks run")
    assert set(found) == NAMES
    assert done(found) == set()


def test_the_security_page_lists_the_found_results(
    naive: dict[str, suite.Result], refusing: dict[str, suite.Result]
) -> None:
    """docs/security.md; `make attacks` writes it, docker's and podman's columns included."""
    written = report.written()
    assert {column: set(found) for column, found in written.items()} == dict.fromkeys(report.COLUMNS, NAMES)
    assert written["naive"] == {name: result.done for name, result in naive.items()}
    assert written["Baleine"] == {name: result.done for name, result in refusing.items()}


@pytest.fixture(scope="module")
def hostile(guest: Guest, facts: dict[str, str]) -> None:
    manifest = "/var/lib/baleine/manifeste/images/hostile.manifest"
    guest.sh(f"sed s/tiny/hostile/ /var/lib/baleine/manifeste/images/tiny.manifest >{manifest}; chmod 600 {manifest}")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_a_hostile_image_harms_a_naive_host_and_not_this_one(guest: Guest, hostile: None, image: Image) -> None:
    harmed = guest.sh(f"""
        exec 2>&1
        {RESET}
        rm -rf {TREE}; cp -a {suite.TREE} {TREE}; cd {TREE}
        {{ {image.plant}; }}
        {shlex.join(trees.MKE2FS)} -d . /var/lib/baleine/images/hostile 64M
        cd /
        {{ {image.naive}; }}
        if {HARMED}; then echo naive; fi
        while umount {images.VICTIM} 2>/dev/null; do :; done
        {RESET}
        {{ {image.baleine}; }} && echo it went || true
        if {HARMED}; then echo baleine; fi
    """).stdout  # fmt: skip
    found = guest.baleine("container", "list", "-a", "-q").stdout.split()
    if image.refused:
        assert image.refused in harmed and CONTAINER not in found
    elif CONTAINER in found:
        guest.baleine("container", "remove", CONTAINER)
    assert [line for line in harmed.splitlines() if line in ("naive", "baleine")] == ["naive"], harmed


def test_the_programs_that_enter_a_container_cannot_be_overwritten(guest: Guest, facts: dict[str, str]) -> None:
    """CVE-2019-5736."""
    clean = f"rm -f {suite.SHARED}/result {suite.SHARED}/stop"
    watch = "sh -c '/attacks run runtime-binary >/shared/result'"
    naive = guest.sh(f"""
        {clean}
        unshare -mpuin --fork --mount-proc={suite.TREE}/proc sh -c "mount --bind {suite.SHARED} {suite.TREE}/shared
            exec chroot {suite.TREE} {watch}" &
        until pid=$(pgrep -P $!); do :; done
        for turn in $(seq 100); do
            [ -s {suite.SHARED}/result ] && break
            nsenter -t $pid -m -u -i -n -p chroot {suite.TREE} true || true
            sleep 0.3
        done
        touch {suite.SHARED}/stop
        wait
        cat {suite.SHARED}/result
    """, timeout=900).stdout  # fmt: skip
    assert naive == "runtime-binary\tdone\t\n"
    guest.sh(
        f"{clean}; baleine container create -c watching -i attack -v {suite.SHARED}:/shared -p {shlex.quote(watch)}"
    )
    for _turn in range(8):
        guest.baleine("container", "exec", "-c", "watching", "--", "true")
    guest.sh(f"touch {suite.SHARED}/stop; until [ -s {suite.SHARED}/result ]; do sleep 0.1; done", timeout=900)
    assert guest.read(f"{suite.SHARED}/result").startswith("runtime-binary\trefused\t")
    guest.baleine("container", "remove", "watching")


def typed(guest: Guest, script: str) -> str:
    """What is left at a terminal where a script ran that tries to type there."""
    shown = guest.run(["python3", "/srv/terminal.py", script]).stdout
    assert "terminal-input" in shown
    return shown.splitlines()[0]


def test_a_container_cannot_type_into_the_terminal_of_the_caller(
    guest: Guest, facts: dict[str, str], entered: str
) -> None:
    """CVE-2016-7545, CVE-2017-5226: TIOCSTI."""
    guest.write("/srv/terminal.py", (suite.SOURCES / "terminal.py").read_text())
    assert typed(guest, suite.naive(facts, "run terminal-input")) == "typed: b'attack\\n'"
    for command in (f"baleine container run --rm -i {suite.IMAGE}", entered):
        for options in ("--interactive --tty", "--interactive", "--tty", ""):
            assert typed(guest, f"{command} {options} -- /attacks run terminal-input") == "typed: b''", options


def test_a_volume_stays_inside_if_another_container_replaces_it_by_a_link(guest: Guest, hostile: None) -> None:
    """CVE-2021-30465: the target of a volume lies in another volume, whose owner swaps it while the container starts."""
    guest.sh(f"""
        {RESET}
        mkdir -p {suite.SHARED}/sub {BASE}/other
        ln -s {images.VICTIM} {suite.SHARED}/link
        mount --bind {BASE}/other {suite.SHARED}/link
        {HARMED}
        umount {images.VICTIM}
        baleine container create -c swapping -i attack -v {suite.SHARED}:/shared -p '/attacks swap /shared/sub /shared/link'
    """)  # fmt: skip
    ends = guest.sh(f"""
        for turn in 1 2 3 4 5; do
            baleine container run --rm -i attack -v {suite.SHARED}:/mnt -v {BASE}/other:/mnt/sub -- \
                sh -c 'cat /root/attack-secret {images.VICTIM}/file /mnt/sub/file; echo ran' 2>&1 || true
        done
        baleine container remove swapping
        if {HARMED}; then echo harmed; fi
    """, timeout=900).stdout  # fmt: skip
    print(ends)
    assert suite.SECRET not in ends and "kept" not in ends and "harmed" not in ends


@pytest.fixture(scope="module")
def attacker(lab: LabHost, baleine: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    suite.image(lab, "1:0")


def test_no_harmless_attack_succeeds_on_this_machine(lab: LabHost, attacker: None) -> None:
    """Another kernel, whichever control groups and runtime it has. What could harm a machine stays in the guest."""
    mild = {attack.name for attack in ATTACKS if attack.mild}
    found = suite.results(lab, suite.baleine({}, f"run {' '.join(sorted(mild))}"))
    assert set(found) == mild and len(mild) >= 40
    assert done(found) == set()


def test_other_users_of_the_host_cannot_read_disks_manifests_logs_or_specifications(
    lab: LabHost, tiny: str, baleine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    baleine("container", "create", "-c", "quiet", "-i", "tiny", "-e", "WORD=hidden", "-p", "sleep 1000")
    looked = "/var/lib/baleine /var/log/baleine /run/baleine /mnt/baleine"
    test = 'while read -r path; do if [ -r "$path" ]; then echo "$path"; fi; done'
    shown = lab.sh(f"find {looked} | tee /tmp/all | runuser -u nobody -- sh -c '{test}'").stdout.split()
    everything = lab.read("/tmp/all").split()
    baleine("container", "remove", "quiet")
    files = ("lib/baleine/containers/quiet", "containers/quiet.manifest", "quiet.log", "quiet/config.json")
    assert all(any(path.endswith(file) for path in everything) for file in files)
    laid_out = set(looked.split())  # by the laboratory
    assert {path.rpartition("/")[2] for path in shown if path not in laid_out} <= {"hosts", "init", "runtime.log"}


def test_a_container_cannot_block_baleine_by_a_lease_on_its_log(
    lab: LabHost, attacker: None, baleine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The log is a file that the container owns. The kernel lets an open(2) of a leased file wait for 45 s."""
    baleine("container", "create", "-c", "holding", "-i", suite.IMAGE, "--no-init", "-p", "/attacks lease")
    number = str(lab.path("/var/log/baleine/holding.log").stat().st_ino)
    assert wait_for(lambda: any("LEASE" in line and f":{number} " in line for line in locks()))
    said = baleine("supervise", check=False, timeout=40)
    baleine("container", "logs", "holding", check=False, timeout=40)
    baleine("container", "remove", "holding", timeout=40)
    assert "holding.log" in said.stdout + said.stderr


@pytest.mark.parametrize(
    "answer", ["printf H; usleep 200000", 'printf "HTTP/1.1 100 Continue\\r\\n\\r\\n"'], ids=["slow", "endless"]
)
def test_a_container_cannot_block_baleine_by_its_answers(
    lab: LabHost, tiny: str, baleine: Callable[..., subprocess.CompletedProcess[str]], answer: str
) -> None:
    baleine("bridge", "create", "-b", "talk", "-a", "192.168.77.1/24")
    refused = lab.module(
        "baleine_container",
        name="talking",
        image="tiny",
        command=f"nc -ll -p 80 -e sh -c '{answer}; while :; do {answer}; done'",
        networks=[{"bridge": "talk", "addresses": ["192.168.77.2/24"]}],
        wait={"http": "/", "timeout": 3},
        expect_failure=True,
    )
    assert "did not answer in 3 s" in refused["msg"]
    baleine("container", "remove", "talking")
    baleine("bridge", "remove", "talk")


def locks() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


def test_a_disk_mounted_on_the_host_gives_no_user_root_rights(
    lab: LabHost, attacker: None, baleine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """CVE-2021-41103: a set-user-ID program of the container, run by a user of the host who finds it."""
    baleine("container", "create", "--no-start", "-c", "found", "-i", suite.IMAGE, "-p", "true")
    baleine("container", "mount", "found")
    program = "/mnt/baleine/found/attacks-suid"
    try:
        assert lab.sh(f"stat -c '%U %A' {program}").stdout == "root -rwsr-xr-x\n"
        refused = lab.run([program, "rooted"], user="nobody", check=False)
    finally:
        baleine("container", "umount", "found")
    baleine("container", "remove", "found")
    assert refused.returncode != 0
    assert lab.run([f"{suite.TREE}/attacks-suid", "rooted"], user="nobody", check=False).returncode == 0  # it is real
