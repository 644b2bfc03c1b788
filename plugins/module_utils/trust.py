# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose signature is believed for which names of images; gpgv(1) is who verifies."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Optional

from .download import Unasked
from .errors import BaleineError, explained
from .manifest import discard, replace
from .process import Runner, find_program
from .units import NAME

#: ``PREFIX.gpg`` holds the public keys that are believed for PREFIX itself and for what begins with it and ``.``, ``-``
#: or ``_``; ``PREFIX.asc`` the same in ASCII. The longest prefix decides alone.
DIRECTORY = "/etc/baleine/trust"
SUFFIXES = (".gpg", ".asc")
LARGEST = 1 << 20


def trusted() -> dict[str, str]:
    """Return the file of each prefix whose keys are believed."""
    names = os.listdir(DIRECTORY) if os.path.isdir(DIRECTORY) else []
    return {name[:-4]: f"{DIRECTORY}/{name}" for name in sorted(names) if name.endswith(SUFFIXES) and name[0] != "."}


def keys_for(name: str) -> Optional[str]:
    """Return the file whose keys are believed for an image of this published name, or None."""
    found = trusted()
    fitting = [prefix for prefix in found if name == prefix or re.match(re.escape(prefix) + "[._-]", name)]
    return found[max(fitting, key=len)] if fitting else None


def add(prefix: str, file: str) -> None:
    """Believe the keys of a file for a prefix, instead of those that were believed for it.

    :raises BaleineError: for a prefix that is none, or a file that holds no public key.
    """
    if not NAME.fullmatch(prefix):
        raise BaleineError(f"prefix {prefix!r}: no name of an image begins so", "Take a name, or the beginning of some")
    content = _keys(file)
    with explained(f"{DIRECTORY}/{prefix}.gpg"):
        replace(f"{DIRECTORY}/{prefix}.gpg", content, 0o644)
        discard(f"{DIRECTORY}/{prefix}.asc")


def remove(prefix: str) -> bool:
    """Believe no keys for a prefix any more; False where none were."""
    file = trusted().get(prefix)
    if file:
        os.unlink(file)
    return bool(file)


def _keys(file: str) -> bytes:
    """Return the public keys of a file as gpgv reads them, which knows no ASCII.

    :raises BaleineError: when there is none in it.
    """
    with explained(f"keys {file}"), open(file, "rb") as stream:
        content = stream.read(LARGEST)
    if b"-----BEGIN PGP PUBLIC KEY BLOCK-----" in content:
        import base64

        blocks = re.findall(
            rb"-----BEGIN[^\n]+\n(?:[^\n]+\n)*?\s*\n([A-Za-z0-9+/=\s]+?)(?:^=\S+\s+)?-----END", content, re.M
        )
        with contextlib.suppress(ValueError):
            content = b"".join(base64.b64decode(block) for block in blocks)
    # the first packet is a public key (RFC 4880, 4.2 and 4.3: old and new form), or it is a keybox of gpg's
    if not content or (content[0] & 0xFC != 0x98 and content[0] != 0xC6 and content[8:12] != b"KBXf"):
        raise BaleineError(f"keys {file}: there is no public key in it", "Export it: gpg --export --armor KEY")
    return content


def verify(run: Runner, name: str, text: bytes, signature: bytes, what: str) -> str:
    """Hold a signed text against the keys that are believed for a name.

    :returns: the fingerprint of the key that signed.
    :raises BaleineError: for a signature that is not theirs or not of this text, or of a key that
        has expired or was revoked.
    """
    file, program = keys_for(name), find_program("gpgv")
    if file is None or program is None:
        lacking = "the program gpgv is not on this host" if file else f"no key is trusted for images named {name}"
        hint = "Run the host role" if file else f"Trust one: baleine image trust --prefix {name} --key FILE"
        raise Unasked(f"{what}: {lacking}", hint)
    with contextlib.ExitStack() as held:
        paths = []
        for content in (_keys(file), signature, text):  # in memory: nothing to take away
            memory = held.enter_context(os.fdopen(os.memfd_create("baleine"), "wb"))
            memory.write(content)
            memory.flush()
            paths.append(f"/proc/{os.getpid()}/fd/{memory.fileno()}")
        result = run([program, "--weak-digest", "SHA1", "--status-fd", "1", "--keyring", *paths])
    good = re.search(r"^\[GNUPG:\] GOODSIG (?:.*\n(?!.* NEWSIG))*\[GNUPG:\] VALIDSIG ([0-9A-F]+) ", result.out, re.M)
    if result.code == 0 and good:
        return good[1]
    reason = next((line for line in result.err.splitlines()[::-1] if line.startswith("gpgv: ")), f"gpgv: {result.said}")
    reason = reason if result.code else "its key has expired or was revoked"
    raise BaleineError(
        f"{what}: the signature is not good by the keys of {file}: {reason}",
        "Somebody changed the image's description, or it is signed by a key that is not trusted for this name",
    )
