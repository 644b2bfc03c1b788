# SPDX-License-Identifier: GPL-3.0-or-later
"""The real engines as judges: dockerd, podman and a registry in a laboratory host of their own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import run, trees
from .host import LabHost

WORK = "/srv/engines"
REGISTRY = "127.0.0.1:5000"
#: The client of the package docker.io: a newer one that stands first in PATH may refuse the daemon of that package.
DOCKER = "/usr/bin/docker"
DOCKERFILE = r"""FROM scratch
ADD base.tar /
RUN mkdir -p /full/sub /kept /was-dir /turns && echo 1 >/full/a && echo 2 >/full/sub/b && echo 3 >/kept/gone \
    && echo 4 >/kept/here && ln /kept/here /kept/again && ln /kept/again /kept/third && ln -s /etc/passwd /etc/link && echo x >/was-dir/x \
    && ln -s /etc /turns/link && touch /.wh-like && dd if=/dev/zero of=/zeros bs=1M count=8 2>/dev/null
RUN rm -rf /full /was-dir /kept/gone /etc/link /turns/link && mkdir /full /turns/link && echo new >/full/new \
    && echo file >/etc/link && echo f >/was-dir && chown 1000:33 /kept/here && chmod 4750 /kept/here \
    && echo y >/turns/link/y && mkfifo /kept/pipe
ENV GREETING="hello: world, you"
LABEL org.example.who="a, b" plain=1
EXPOSE 80 53/udp
USER app
WORKDIR /home/app
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $GREETING from $(pwd) as $(id -un)"]
"""
SAID = "hello: world, you from /home/app as app\n"


class Engines:
    """They live as long as the host; what docker built is called web:1, and saved to docker.tar."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.daemons: list[subprocess.Popen[str]] = []
        hard = host.run(["bash", "-c", "ulimit -Hn; ulimit -Hu"]).stdout.split()
        #: podman raises limits, which needs CAP_SYS_RESOURCE: it is told what there is
        self.ulimits = [f"--ulimit={key}={value}:{value}" for key, value in zip(("nofile", "nproc"), hard)]
        host.sh(f"mkdir -p {WORK}")

    def begin(self, argv: Sequence[str], ready: Sequence[str]) -> None:
        """Start a daemon, and wait until a command succeeds."""
        daemon = self.host.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.daemons.append(daemon)
        run.wait_for(lambda: self.host.run(ready, check=False).returncode == 0, run.LONGEST)

    def docker(self, *words: str, **options: bool) -> str:
        """Run docker; its daemon is started by the first command."""
        if not self.daemons:
            words_of_daemon = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]
            self.begin([*words_of_daemon, f"--insecure-registry={REGISTRY}"], [DOCKER, "info"])
        return self.host.run([DOCKER, *words], **options).stdout

    def podman(self, *words: str) -> str:
        """Run podman."""
        extra = self.ulimits if words[0] == "run" else []
        return self.host.run(["podman", words[0], *extra, *words[1:]]).stdout

    def registry(self) -> None:
        """Start a registry, if there is none yet."""
        if self.host.path(f"{WORK}/registry.yml").exists():
            return
        config = (
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {WORK}/registry}}}}\nhttp: {{addr: {REGISTRY}}}\n"
        )
        self.host.write(f"{WORK}/registry.yml", config)
        ready = ["python3", "-c", f"import urllib.request as u; u.urlopen('http://{REGISTRY}/v2/')"]
        self.begin(["docker-registry", "serve", f"{WORK}/registry.yml"], ready)

    def build(self) -> None:
        """Let docker build an image of several layers, with whiteouts, from the tiny tree."""
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "tree")
            tree.mkdir(mode=0o755)
            trees.tiny_tree(tree)
            run.machine(["tar", "-C", str(tree), "-cf", str(self.host.path(WORK) / "base.tar"), "."])
        self.host.write(f"{WORK}/Dockerfile", DOCKERFILE)
        self.docker("build", "--network=none", "-t", "web:1", WORK)
        self.docker("save", "-o", f"{WORK}/docker.tar", "web:1")

    def end(self) -> None:
        """End the daemons; what they leave ends with the host."""
        for daemon in self.daemons:
            daemon.terminate()
        self.host.sh("kill $(cat /run/docker.pid) 2>/dev/null || true")
        for daemon in self.daemons:
            daemon.wait(run.LONGEST)
