# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/security.md: read and written. `python -m tests.attacks.report` (make attacks) writes it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import run
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.target import Target

from . import suite
from .catalogue import ATTACKS

DOCUMENT = run.REPOSITORY / "docs/security.md"
COLUMNS = ("naive", "Baleine", "docker", "podman")
MARKS = ("<!-- attacks: begin -->\n", "<!-- attacks: end -->\n")
ENGINE_COLUMNS = ("docker", "podman")
ENGINES = ("aardvark-dns", "docker.io", "iptables", "netavark", "podman")
#: In place of the number of the disk, which a laboratory host's root has not.
NO_DISK = "1:0"
WORDS = {True: "**succeeds**", False: "refused"}
Found = Mapping[str, Mapping[str, bool]]


def table(found: Found) -> str:
    """The table of what succeeded, by column and attack."""
    head = ("attack", "what it tries", "known from", "what answers it", *COLUMNS)
    rows = [
        (f"`{attack.name}`", attack.what, attack.cve, attack.answer, *(WORDS[found[column][attack.name]] for column in COLUMNS))
        for attack in ATTACKS
    ]  # fmt: skip
    sums = [f"{sum(found[column].values())} of {len(ATTACKS)}" for column in COLUMNS]
    lines = [head, ("---",) * len(head), *rows, ("succeed", "", "", "", *sums)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def parts(text: str) -> tuple[str, str, str]:
    """The document before the table, the table, and the rest."""
    before, begin, rest = text.partition(MARKS[0])
    block, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has lost the marks of its table")
    return before + begin, block, end + after


def written(document: Path = DOCUMENT) -> dict[str, dict[str, bool]]:
    """What the document says, by column and attack."""
    block = parts(document.read_text())[1]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*$", block, re.MULTILINE)
    lines = {line.split("`")[1]: line for line in block.splitlines() if line.startswith("| `")}
    cells = {name: [cell.strip() for cell in lines[name].strip("|").split("|")][-len(COLUMNS) :] for name in rows}
    return {column: {name: cells[name][at] == WORDS[True] for name in rows} for at, column in enumerate(COLUMNS)}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What may be asked for; ``words`` are by default those of the process."""
    names = [attack.name for attack in ATTACKS]
    parser = argparse.ArgumentParser(prog="tests.attacks.report", description=main.__doc__)
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="ATTACK", help="by default all")
    parser.add_argument("--columns", nargs="+", default=COLUMNS, choices=COLUMNS, help="by default all")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="what holds the table; docs/security.md")
    parser.add_argument(
        "--lab-host",
        action="store_true",
        help="mild attacks on a laboratory host, without the engines: no guest is booted",
    )
    given = parser.parse_args(words)
    wild = [attack.name for attack in ATTACKS if attack.name in given.only and not attack.mild]
    if given.lab_host and wild:
        parser.error(f"only the guest may be attacked by {', '.join(wild)}")
    if given.lab_host and set(given.columns) & {*ENGINE_COLUMNS}:
        parser.error(f"a laboratory host has no {' and no '.join(ENGINE_COLUMNS)} here: --columns naive Baleine")
    return given


def start_engines(guest: Guest) -> None:
    """Start docker, and give both engines the image."""
    guest.sh(f"""
        systemctl start docker
        tar -C {suite.TREE} -cf /srv/attack.tar .
        docker import /srv/attack.tar {suite.IMAGE}
        podman import /srv/attack.tar {suite.IMAGE}
    """, timeout=900)  # fmt: skip


def attack(host: Target, facts: Mapping[str, str], options: argparse.Namespace) -> dict[str, dict[str, bool]]:
    """Run the attacks that are asked for, and return what succeeded, by column and attack."""
    words = " ".join(["run", *options.only])
    scripts = {
        "naive": suite.naive(facts, words),
        "Baleine": suite.baleine(facts, words),
        "docker": suite.engine("docker", facts, words),
        "podman": suite.engine("podman", facts, words),
    }
    found = {}
    for column in options.columns:
        results = suite.results(host, scripts[column])
        found[column] = {name: result.done for name, result in results.items()}
        for name, result in results.items():
            print(f"{column:8} {name:24} {'SUCCEEDS' if result.done else 'refused: ' + result.why}")
    return found


def attack_lab_host(options: argparse.Namespace) -> dict[str, dict[str, bool]]:
    """Attack a laboratory host."""
    with LabHost("attacks") as host:
        host.install_baleine()
        suite.image(host, NO_DISK)
        return attack(host, {}, options)


def attack_guest(options: argparse.Namespace) -> dict[str, dict[str, bool]]:
    """Attack a guest."""
    with Guest("attacks", packages=ENGINES) as guest:
        guest.install_baleine()
        facts = suite.prepare(guest)
        if set(options.columns) & {*ENGINE_COLUMNS}:
            start_engines(guest)
        found = attack(guest, facts, options)
        print(guest.sh("docker --version; podman --version; crun --version | head -n 1; uname -r").stdout)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Attack a naive container, Baleine, docker and podman, print the table and put it into the document.

    Attacks and columns that were not asked for stay there as they were. 0 when everything succeeded in the naive
    container and nothing in Baleine's.
    """
    options = arguments(words)
    tried = attack_lab_host(options) if options.lab_host else attack_guest(options)
    for column, results in tried.items():
        if set(results) != set(options.only):
            raise ValueError(f"{column}: no result of {', '.join(sorted(set(options.only) - set(results)))}")
    whole = len(options.only) == len(ATTACKS) and len(options.columns) == len(COLUMNS)
    before = {} if whole else written(options.document)
    found = {column: {**before.get(column, {}), **tried.get(column, {})} for column in COLUMNS}
    print(table(found))
    head, _old, rest = parts(options.document.read_text())
    options.document.write_text(head + table(found) + rest)
    return int(any(tried.get("Baleine", {}).values()) or not all(tried.get("naive", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
