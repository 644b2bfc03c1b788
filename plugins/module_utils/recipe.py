# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is made from: as it is asked for, and as it is recorded and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from . import architecture, disk, families, units
from .errors import BaleineError

if TYPE_CHECKING:
    from . import remote

DEFAULT_SIZE = 10 << 30
DEFAULT_SUITE = "bookworm"
#: A package as rpm and dnf name it, or a group of them.
RPM_PACKAGE = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9_.+:~^-]*")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+(?::[a-z0-9]+)?(?:=[A-Za-z0-9.+:~-]+)?(?:/[a-z0-9-]+)?")
SUITE = re.compile(r"[a-z][a-z0-9-]*")
#: What only a tree from nothing is asked to be.
FROM_NOTHING = ("suite", "mirror", "keyring", "architecture", "repositories", "releasever")


class File(NamedTuple):
    """A file to write into a tree. ``mode`` is a number."""

    path: str
    content: str
    mode: int

    @property
    def digest(self) -> str:
        """What is recorded of the content: a manifest and a diff hold no secret."""
        import hashlib  # 2 ms, for OpenSSL

        return "sha256:" + hashlib.sha256(self.content.encode()).hexdigest()


class Recipe(NamedTuple):
    """What an image is made from. ``proxy`` is how packages are fetched, no part of what the image is.

    :param published: how the source is fetched, where that is a whole image of a web server.
    """

    size: int
    suite: str = ""
    packages: tuple[str, ...] = ()
    mirror: str = ""
    from_image: str = ""
    files: tuple[File, ...] = ()
    commands: tuple[str, ...] = ()
    proxy: str = ""
    architecture: str = ""
    keyring: str = ""
    source: str = ""
    published: Optional[remote.Source] = None
    repositories: tuple[families.Repository, ...] = ()
    releasever: str = ""
    insecure: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What is recorded and compared: everything that shapes the image, but for what it starts from."""
        ways = ("proxy", "source", "published", "insecure")
        shaping = {key: value for key, value in self._asdict().items() if key not in ways}
        return {
            **{key: list(value) if isinstance(value, tuple) else value for key, value in shaping.items()},
            "repositories": [repository._asdict() for repository in self.repositories],
            "files": [{"path": f.path, "digest": f.digest, "mode": f"{f.mode:04o}"} for f in self.files],
        }


def parse(params: Mapping[str, Any], name: str, what: str) -> Recipe:
    """Return what a task or a command asks for, normalised.

    :param name: of the image.
    :raises BaleineError: for a size, suite, package or file that is none, and for options that do not go together.
    """
    start = _parse_start(params, name, what)
    whole = start.get("from_image") or start.get("published")  # has a size of its own
    recipe = Recipe(
        _parse_size(params.get("size"), 0 if whole else DEFAULT_SIZE, what),
        packages=tuple(sorted({str(package) for package in params.get("packages") or ()})),
        files=tuple(_parse_file(item, what) for item in params.get("files") or ()),
        commands=tuple(str(command) for command in params.get("commands") or ()),
        proxy=str(params.get("proxy") or ""),
        insecure=bool(params.get("insecure")),
        **start,
    )
    for package in recipe.packages:
        deb, rpm = PACKAGE.fullmatch(package), RPM_PACKAGE.fullmatch(package)
        if not (deb if recipe.suite else rpm if recipe.repositories else deb or rpm):
            raise BaleineError(f"{what}: {package!r} is no name of a package")
    return recipe


def _parse_start(params: Mapping[str, Any], name: str, what: str) -> dict[str, Any]:
    """What an image starts from: another image, a source, or nothing, by the fields of a recipe.

    :raises BaleineError: for options that do not go together.
    """
    given = [key for key in ("from_image", "source") if params.get(key)]
    if not given:
        return _parse_nothing(params, what)
    base = units.check_name(str(params["from_image"]), "image") if "from_image" in given else ""
    if base == name:
        raise BaleineError(f"{what}: it cannot start from itself", "Name another image")
    refused = [key for key in FROM_NOTHING if params.get(key)] + given[1:]
    if refused:
        hint = "An image starts from one thing, and these are that one's"
        raise BaleineError(f"{what}: {', '.join(refused)} do not go with {given[0]}", hint)
    if base:
        return {"from_image": base}
    from . import origin  # 2 ms, which no start of a container needs

    source = str(params["source"])
    return {"source": source, "published": origin.published(source, params, what)}


def _parse_nothing(params: Mapping[str, Any], what: str) -> dict[str, Any]:
    """How a tree is made from nothing: of a suite of Debian's family, or of the repositories of Red Hat's."""
    mirror, keyring, arch, release = (
        str(params.get(key) or "") for key in ("mirror", "keyring", "architecture", "releasever")
    )
    repositories = families.parse_repositories(params.get("repositories") or (), what)
    suite = params.get("suite") or ("" if repositories else DEFAULT_SUITE)
    if repositories and (params.get("suite") or mirror or keyring):
        raise BaleineError(f"{what}: suite, mirror and keyring do not go with repositories", "They are for apt")
    if repositories and not params.get("packages"):
        raise BaleineError(f"{what}: no packages are named", "Name bash and coreutils at least: they bring a system")
    if not repositories and (release or not SUITE.fullmatch(suite)):
        wrong = "releasever goes with repositories only" if release else f"{suite!r} is no suite"
        raise BaleineError(f"{what}: {wrong}", "Write its code name: bookworm")
    if arch and arch not in architecture.KNOWN:
        raise BaleineError(f"{what}: {arch!r} is no architecture", f"There are {', '.join(architecture.KNOWN)}")
    keyring = units.normal_path(keyring) if keyring else ""
    if keyring and not re.fullmatch(r"/(.*/)?[A-Za-z0-9_.+-]+\.(gpg|asc)", keyring):
        raise BaleineError(f"{what}: {keyring!r} is no absolute path of a keyring", "Name a file FILE.gpg or FILE.asc")
    return {
        "suite": suite,
        "mirror": units.normal_address(mirror),
        "keyring": keyring,
        "architecture": "" if arch == architecture.native() else arch,
        "repositories": repositories,
        "releasever": release,
    }


def _parse_size(given: Union[str, int, None], default: int, what: str) -> int:
    """The size of the file, in whole blocks."""
    if given in (None, ""):
        return default
    size = units.parse_size(given, bare=units.MEBIBYTE, what=f"{what}: size")
    size = (size + disk.BLOCK - 1) // disk.BLOCK * disk.BLOCK
    if size < disk.SMALLEST:
        hint = f"Give it {disk.SMALLEST >> 20}M at the very least"
        raise BaleineError(f"{what}: a size of {size} bytes is too small for a tree", hint)
    return size


def _parse_file(item: Mapping[str, Any], what: str) -> File:
    path = str(item["path"])
    if not path.startswith("/") or path.endswith("/") or "\0" in path or ".." in path.split("/"):
        raise BaleineError(f"{what}: {path!r} is no absolute path of a file")
    mode = str(item.get("mode") or "0644")
    if not re.fullmatch(r"0[0-7]{3,4}", mode):
        raise BaleineError(f"{what}: {path}: {mode!r} is no mode", "Write it in octal: '0644'")
    return File(units.normal_path(path), str(item.get("content") or ""), int(mode, 8))
