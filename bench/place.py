# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the benchmark runs: a laboratory host with an agent in it, a reflink store, and the tiny tree for everybody."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Optional

from tests.lab import cgroups, trees
from tests.lab.host import LabHost

AGENT = "/srv/bench/agent.py"
TREE, TAR = "/srv/bench/tree", "/srv/bench/tiny.tar"
#: A whole Debian, for who copies trees file by file.
DEBIAN = "debian"
STORE = "/srv/bench/store"
#: The left-over controller of a hybrid machine: crun refuses to work while it is on v2.
CONTROLLERS = "/sys/fs/cgroup/unified/cgroup.controllers"
#: A hierarchy of v1 only ends when it is unmounted without a group in it, and a group that was removed takes a moment.
GIVE_BACK = f"""folder=/sys/fs/cgroup/$1
for _ in 1 2 3 4 5; do
    find "$folder" -mindepth 1 -depth -type d -exec rmdir {{}} + 2>/dev/null
    sleep 0.5
    umount "$folder"
    sleep 0.5
    grep -qw "$1" {CONTROLLERS} && exit 0
    mount -t cgroup -o "$1" "$1" "$folder"
done
umount "$folder"
exit 1
"""
PATIENCE = 30.0


class Failed(Exception):
    """A contender could not do what was asked; says why, in its own words."""


class CannotRun(Exception):
    """A contender or a case needs what this machine does not have; says what."""


class Place:
    """The laboratory host of a run, for its life; everything made in it ends with it."""

    def __init__(self, cgroup_root: Literal["own", "real"] = "real") -> None:
        self.host = LabHost("bench", cgroup_root=cgroup_root, checkout=True)
        self.cgroup_root = cgroup_root
        self.said: list[str] = []
        self.controllers: list[str] = []
        self.on_reflink = False
        try:
            self.host.install_baleine()
            self.host.write(AGENT, Path(__file__).with_name("agent.py").read_text())
            self.agent = self.host.popen(["/usr/bin/python3", "-IS", AGENT], stdin=-1, stdout=-1)
            if cgroup_root == "real":
                self._move_controllers()
            self._make_store()
        except BaseException:
            self.host.stop()
            raise

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.host.stop()

    def _move_controllers(self) -> None:
        """Mount on v1 what the machine left on v2; back it goes when the laboratory host ends."""
        self.controllers = self.host.sh(f"cat {CONTROLLERS} 2>/dev/null || true").stdout.split()
        for name in self.controllers:
            folder = f"/sys/fs/cgroup/{name}"
            self.host.sh(f"mkdir {folder} && mount -t cgroup -o {name} {name} {folder}")
            self.said.append(f"the cgroup controller {name}, left on v2 by this machine, was mounted on v1 for crun")

    def _make_store(self) -> None:
        """Make /var/lib/baleine a reflink store (XFS in a file), with the tiny image, and the tree for the peers."""
        self.host.sh(
            f"mkdir -p {STORE} && truncate -s 4G {STORE}.xfs && mkfs.xfs -q -m reflink=1 {STORE}.xfs"
            f" && mount -o loop {STORE}.xfs {STORE}"
        )
        self.reflink(True)
        image = trees.tiny_image(self.host)
        self.know(image)
        self.host.sh(
            f"mkdir {TREE} && debugfs -R 'rdump / {TREE}' /var/lib/baleine/images/{image} >/dev/null 2>&1"
            f" && rm -rf {TREE}/lost+found && tar -C {TREE} -cf {TAR} ."
        )

    def reflink(self, wanted: bool) -> None:
        """Let /var/lib/baleine be the reflink store, or the machine's own filesystem."""
        if wanted != self.on_reflink:
            self.host.sh(f"mount --bind {STORE} /var/lib/baleine" if wanted else "umount /var/lib/baleine")
            self.on_reflink = wanted

    def know(self, image: str) -> None:
        """Let the manifest of an image hold its digest, as that of one which Baleine made does."""
        self.host.sh(f"baleine image mount {image} && baleine image umount {image}")

    def make_big(self, mebibytes: int) -> None:
        """Make the image `big`, which holds much data, and give both stores the same images, bridges and manifests."""
        self._make_image("big", f"{mebibytes}M", 1024)
        self.reflink(False)
        self.host.sh(f"cp -a --sparse=always {STORE}/. /var/lib/baleine/")
        for image in ("tiny", "big"):
            self.know(image)
        self.reflink(True)

    def missing(self, programs: Sequence[str]) -> list[str]:
        """Return those of the programs that the laboratory host does not have."""
        script = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'
        return self.host.run(["sh", "-c", script, "sh", *programs]).stdout.split()

    def make_debian(self, whole: bool) -> tuple[str, str]:
        """Make the image `debian` on the reflink store; returns its tree, and an archive of that for the peers.

        whole: a Debian; otherwise the tiny tree stands for it.
        """
        if not whole:
            self.know(trees.tiny_image(self.host, DEBIAN))
            return TREE, TAR
        tree, tar = str(trees.debian_tree()), f"/srv/bench/{DEBIAN}.tar"
        self.know(trees.debian_image(self.host, DEBIAN))
        self.host.sh(f"tar -C {tree} --numeric-owner -cf {tar} .")
        return tree, tar

    def make_large(self, data: int) -> None:
        """Make the image `large` of 10 GiB on both stores; `data` bytes of it are used."""
        for reflink in (True, False):
            self.reflink(reflink)
            self._make_image("large", str(data), 10240)

    def _make_image(self, name: str, data: str, mebibytes: int) -> None:
        images, tree = "/var/lib/baleine/images", f"{TREE}.{name}"
        self.host.sh(f"cp -a {TREE} {tree} && head -c {data} /dev/urandom >{tree}/data; "
                     "mkdir -p /var/lib/baleine/images /var/lib/baleine/manifeste/images")  # fmt: skip
        self.host.run([*trees.MKE2FS, "-d", tree, f"{images}/{name}", f"{mebibytes}M"])
        self.host.write(
            f"/var/lib/baleine/manifeste/images/{name}.manifest",
            f"nom_image: {name}\ntaille: {mebibytes}\nchemin: {images}\n",
        )
        self.host.sh(f"rm -r {tree}")
        self.know(name)

    def copy_large(self) -> float:
        """Return the seconds that Baleine says it took to copy `large`."""
        words = ["baleine", "image", "tag", "large", "--target", "large:copy", "--format", "json"]
        told = json.loads(self.host.run(words).stdout)[0]["copy"]["seconds"]
        self.host.run(["baleine", "image", "remove", "large:copy"])
        return float(told)

    def end(self) -> list[str]:
        """Take away what outlives the processes (mounts, groups that contenders leave); returns what did not go."""
        if self.agent.stdin is not None:
            self.agent.stdin.close()
        self.agent.wait(timeout=10)
        self.reflink(False)
        self.host.sh(f"umount {STORE}")
        problems = []
        for name in self.controllers:
            if self.host.run(["sh", "-c", GIVE_BACK, "sh", name], check=False).returncode != 0:
                problems.append(f"the cgroup controller {name} did not go back to v2")
        for name in reversed(cgroups.outside()):
            if name not in self.host.baseline["cgroup"]:
                with contextlib.suppress(OSError):  # another's, if a process is in it
                    cgroups.outside_folder(name).rmdir()
        return problems

    # The agent

    def _ask(self, **request: Any) -> Any:
        if self.agent.stdin is None or self.agent.stdout is None:
            raise Failed("the agent has no pipes")
        self.agent.stdin.write(json.dumps(request) + "\n")
        self.agent.stdin.flush()
        line = self.agent.stdout.readline()
        if not line:
            raise Failed("the agent in the laboratory host ended")
        return json.loads(line)

    def time(self, argv: Sequence[str], timeout: float = PATIENCE) -> float:
        """Return the seconds that a whole command takes.

        :raises Failed: when it fails or does not end.
        """
        answer = self._ask(do="time", argv=list(argv), timeout=timeout)
        if answer["code"] != 0:
            lines = answer["said"].splitlines()
            lines = [line[:300] for line in lines if line.startswith(("failed: ", "fatal: "))] or lines  # Ansible's
            said = " / ".join(lines[-2:]) or f"exit code {answer['code']} and no message"
            raise Failed(f"{shlex.join(argv)[:100]}: {said}")
        return float(answer["seconds"])

    def do(self, *argv: str, timeout: float = PATIENCE) -> None:
        """Run a command that has to succeed."""
        self.time(argv, timeout)

    def sh(self, script: str) -> None:
        """Run a shell script that has to succeed."""
        self.do("sh", "-ec", script)

    def background(self, *argv: str) -> int:
        """Start a command that stays; returns its pid."""
        return int(self._ask(do="background", argv=list(argv))["pid"])

    def census(self) -> list[dict[str, Any]]:
        """Return the processes of the laboratory host, its own first one and the agent aside; see agent.census."""
        found: list[dict[str, Any]] = self._ask(do="census")
        return found
