# SPDX-License-Identifier: GPL-3.0-or-later
"""Root filesystems for tests: a pristine Debian tree to stand on, a tiny image to start containers from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from . import proxy, run

if TYPE_CHECKING:
    from .target import Target

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "iproute2", "openssh-server", "python3", "sudo")
#: What the stocked image has beside the Debian tree: what Ansible's module of apt needs, and a server that is fetched only.
STOCKED, FETCHED = "python3-apt", "nginx"
BUSYBOX = Path("/bin/busybox")
TINY_VERSION = 1  # raise it when tiny_tree() changes: cached images are named by it
MKE2FS = (
    "mke2fs",
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-m",
    "0",
    "-J",
    "size=8",
    "-E",
    "assume_storage_prezeroed=1",
    "-O",
    "^orphan_file,^metadata_csum_seed",
)
PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUP = "root:x:0:\ntty:x:5:\nwww-data:x:33:\napp:x:1000:\nnogroup:x:65534:\n"


def debian_tree() -> Path:
    """The pristine minimal Debian tree, from the cache or built there with mmdebstrap (never changed afterwards)."""
    key = hashlib.sha256("\n".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    tree = run.CACHE / f"debian-{key}"
    if tree.is_dir():
        return tree
    with run.locked(run.CACHE / "debian.lock"):
        if tree.is_dir():
            return tree
        for old in run.CACHE.glob("debian-*.new"):
            shutil.rmtree(old)
        new = run.CACHE / f"debian-{key}.new"
        options = [f"--aptopt={option}" for option in proxy.apt_options()]
        words = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options, SUITE, str(new)]
        run.fetch(words, new)
        for key_file in (new / "etc/ssh").glob("ssh_host_*"):
            key_file.unlink()
        new.rename(tree)
    return tree


def applets() -> list[str]:
    """The paths of busybox's applets (bin/sh, sbin/ip, usr/bin/awk…)."""
    if not BUSYBOX.exists():
        raise run.LabError("the tiny image needs a static /bin/busybox on this machine: install busybox-static")
    return subprocess.run([BUSYBOX, "--list-full"], check=True, capture_output=True, text=True).stdout.split()


TINY_FOLDERS = [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "dev",
    "proc",
    "sys",
    "etc",
    "run",
    "var/log",
    "var/lib",
    "var/www",
    "var/tmp",
    "mnt",
    "srv",
    "www",
    "home/app",
    "root",
    "tmp",
]


def tiny_tree(tree: Path) -> None:
    """Make the tiny root filesystem: busybox, its links, the directories and users that tests count on."""
    for name in TINY_FOLDERS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for path in applets():
        link = tree / path
        if not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")
    texts = {
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
        "etc/hostname": "tiny\n",
        "etc/hosts": "127.0.0.1 localhost\n",
        "etc/resolv.conf": "",
        "etc/os-release": 'ID=tiny\nNAME="tiny busybox"\n',
        "www/index.html": "tiny\n",
    }
    for name, text in texts.items():
        (tree / name).write_text(text)
    for name, mode in (("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777)):
        (tree / name).chmod(mode)
    os.chown(tree / "home/app", 1000, 1000)


def megabytes(size: str) -> int:
    """64M, 2G or a bare number of MiB, as MiB."""
    match = re.fullmatch(r"(\d+)([MG]?)(i?B)?", size)
    if match is None:
        raise ValueError(f"{size!r} is no size: 64M, 2G")
    return int(match[1]) * (1024 if match[2] == "G" else 1)


def tiny_file(size: str = "64M") -> Path:
    """The tiny image as a file in the cache, made when it is not there."""
    content = hashlib.sha256(BUSYBOX.read_bytes() if BUSYBOX.exists() else b"").hexdigest()[:12]
    image = run.CACHE / f"tiny-{TINY_VERSION}-{content}-{megabytes(size)}.ext4"
    with run.locked(run.CACHE / "tiny.lock"):
        if not image.exists():
            tree = run.CACHE / "tiny.tree"
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir(mode=0o755)
            old_mask = os.umask(0o022)
            try:
                tiny_tree(tree)
            finally:
                os.umask(old_mask)
            _image_of(tree, image, size)
            shutil.rmtree(tree)
    return image


def debian_file() -> Path:
    """The Debian tree as an image file in the cache, for containers with Python in them."""
    tree = debian_tree()
    image = run.CACHE / f"{tree.name}.ext4"
    with run.locked(run.CACHE / "debian-file.lock"):
        if not image.exists():
            _image_of(tree, image)
    return image


def stocked_file() -> Path:
    """The same image with lists of packages, STOCKED and FETCHED: apt installs a server in there without a network.

    Apt holds the lists of a new container for old ones, until somebody touches /var/lib/apt/lists.
    """
    tree = debian_tree()
    image = run.CACHE / f"{tree.name}-{STOCKED}-{FETCHED}.ext4"
    with run.locked(run.CACHE / "debian-file.lock"):
        if not image.exists():
            work = run.CACHE / "stocked.tree"
            shutil.rmtree(work, ignore_errors=True)
            run.machine(["cp", "-a", str(tree), str(work)])
            _stock(work)
            _image_of(work, image)
            shutil.rmtree(work)
    return image


def _stock(tree: Path) -> None:
    """Fetch lists and packages into a tree, by the machine's apt with the tree's own sources and keys."""
    configuration = tree.with_suffix(".conf")
    own = {"RootDir": f'"{tree}"', "APT::Sandbox::User": '"root"', "Acquire::Retries": '"3"'}
    settings = {**proxy.apt_settings(), **own}
    configuration.write_text("".join(f"{key} {value};\n" for key, value in settings.items()))
    environment = {**os.environ, "APT_CONFIG": str(configuration)}
    install = ["-y", "--no-install-recommends", "install"]
    for words in (["update"], ["--download-only", *install, STOCKED, FETCHED]):
        run.machine(["apt-get", "-qq", *words], env=environment, timeout=600)
    configuration.unlink()
    run.machine(["chroot", str(tree), "apt-get", "-qq", "--no-download", *install, STOCKED], timeout=600)


def _image_of(tree: Path, image: Path, size: str = "1G") -> None:
    """Make an image file of a tree, at one go."""
    new = image.with_suffix(".new")
    new.unlink(missing_ok=True)
    run.machine([*MKE2FS, "-d", str(tree), str(new), f"{megabytes(size)}M"], timeout=300)
    new.rename(image)


def debian_image(host: Target, name: str = "debian") -> str:
    """Put the Debian image into a lab host, as tiny_image() does; returns its name."""
    return _adopt(host, name, debian_file(), "1G")


def stocked_image(host: Target, name: str = "stocked") -> str:
    """Put the stocked image into a machine, as tiny_image() does; returns its name."""
    return _adopt(host, name, stocked_file(), "1G")


def tiny_image(host: Target, name: str = "tiny", size: str = "64M") -> str:
    """Put the tiny image into a machine, with a manifest of 2019's form, which is adopted; returns its name."""
    return _adopt(host, name, tiny_file(size), size)


def _adopt(host: Target, name: str, file: Path, size: str) -> str:
    images, manifests = "/var/lib/baleine/images", "/var/lib/baleine/manifeste/images"
    host.expect(f"file {images}/{name}", f"file {manifests}/{name}.manifest")
    host.sh(
        f"umask 077; mkdir -p {images} {manifests}; chmod 700 /var/lib/baleine {images} /var/lib/baleine/manifeste "
        f"{manifests}"
    )
    host.push(file, f"{images}/{name}")
    host.run(["chmod", "600", f"{images}/{name}"])
    host.write(
        f"{manifests}/{name}.manifest", f"nom_image: {name}\ntaille: {megabytes(size)}\nchemin: {images}\n", mode=0o600
    )
    return name
