# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""A client of JSON-RPC 2.0 over a WebSocket (RFC 6455), of what every Python has: a hypervisor has no library for it.

By TLS it takes one certificate, which the caller knows by its digest: what lies in a lab has none that an authority signed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
import typing as t

if t.TYPE_CHECKING:
    import ssl

_CONNECT_SECONDS = 5.0
# So long nothing is read at a time: in between the caller is asked whether it goes on.
_BREATH_SECONDS = 1.0
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
# What an answer may have at most: the list of the disks of a large chassis has some 100 KiB.
_MOST_BYTES = 64 * 2**20


class Refused(Exception):
    """The other side answered with an error: *message*, and *code* as it numbers it; *data* is what it says beside it."""

    def __init__(self, message: str, code: int = 0, data: t.Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data


class OtherCertificate(Exception):
    """The other side has another certificate than the known one."""


def digest_of(address: str, port: int) -> str:
    """The SHA-256 of the certificate that *address* has now.

    :raises OSError:
    """
    with _tls(socket.create_connection((address, port), _CONNECT_SECONDS), address) as connection:
        return _digest(connection)


def _tls(connection: socket.socket, address: str) -> ssl.SSLSocket:
    import ssl  # costly, and most modules speak with nobody

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Its digest is compared in the place of its name and of who signed it.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=address)


def _digest(connection: ssl.SSLSocket) -> str:
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


class Connection:
    """One connection to *path* at *address* and *port*, by TLS where the *certificate* is given by its SHA-256.

    *goes_on* is asked while nothing comes; once it is false, that is an error. *hears* is called with the name and the parameters of what
    the other side tells unasked.

    :raises OSError: where there is none; ``Connection`` is then as it was.
    :raises OtherCertificate: before anything is sent.
    """

    def __init__(
        self,
        address: str,
        port: int,
        path: str,
        *,
        certificate: str | None = None,
        goes_on: t.Callable[[], bool] = lambda: True,
        hears: t.Callable[[str, t.Any], None] = lambda method, params: None,
    ) -> None:
        self._goes_on, self._hears = goes_on, hears
        self._number = 0
        self._read = b""
        self._socket = socket.create_connection((address, port), _CONNECT_SECONDS)
        try:
            if certificate is not None:
                self._socket = _tls(self._socket, address)
                found = _digest(self._socket)
                if found != certificate:
                    raise OtherCertificate(f"the certificate of {address} is another one: {found}, not {certificate}")
            self._open(f"[{address}]" if ":" in address else address, port, path)
            self._socket.settimeout(_BREATH_SECONDS)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *dummy: object) -> None:
        self.close()

    def close(self) -> None:
        # Who is gone already hears no farewell.
        with contextlib.suppress(OSError):
            self._send(_CLOSE, b"")
        self._socket.close()

    def call(self, method: str, *params: t.Any) -> t.Any:
        """The result of *method*.

        :raises Refused: where the other side answers with an error.
        :raises OSError: where it does not answer.
        """
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": list(params)}
        self._send(_TEXT, json.dumps(message).encode())
        while True:
            told = self._message()
            if not isinstance(told, dict):
                continue
            if "method" in told:
                self._hears(str(told["method"]), told.get("params"))
            elif told.get("id") == self._number or ("error" in told and told.get("id") is None):
                if told.get("error"):
                    error = told["error"]
                    raise Refused(str(error.get("message")), int(error.get("code") or 0), error.get("data"))
                return told.get("result")

    def _open(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "",
            "",
        )
        self._socket.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._read:
            self._more(65536)
        head, dummy, self._read = self._read.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101 " not in f"{status} ":
            raise ConnectionError(f"{host}:{port}{path} is no WebSocket: {status[:80]}")

    def _send(self, kind: int, content: bytes) -> None:
        size, mask = len(content), os.urandom(4)
        if size < 126:
            head = bytes([0x80 | kind, 0x80 | size])
        elif size < 2**16:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))
        self._socket.sendall(head + mask + masked)

    def _message(self) -> t.Any:
        content = b""
        while True:
            first, second = self._exactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self._exactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._exactly(8))
            if len(content) + size > _MOST_BYTES:
                raise ConnectionError(f"an answer of more than {_MOST_BYTES} bytes")
            piece = self._exactly(size)
            kind = first & 0x0F
            if kind == _CLOSE:
                raise ConnectionError(
                    f"the other side ended: {piece[2:].decode(errors='replace') or 'without a reason'}"
                )
            if kind == _PING:
                self._send(_PONG, piece)
            if kind > _TEXT:
                continue
            content += piece
            if first & 0x80:
                return json.loads(content)

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more(size - len(self._read))
        found, self._read = self._read[:size], self._read[size:]
        return found

    def _more(self, size: int) -> None:
        while True:
            try:
                piece = self._socket.recv(max(size, 4096))
            except TimeoutError:
                if not self._goes_on():
                    raise
                continue
            if not piece:
                raise ConnectionError("the connection ended")
            self._read += piece
            return
