# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a web server, over HTTPS alone: small ones at once, large ones piece by piece, from where one broke off."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

from .errors import BaleineError, explained
from .manifest import discard
from .units import show_size

#: A server that gives less than SLOWEST bytes within TIMEOUT seconds is taken as gone.
TIMEOUT, SLOWEST = 30, 4096
PIECE = 1 << 20
#: How often a connection may break within one run; each time some more of the file must have come.
ATTEMPTS = 20


def _silent(have: int, size: int) -> None:
    pass


#: Told how much has come of how much (bytes): the command line's place to show progress.
progress: Callable[[int, int], None] = _silent


class Unasked(BaleineError):
    """A source that cannot be asked now, or not yet: what came from it earlier need not go for that."""


class Way(NamedTuple):
    """How a server is reached.

    :param authority: a file of the certificates that may vouch for it; empty: those that the host trusts.
    :param proxy: the HTTP proxy; empty: that of the environment (``https_proxy``), if there is one.
    """

    authority: str = ""
    proxy: str = ""


def check_url(url: str, what: str) -> str:
    """Return a URL that files can be fetched from.

    :raises BaleineError: for one that is not HTTPS, or holds a password: it is kept in a manifest.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        plain = False
    if not plain or parts.query or parts.fragment or not re.fullmatch("[!-~]+", url):
        raise BaleineError(f"{what}: {url!r} is no plain URL of a file", "Write it as https://HOST/PATH/NAME.image")
    return url


def small(url: str, most: int, way: Way) -> bytes:
    """Return the content of a file.

    :param most: how many bytes it may have.
    :raises Unasked: when the server cannot be reached or does not give it.
    """
    content = b""
    with _answer(url, way) as answer:
        for piece in _pieces(answer):
            content += piece
            if len(content) > most:
                raise BaleineError(f"{url}: this is larger than {most} bytes", "Is that the file that was meant?")
    return content


def large(url: str, path: str, size: int, digest: str, way: Way) -> None:
    """Bring a file to ``path``: what an earlier run got of it is kept, and only what is missing is asked for.

    No ETag is needed for that: the digest says at the end whether all of it is of one file. A part is kept when the
    connection breaks; it is removed when there is no room, or the file is not the one that was promised.

    :param size: in bytes; :param digest: the SHA-256 in hexadecimal digits.
    :raises Unasked: when the connection breaks for good.
    """
    hint = f"Make room on the filesystem of {os.path.dirname(path)}"
    try:
        with explained(f"{url}: writing {path}", hint):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            got = _fetch(url, stream, size, way, hint)
        if got != digest:
            raise BaleineError(f"{url}: this is not the file that its description promises", "Publish the image again")
    except Unasked as error:
        come = f"{show_size(os.path.getsize(path))} of {show_size(size)} have come and are kept"
        raise Unasked(f"{error.message} ({come})", "Run it again: it goes on from there") from None
    except BaleineError:
        discard(path)
        raise


def _fetch(url: str, stream: Any, size: int, way: Way, hint: str) -> str:
    """Fill a file that holds some of it; returns its SHA-256."""
    import hashlib

    content, have = hashlib.sha256(), 0
    for piece in iter(lambda: stream.read(PIECE), b""):
        content.update(piece)
        have += len(piece)
    furthest = -1
    for _attempt in range(ATTEMPTS):
        if have >= size or have <= furthest:
            break
        furthest = have
        room = os.fstatvfs(stream.fileno())
        if room.f_bavail * room.f_frsize < size - have:
            raise BaleineError(f"{url}: there is no room for its {show_size(size)}", hint)
        try:
            with _answer(url, way, have) as answer:
                if answer.status != 206:  # it gives all of it
                    content, have = hashlib.sha256(), 0
                elif not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                    raise BaleineError(f"{url}: the server gives another part of it than was asked for")
                with explained(f"{url}: writing it", hint):
                    stream.truncate(have)
                    stream.seek(have)
                for piece in _pieces(answer):
                    have += len(piece)
                    if have > size:
                        raise BaleineError(f"{url}: this is larger than the {size} bytes that its description promises")
                    content.update(piece)
                    with explained(f"{url}: writing it", hint):
                        stream.write(piece)
                        stream.flush()
                    progress(have, size)
        except Unasked:
            if have <= furthest:
                raise
    if have < size:
        raise Unasked(f"{url}: the connection broke")
    return content.hexdigest()


def _pieces(answer: Any) -> Iterator[bytes]:
    began, come = time.monotonic(), 0
    for piece in iter(lambda: answer.read1(PIECE), b""):
        come += len(piece)
        if time.monotonic() - began > TIMEOUT:
            if come < SLOWEST:
                raise TimeoutError(0, "the server is too slow")
            began, come = time.monotonic(), 0
        yield piece


@contextlib.contextmanager
def _answer(url: str, way: Way, start: int = 0) -> Iterator[Any]:
    """Hold the answer of a server, from byte ``start`` of a file on.

    :raises Unasked: for whatever goes wrong on the way, also later while it is read.
    """
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if not newurl.startswith("https://"):
                raise Unasked(f"{url}: the server leads to {_plain(newurl)}", "Only HTTPS is followed")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    with explained(f"certificates {way.authority or 'of this host'}", "Name a PEM file of this host"):
        try:
            secure = ssl.create_default_context(cafile=way.authority or None)
        except ssl.SSLError as error:
            raise BaleineError(f"certificates {way.authority}: {error.reason}", "Name a PEM file") from None
    handlers: list[Any] = [urllib.request.HTTPSHandler(context=secure), Redirects()]
    if way.proxy:
        handlers.append(urllib.request.ProxyHandler({"https": way.proxy}))
    headers = {"User-Agent": "baleine", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        raise Unasked(f"{url}: the server says {error.code} {_plain(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        said = getattr(reason, "strerror", None) or reason
        raise Unasked(f"{url}: {_plain(said)}", "See that this host reaches the server") from None


def _plain(text: object) -> str:
    """What a server may have written, as a terminal can show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:200])
