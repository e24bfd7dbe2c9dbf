# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upstream on the loopback: a folder by HTTP or HTTPS with ranges, and with what goes wrong on the way when a test asks for it."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.server
import re
import ssl
import threading
import typing as t
import urllib.parse
from pathlib import Path


class Upstream:
    """A folder that is served. *requests* are the lines that came: ``GET /a.tar 5-``, with the beginning of what was asked for.

    *cuts*: the answers to so many GETs of files end in the middle, but of those *never_cut*. *redirects*: what a path leads to. *without*: what the
    server does not know (``HEAD``, ``Range``, ``ETag``, ``Content-Length``).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.cuts = 0
        self.never_cut: set[str] = set()
        self.redirects: dict[str, str] = {}
        self.without: set[str] = set()
        self.scheme = "http"
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    def put(self, name: str, content: bytes | str) -> str:
        """Publish *content*; the address of it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"{self.url}/{name}"

    def fetched(self, name: str) -> list[str]:
        """The GETs of *name*."""
        return [line for line in self.requests if line.split()[:2] == ["GET", f"/{name}"]]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def do_HEAD(self) -> None:
        if "HEAD" in self.upstream.without:
            self.send_error(405)
        else:
            self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Nobody reads it."""

    def _answer(self, *, has_body: bool) -> None:
        up = self.upstream
        # A proxy is asked for the whole address.
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        asked = self.headers.get("Range", "")
        up.requests.append(f"{self.command} {self.path} {asked.removeprefix('bytes=')}".strip())
        if path in up.redirects:
            self._head(302, {"Location": up.redirects[path], "Content-Length": "0"})
            return
        file = up.folder / path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        changed = email.utils.formatdate(file.stat().st_mtime, usegmt=True)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked) if "Range" not in up.without else None
        if match and self.headers.get("If-Range", tag) not in (tag, changed):
            match = None
        start = int(match[1]) if match else 0
        end = int(match[2]) + 1 if match and match[2] else len(content)
        headers = {"Last-Modified": changed, **({} if "ETag" in up.without else {"ETag": tag})}
        if start >= len(content) and match:
            self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        body = content[start:end]
        if match:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
        if "Content-Length" in up.without:
            self.close_connection = True
        else:
            headers["Content-Length"] = str(len(body))
        self._head(206 if match else 200, headers)
        if has_body:
            is_cut = up.cuts > 0 and len(body) > 1 and path not in up.never_cut
            up.cuts -= is_cut
            self.wfile.write(body[: len(body) // 2] if is_cut else body)
            self.close_connection = self.close_connection or is_cut

    def _head(self, status: int, headers: t.Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextlib.contextmanager
def serving(folder: Path, certificate: Path | None = None) -> t.Iterator[Upstream]:
    """Serve *folder*, with the *certificate* (and its key in the same file) by HTTPS."""
    upstream = Upstream(folder)
    handler = type("Handler", (_Handler,), {"upstream": upstream})
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients that leave are no news
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        upstream.scheme = "https"
    upstream.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
