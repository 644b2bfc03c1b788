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
        control_file = Path(self.folder, ".control")
        control = json.loads(control_file.read_text())
        path = self.path
        status, start, given = 200, 0, 0
        with open(f"{control['log']}.begun", "a") as log:
            log.write(f"{path}\n")
        try:
            if path in control.get("status", {}):
                status = control["status"][path]
                self.send_error(status)
                return
            if path in control.get("redirect", {}):
                status = 302
                self.send_response(302)
                self.send_header("Location", control["redirect"][path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path == control.get("endless"):
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                while True:
                    self.wfile.write(bytes(1 << 16))
                    given += 1 << 16
            file = Path(self.folder, path.lstrip("/"))
            if not file.is_file() or file.name.startswith("."):
                status = 404
                self.send_error(404)
                return
            content = file.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and not control.get("no_ranges"):
                status, start = 206, int(wanted[1])
                if start >= len(content):
                    status = 416
                    self.send_error(416)
                    return
            self.send_response(status)
            shown = start - 1 if control.get("wrong_range") else start
            if status == 206:
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if control.get("hangs") and path.endswith(".zst"):
                self.wfile.write(body[: control["cut"]])
                time.sleep(60)
                raise OSError
            if control.get("cuts") and path.endswith(".zst"):
                body = body[: control["cut"]]
                control_file.write_text(json.dumps({**control, "cuts": control["cuts"] - 1}))
                self.close_connection = True
            self.wfile.write(body)
            given = len(body)
        except OSError:
            self.close_connection = True
        finally:
            with open(control["log"], "a") as log:
                log.write(f"{path} {status} {start} {given}\n")


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
