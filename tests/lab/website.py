# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server over HTTPS in a lab host: plain files, ranges, and whatever can go wrong on the way.

Run by itself inside: website.py FOLDER CERTIFICATE KEY PORT. FOLDER/.control (JSON) says how it misbehaves, and into which
file a line goes for each answer: path, status, first byte asked for, bytes given; beside it, in .begun, one when it begins.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host import LabHost

PORT = 8443
#: Where the certificate of the one who vouches for the server lies in the lab host.
AUTHORITY = "/srv/authority.pem"
CERTIFICATES = """
cd /srv
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=authority -keyout ca.key \
    -out authority.pem -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout site.key -out site.csr \
    2>/dev/null
printf 'subjectAltName=DNS:localhost\\nauthorityKeyIdentifier=keyid\\nbasicConstraints=CA:FALSE\\n' > site.ext
openssl x509 -req -in site.csr -CA authority.pem -CAkey ca.key -CAcreateserial -days 30 -extfile site.ext -out site.pem \
    2>/dev/null
"""


class Website:
    """A running web server of a lab host."""

    def __init__(self, host: LabHost, folder: str = "/srv/site") -> None:
        self.host, self.folder = host, folder
        self.url = f"https://localhost:{PORT}"
        host.sh(f"mkdir -p {folder}; {CERTIFICATES}")
        host.push(Path(__file__), "/srv/website.py")
        words = ["/usr/bin/python3", "/srv/website.py", folder, "/srv/site.pem", "/srv/site.key", str(PORT)]
        self._turn = 0
        self.misbehave()
        self._process = host.serve(PORT, words)

    def misbehave(self, **how: Any) -> None:
        """Say what goes wrong from now on, in place of what did: see Handler; nothing said is nothing wrong."""
        self._turn += 1  # an answer that nobody waits for any more may end much later
        for name in (self._log, f"{self._log}.begun"):
            self.host.write(name, "")
        self.host.write(f"{self.folder}/.control.new", json.dumps({**how, "log": self._log}))
        self.host.run(["mv", f"{self.folder}/.control.new", f"{self.folder}/.control"])

    @property
    def _log(self) -> str:
        return f"{self.folder}/.log{self._turn}"

    def _lines(self, path: str) -> list[list[str]]:
        return [line.split() for line in self.host.read(path).splitlines()]

    def log(self) -> list[tuple[str, int, int, int]]:
        """What was answered since, to its end: path, status, first byte, bytes given."""
        from . import run  # not where this file runs by itself

        run.wait_for(lambda: len(self._lines(self._log)) == len(self._lines(f"{self._log}.begun")))
        lines = self._lines(self._log)
        return [(path, int(status), int(first), int(given)) for path, status, first, given in lines]

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from FOLDER, as .control says.

    cut: so many bytes of a packed file, then the connection ends, `cuts` times; or, with `hangs`, nothing more comes for
    a minute. no_ranges: always all of it.
    wrong_range: other bytes than those asked for. endless: zeros that never end, for this path. redirect: path -> URL.
    status: path -> status.
    """

    protocol_version = "HTTP/1.1"
    folder = ""

    def log_message(self, format: str, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        self.control = json.loads(Path(self.folder, ".control").read_text())
        self.status, self.start, self.given = 200, 0, 0
        with open(f"{self.control['log']}.begun", "a") as log:
            log.write(f"{self.path}\n")
        try:
            if self.path in self.control.get("status", {}):
                self.fail(self.control["status"][self.path])
            elif self.path in self.control.get("redirect", {}):
                self.redirect(self.control["redirect"][self.path])
            elif self.path == self.control.get("endless"):
                self.give_zeros()
            else:
                self.give_file(Path(self.folder, self.path.lstrip("/")))
        except OSError:
            self.close_connection = True
        finally:
            with open(self.control["log"], "a") as log:
                log.write(f"{self.path} {self.status} {self.start} {self.given}\n")

    def fail(self, status: int) -> None:
        self.status = status
        self.send_error(status)

    def redirect(self, target: str) -> None:
        self.status = 302
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_zeros(self) -> None:
        """Answer without end, until the client closes the connection."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))
            self.given += 1 << 16

    def give_file(self, file: Path) -> None:
        """Answer with a file, or with the part of it that is asked for."""
        if not file.is_file() or file.name.startswith("."):
            self.fail(404)
            return
        content = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not self.control.get("no_ranges"):
            self.status, self.start = 206, int(wanted[1])
            if self.start >= len(content):
                self.fail(416)
                return
        self.send_response(self.status)
        if self.status == 206:
            shown = self.start - 1 if self.control.get("wrong_range") else self.start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - self.start))
        self.end_headers()
        self.give_body(content[self.start :])

    def give_body(self, body: bytes) -> None:
        """Send what a file holds; of an archive, less than announced if the control says so."""
        archive = self.path.endswith(".zst")
        if self.control.get("hangs") and archive:
            self.wfile.write(body[: self.control["cut"]])
            time.sleep(60)
            raise OSError
        if self.control.get("cuts") and archive:
            body = body[: self.control["cut"]]
            fewer = {**self.control, "cuts": self.control["cuts"] - 1}
            Path(self.folder, ".control").write_text(json.dumps(fewer))
            self.close_connection = True
        self.wfile.write(body)
        self.given = len(body)


def serve(folder: str, certificate: str, key: str, port: int) -> None:
    """Serve until killed."""
    Handler.folder = folder
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    os.chdir("/")
    serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
