# SPDX-License-Identifier: GPL-3.0-or-later
"""The attack suite in the guest: what succeeds in namespaces and a chroot is refused in a container of Baleine's."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks import images, report, suite
from tests.attacks.catalogue import ATTACKS
from tests.attacks.images import BASE, CONTAINER, HARMED, IMAGES, RESET, TREE, Image
from tests.lab import trees
from tests.lab.guest import Guest
from tests.lab.held import Held
from tests.lab.host import LabHost
from tests.lab.run import LONGEST, wait_for

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


def test_the_document_says_what_was_found(naive: dict[str, suite.Result], refusing: dict[str, suite.Result]) -> None:
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
    """CVE-2019-5736. Programs enter until the attacker has seen one of them: it is there for a moment only."""
    result, met = f"{suite.SHARED}/result", f"{suite.SHARED}/met"
    clean = f"rm -f {result} {met} {suite.SHARED}/stop"
    watch = "sh -c '/attacks run runtime-binary >/shared/result'"
    naive = guest.sh(f"""
        {clean}
        unshare -mpuin --fork --mount-proc={suite.TREE}/proc sh -c "mount --bind {suite.SHARED} {suite.TREE}/shared
            exec chroot {suite.TREE} {watch}" &
        until pid=$(pgrep -P $!); do :; done
        until [ -s {result} ]; do
            nsenter -t $pid -m -u -i -n -p chroot {suite.TREE} true || true
            sleep 0.3
        done
        wait
        cat {result}
    """, timeout=1800).stdout  # fmt: skip
    assert naive == "runtime-binary\tdone\t\n"
    watching = f"baleine container create -c watching -i attack -v {suite.SHARED}:/shared -p {shlex.quote(watch)}"
    guest.sh(f"{clean}; {watching}")
    guest.sh(f"until [ -e {met} ]; do baleine container exec -c watching -- true; done", timeout=1800)
    guest.sh(f"touch {suite.SHARED}/stop; until [ -s {result} ]; do sleep 0.1; done", timeout=1800)
    assert guest.read(result).startswith("runtime-binary\trefused\t")
    guest.baleine("container", "remove", "watching")


def typed(guest: Guest, script: str) -> str:
    """What is left at a terminal where a script ran that tries to type there."""
    shown = guest.run(["python3", "/srv/terminal.py", script]).stdout
    assert "terminal-input" in shown
    return shown.splitlines()[0]


def test_nothing_can_be_typed_at_the_callers_terminal(guest: Guest, facts: dict[str, str], entered: str) -> None:
    """CVE-2016-7545, CVE-2017-5226: TIOCSTI."""
    guest.write("/srv/terminal.py", (suite.SOURCES / "terminal.py").read_text())
    assert typed(guest, suite.naive(facts, "run terminal-input")) == "typed: b'attack\\n'"
    for command in (f"baleine container run --rm -i {suite.IMAGE}", entered):
        for options in ("--interactive --tty", "--interactive", "--tty", ""):
            assert typed(guest, f"{command} {options} -- /attacks run terminal-input") == "typed: b''", options


@pytest.fixture
def swappable(guest: Guest, hostile: None) -> Iterator[None]:
    """A directory and a link to a victim of the host in a volume: a volume below it that follows the link harms."""
    guest.sh(f"""
        {RESET}
        rm -rf {suite.SHARED}/sub {suite.SHARED}/link
        mkdir -p {suite.SHARED}/sub {BASE}/other
        ln -s {images.VICTIM} {suite.SHARED}/link
        mount --bind {BASE}/other {suite.SHARED}/link
        {HARMED}
        umount {images.VICTIM}
    """)  # fmt: skip
    yield
    guest.sh(f"rm -rf {suite.SHARED}/sub {suite.SHARED}/link {suite.SHARED}/was {suite.SHARED}/swaps; {RESET}")


LOOK = f"cat /root/attack-secret {images.VICTIM}/file /mnt/sub/file; echo ran"
BELOW = ["-v", f"{suite.SHARED}:/mnt", "-v", f"{BASE}/other:/mnt/sub"]
RUN = ["/usr/local/bin/baleine", "container", "run", "--rm", "-i", suite.IMAGE, *BELOW, "--", "sh", "-c", LOOK]


def harms_nobody(guest: Guest, words: str) -> None:
    harmed = guest.sh(f"if {HARMED}; then echo harmed; fi").stdout
    assert suite.SECRET not in words and "kept" not in words and harmed == ""


@pytest.mark.parametrize("step", ["mounted", "specified"])
def test_a_directory_below_a_volume_that_becomes_a_link_during_the_start_stays_inside(
    guest: Guest, swappable: None, step: str
) -> None:
    """CVE-2021-30465, made certain: swapped before the places of the volumes are looked for, and after that."""
    with Held(guest, RUN, step) as starts:
        guest.sh(f"cd {suite.SHARED}; mv sub was; mv link sub")
        _code, words = starts.go_on()
    harms_nobody(guest, words)


def test_a_directory_that_another_container_swaps_for_a_link_during_the_start_stays_inside(
    guest: Guest, swappable: None
) -> None:
    """CVE-2021-30465 as it is met: nobody can stop the runtime at the worst moment, so it starts while swaps go on."""
    swap = "/attacks swap /shared/sub /shared/link /shared/swaps"
    guest.baleine("container", "create", "-c", "swapping", "-i", "attack", "-v", f"{suite.SHARED}:/shared", "-p", swap)

    def swaps() -> int:
        count = guest.run(["od", "-An", "-tu8", f"{suite.SHARED}/swaps"], check=False).stdout
        return int(count or 0)

    def meets() -> bool:
        """Start one; whether the other one swapped while the runtime was at work."""
        with Held(guest, RUN, "specified") as starts:
            before = swaps()
            _code, words = starts.go_on()
            met = swaps() > before
        harms_nobody(guest, words)
        return met

    assert wait_for(swaps, LONGEST)
    for _turn in range(5):
        assert wait_for(meets, 1800)
    guest.baleine("container", "remove", "swapping")


@pytest.fixture(scope="module")
def attacker(lab: LabHost, baleine: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    suite.image(lab, "1:0")


def test_no_mild_attack_succeeds_on_this_machine_either(lab: LabHost, attacker: None) -> None:
    """Another kernel, whichever control groups and runtime it has. What could harm a machine stays in the guest."""
    mild = {attack.name for attack in ATTACKS if attack.mild}
    found = suite.results(lab, suite.baleine({}, f"run {' '.join(sorted(mild))}"))
    assert set(found) == mild and len(mild) >= 40
    assert done(found) == set()


def test_other_users_of_the_host_can_read_no_disk_manifest_log_or_specification(
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


def test_a_container_cannot_hold_up_the_manager_by_a_lease_on_its_log(
    lab: LabHost, attacker: None, baleine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The log is a file that the container owns. The kernel lets an open(2) of a leased file wait for 45 s."""
    baleine("container", "create", "-c", "holding", "-i", suite.IMAGE, "--no-init", "-p", "/attacks lease")
    number = str(lab.path("/var/log/baleine/holding.log").stat().st_ino)
    assert wait_for(lambda: any("LEASE" in line and f":{number} " in line for line in locks()))
    said = baleine("supervise", check=False)
    assert "holding.log" in said.stdout + said.stderr  # who waits has the file in the end, and nothing to say
    baleine("container", "logs", "holding")
    baleine("container", "remove", "holding")


@pytest.mark.parametrize(
    "answer", ["printf H; usleep 200000", 'printf "HTTP/1.1 100 Continue\\r\\n\\r\\n"'], ids=["slow", "endless"]
)
def test_a_container_cannot_hold_up_the_manager_by_how_it_answers(
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


def test_a_disk_that_is_mounted_on_the_host_makes_nobody_root(
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
