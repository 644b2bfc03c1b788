# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, sizes, addresses: what a person writes, made one normal form. Pure functions."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Optional, Union

from .errors import BaleineError

OLD_DISK = re.compile(r"\.old-[0-9]{8}T[0-9]{6}Zx{0,9}\Z")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
#: IFNAMSIZ of linux/if.h less the final zero
LINK_NAME_LENGTH = 15
UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MEBIBYTE = 1 << 20
MEMORY_FLOOR = 4 * MEBIBYTE


def normal_path(path: str) -> str:
    """Return a path in its shortest form: two slashes in front, which normpath keeps, are one here."""
    return re.sub("^//", "/", os.path.normpath(path))


def as_listed(there: Sequence[str], listed: Sequence[str]) -> list[str]:
    """Return what is there in the order in which it was asked for: the kernel has an order of its own."""
    return [text for text in listed if text in there] + [text for text in there if text not in listed]


def normal_address(text: str) -> str:
    """Return the address of a server's directory without a slash at its end; what is more than an address as it is."""
    return re.sub(r"^(\S*[^\s/:])/+$", r"\1", text)


def check_name(name: str, what: str, aside: bool = False) -> str:
    """Return the name of a resource.

    :param what: ``image``, ``container`` or ``bridge``; a bridge is a link and has at most 15 characters,
        an image's may end in ``:TAG``.
    :param aside: also take the name of a disk that a recreate put aside: the container's, and when.
    :raises BaleineError: with the rule.
    """
    if aside and what == "container" and OLD_DISK.search(name):
        check_name(OLD_DISK.sub("", name), what)
        return name
    parts = name.split(":", 1) if what == "image" else [name]
    if not all(NAME.fullmatch(part) for part in parts):
        raise BaleineError(
            f"{what} {_shorten(name)}: this is no valid name",
            "Use 1 to 63 letters, digits, '_', '.' or '-', beginning with a letter or digit"
            + (", and a tag of the same form after a colon if need be" if what == "image" else ""),
        )
    if what == "bridge" and len(name) > LINK_NAME_LENGTH:
        hint = f"The kernel gives a link at most {LINK_NAME_LENGTH}"
        raise BaleineError(f"bridge {name}: the name has {len(name)} characters", hint)
    return name[: -len(":latest")] if what == "image" and name.endswith(":latest") else name


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def number(text: str) -> Optional[int]:
    """Return a number that a file holds in ASCII digits, 18 at the most; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def parse_size(text: Union[str, int], bare: int = 1, what: str = "size") -> int:
    """Return bytes from ``512M``, ``512MiB``, ``10g``, ``1.5G`` or a bare number.

    Units are powers of 1024, as the documents and both leading engines have them.

    :param bare: bytes in one of a bare number (an image's is MiB).
    :param what: of what it is the size, for the error.
    :raises BaleineError: when it is no size.
    """
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([BKMGT]?)(?:(?<=[KMGT])I?B)?", str(text).strip().upper())
    if not match:
        raise BaleineError(f"{what} {_shorten(str(text))}: not understood", "Write a number and K, M, G or T: 512M")
    number, unit = match.groups()
    factor = UNITS[unit] if unit else bare
    return int(float(number) * factor) if "." in number else int(number) * factor


def parse_rate(text: Union[str, int, None], what: str) -> Optional[int]:
    """Return bits a second from ``20mbit``, ``1.5gbit`` or a bare number, or None; units are powers of 1000.

    :raises BaleineError: when it is no rate, or one below 64 kbit/s, which carries nothing of use.
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([kmgt]?)(bit)?", str(text or "0").strip().lower())
    rate = int(float(match[1]) * 1000 ** " kmgt".index(match[2] or " ")) if match else 1
    if rate and rate < 64000:
        raise BaleineError(f"{what}: {_shorten(str(text))} is no rate of 64kbit or more", "Write it in bits: 20mbit")
    return rate // 8 * 8 or None


def show_rate(rate: Optional[int]) -> str:
    """Return bits a second in the largest unit that keeps them exact (``20mbit``), or ``none``."""
    power = next(power for power in (4, 3, 2, 1, 0) if (rate or 1) % 1000**power == 0)
    return f"{rate // 1000**power}{['', 'k', 'm', 'g', 't'][power]}bit" if rate else "none"


def show_size(size: int) -> str:
    """Return bytes in the largest unit that keeps them exact (``512M``), or with one decimal."""
    large = [unit for unit in ("T", "G", "M", "K") if size >= UNITS[unit]]
    exact = next((unit for unit in large if size % UNITS[unit] == 0), None)
    if exact:
        return f"{size // UNITS[exact]}{exact}"
    return f"{size / UNITS[large[0]]:.1f}{large[0]}" if large else f"{size}B"


def parse_address(text: str, what: str) -> str:
    """Return an address with its prefix in normal form, ``192.168.42.2/24`` or ``fd00::2/64``.

    :param what: the object, for the error.
    :raises BaleineError: when it is no address in CIDR form, or not one a host can have.
    """
    if "/" not in text:
        hint = "Write it in CIDR form: 192.168.42.2/24"
        raise BaleineError(f"{what}: the address {_shorten(text)} has no prefix", hint)
    address = _read(text, "ip_interface", what, "Write an address in CIDR form: 192.168.42.2/24")
    network = address.network
    ends = (network.network_address, network.broadcast_address) if address.version == 4 else (network.network_address,)
    own = address.ip
    local = own.is_loopback or own.is_unspecified or (own.version == 6 and own.is_link_local)
    if local or own.is_multicast or "%" in text:
        raise BaleineError(f"{what}: {address} cannot be an interface's address", "Take one of a private network")
    if network.num_addresses > 2 and address.ip in ends:
        hint = f"Take one inside it, {network.network_address + 1} for example"
        raise BaleineError(f"{what}: {address.ip} is the network's own or its broadcast address in {network}", hint)
    return str(address.with_prefixlen)


def _read(text: str, kind: str, what: str, hint: str) -> Any:
    import ipaddress

    try:
        return getattr(ipaddress, kind)(text.strip())
    except ValueError as error:
        raise BaleineError(f"{what}: {error}", hint) from None


def parse_gateway(text: str, what: str) -> str:
    """Return a gateway's address in normal form.

    :raises BaleineError: when it is no IP address.
    """
    return str(_read(text, "ip_address", f"{what}: gateway", "Write an IP address without a prefix"))


def parse_destination(text: str, what: str) -> str:
    """Return the network a route leads to, in normal form; ``default`` stays.

    :raises BaleineError: when it is no network.
    """
    if text.strip() == "default":
        return "default"
    network = _read(text, "ip_network", f"{what}: route", "Write a network in CIDR form: 10.1.0.0/16")
    if network.prefixlen == 0:
        return "default"
    return str(network.network_address if network.num_addresses == 1 else network)  # as the kernel shows it


def parse_mac(text: str, what: str) -> str:
    """Return a MAC address as the kernel writes it, ``02:ab:…``.

    :raises BaleineError: when it is none, or a multicast one.
    """
    digits = re.sub(r"[:.-]", "", text.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or int(digits[:2], 16) & 1 or digits == "0" * 12:
        raise BaleineError(f"{what}: {_shorten(text)} is no MAC address of a station", "Write it as 02:00:00:00:00:01")
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def make_mac(machine: str, name: str, index: int) -> str:
    """Return a locally administered MAC that is the same at every start and differs between machines."""
    import hashlib

    value = hashlib.sha256(f"{machine}/{name}/{index}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in ((value[0] & 0xFC) | 0x02, *value[1:6]))


def interface_prefix(name: str, digits: int = 4) -> str:
    """Return ``vif`` and the first hexadecimal digits of the SHA-1 of a container's name and a newline."""
    import hashlib

    return "vif" + hashlib.sha1(f"{name}\n".encode()).hexdigest()[:digits]  # the documents' contract, no cryptography


def interface_names(name: str, count: int, taken: Sequence[str]) -> list[str]:
    """Return the host-side names of a container's interfaces, with more digits where others meet in four.

    :param taken: names that other containers have recorded.
    """
    for digits in range(4, LINK_NAME_LENGTH - len("vif_00") + 1):
        prefix = interface_prefix(name, digits) + "_"
        if not any(other.startswith(prefix) for other in taken):
            return [f"{prefix}{index}" for index in range(count)]
    raise BaleineError(f"container {name}: no interface name is left for it", "Choose another name")


def parse_mtu(value: Optional[int], what: str) -> Optional[int]:
    """Return an MTU in bytes (68 to 65535, RFC 791), or None.

    :raises BaleineError: out of range.
    """
    if value is not None and not 68 <= value <= 65535:
        raise BaleineError(f"{what}: an MTU of {value} bytes is out of range", "Take 68 to 65535")
    return value


def parse_cpus(value: Union[str, float, None], what: str) -> Optional[float]:
    """Return a number of CPUs (0.01 or more), or None.

    :raises BaleineError: when it is no such number.
    """
    if value is None:
        return None
    try:
        cpus = round(float(value), 4)
    except ValueError:
        cpus = 0.0
    if not 0.01 <= cpus <= 8192:
        raise BaleineError(f"{what}: limits.cpus: {value!r} is no number of CPUs", "Write 0.5 for half of one")
    return cpus


def parse_cpuset(text: Optional[str], what: str) -> Optional[str]:
    """Return a list of CPUs or memory nodes in the kernel's form, ``0-2,7``, or None.

    :raises BaleineError: when it is no such list.
    """
    if text is None:
        return None
    for part in str(text).split(","):
        match = re.fullmatch(r" *([0-9]{1,5})(?:-([0-9]{1,5}))? *", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise BaleineError(f"{what}: {text!r} is no list of numbers", "Write 0-2,7")
    return join_ranges(sorted(expand_ranges(str(text))))


def expand_ranges(text: str) -> set[int]:
    """Return the numbers that a list in the kernel's form names."""
    pairs = [part.partition("-") for part in text.split(",") if part.strip()]
    return {number for first, _dash, last in pairs for number in range(int(first), int(last or first) + 1)}


def join_ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as the kernel lists them: ``0-2,7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def split_command(command: Union[str, Sequence[str]], what: str) -> tuple[str, ...]:
    """Return a program and its arguments; one string is split like shell words, and given to no shell.

    :raises BaleineError: for an open quote, nothing at all, or a NUL byte.
    """
    import shlex

    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else tuple(str(word) for word in command)
    except ValueError as error:
        raise BaleineError(f"{what}: command {command!r}: {error}", "Close the quote, or give a list") from None
    if not words or not words[0]:
        raise BaleineError(f"{what}: the command is empty", "Give a program and its arguments")
    if any("\0" in word for word in words):
        raise BaleineError(f"{what}: the command holds a NUL byte")
    return words


def show_duration(seconds: float) -> str:
    """Return a running time as ``3d 04:05:06`` or ``04:05:06``."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}d {clock}" if days else clock
