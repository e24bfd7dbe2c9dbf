# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC over a WebSocket, as a server that others wrote understands it."""

from __future__ import annotations

import ssl
import subprocess
import typing as t
from pathlib import Path

import pytest
from unit.json_rpc import Rpc, serving

from ansible_collections.homelab.hybrid.plugins.module_utils._core import websocket


class Echo(Rpc):
    async def answer(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        if method == "fail":
            raise self.error("no")
        if method == "wait":
            await session["socket"].ping(b"?")
            await self.tell(session, "heard", [1])
        if method == "leave":
            await session["socket"].close(code=1008, message=b"begone")
        return {"is_secure": session["secure"], "params": params}


def plain(port: int, **keys: t.Any) -> websocket.Connection:
    return websocket.Connection("127.0.0.1", port, "/ws", **keys)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300000])
def test_a_message_of_any_size_comes_back_as_it_went(size: int) -> None:
    with serving(Echo()) as port, plain(port) as connection:
        assert connection.call("echo", "ä" * size)["params"] == ["ä" * size]


def test_what_is_told_unasked_is_heard_and_an_error_is_one() -> None:
    heard: list[t.Any] = []
    with serving(Echo()) as port, plain(port, hears=lambda *told: heard.append(told)) as connection:
        connection.call("wait")
        with pytest.raises(websocket.Refused, match="no") as refused:
            connection.call("fail")
        assert connection.call("echo")["is_secure"] is False
    assert heard == [("heard", [1])] and refused.value.code == -32602 and refused.value.data == {"errno": "EFAULT"}


def test_one_that_leaves_says_why() -> None:
    with serving(Echo()) as port, plain(port) as connection, pytest.raises(OSError, match="begone"):
        connection.call("leave")


def test_what_is_no_websocket_is_told() -> None:
    with serving(Echo(), "/elsewhere") as port, pytest.raises(OSError, match="404"):
        plain(port)


def test_it_does_not_wait_for_ever() -> None:
    class Silent(Rpc):
        async def answer(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
            await session["socket"].receive()

    with serving(Silent()) as port, plain(port, goes_on=lambda: False) as connection, pytest.raises(TimeoutError):
        connection.call("echo")


def test_a_certificate_is_known_by_its_digest(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=nas", "-days", "1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    both.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "cert.pem").read_text())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    echo = Echo()
    with serving(echo, context=context) as port:
        digest = websocket.digest_of("127.0.0.1", port)
        shown = subprocess.run(
            ("openssl", "x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256"),
            cwd=tmp_path, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert shown.strip().partition("=")[2].replace(":", "").lower() == digest
        with plain(port, certificate=digest) as connection:
            assert connection.call("echo")["is_secure"] is True
        with pytest.raises(websocket.OtherCertificate, match="is another one"):
            plain(port, certificate="0" * 64)
    assert [method for method, dummy in echo.calls] == ["echo"]
