# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/security.md: read and written. `python -m tests.attacks.report` (make attacks) makes it anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from tests.lab import run
from tests.lab.guest import Guest

from . import suite
from .catalogue import ATTACKS

DOCUMENT = run.REPOSITORY / "docs/security.md"
COLUMNS = ("naive", "Baleine", "docker", "podman")
MARKS = ("<!-- attacks: begin -->\n", "<!-- attacks: end -->\n")
ENGINES = ("aardvark-dns", "docker.io", "iptables", "netavark", "podman")
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


def written() -> dict[str, dict[str, bool]]:
    """What the document says, by column and attack."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*$", parts(DOCUMENT.read_text())[1], re.MULTILINE)
    lines = {line.split("`")[1]: line for line in parts(DOCUMENT.read_text())[1].splitlines() if line.startswith("| `")}
    cells = {name: [cell.strip() for cell in lines[name].strip("|").split("|")][-len(COLUMNS) :] for name in rows}
    return {column: {name: cells[name][at] == WORDS[True] for name in rows} for at, column in enumerate(COLUMNS)}


def start_engines(guest: Guest) -> None:
    """Start docker, and give both engines the image."""
    guest.sh(f"""
        systemctl start docker
        tar -C {suite.TREE} -cf /srv/attack.tar .
        docker import /srv/attack.tar {suite.IMAGE}
        podman import /srv/attack.tar {suite.IMAGE}
    """, timeout=900)  # fmt: skip


def main() -> int:
    """Run everything in a guest of its own, print the table and put it into the document."""
    with Guest("attacks", packages=ENGINES) as guest:
        guest.install_baleine()
        facts = suite.prepare(guest)
        start_engines(guest)
        scripts = {
            "naive": suite.naive(facts),
            "Baleine": suite.baleine(facts),
            "docker": suite.engine("docker", facts),
            "podman": suite.engine("podman", facts),
        }
        found = {}
        for column, script in scripts.items():
            results = suite.results(guest, script)
            found[column] = {name: result.done for name, result in results.items()}
            for name, result in results.items():
                print(f"{column:8} {name:24} {'SUCCEEDS' if result.done else 'refused: ' + result.why}")
        versions = guest.sh("docker --version; podman --version; crun --version | head -n 1; uname -r").stdout
    print(table(found) + versions)
    before, _old, after = parts(DOCUMENT.read_text())
    DOCUMENT.write_text(before + table(found) + after)
    return any(found["Baleine"].values()) or not all(found["naive"].values())


if __name__ == "__main__":
    sys.exit(main())
