# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of JSON-RPC over a WebSocket of aiohttp, for what speaks with one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import typing as t

from aiohttp import web


class RpcError(Exception):
    """What is answered as an error."""


class Rpc:
    """What answers. *calls* are those that came, with whether by TLS."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[t.Any]]] = []

    def error(self, text: str) -> RpcError:
        return RpcError(text)

    async def answer(self, session: dict[str, t.Any], method: str, params: list[t.Any]) -> t.Any:
        raise NotImplementedError

    async def tell(self, session: dict[str, t.Any], method: str, params: t.Any) -> None:
        await session["socket"].send_json({"jsonrpc": "2.0", "method": method, "params": params})

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session: dict[str, t.Any] = {"socket": socket, "secure": request.secure}
        async for message in socket:
            asked = json.loads(message.data)
            self.calls.append((asked["method"], asked["params"]))
            answer: dict[str, t.Any] = {"jsonrpc": "2.0", "id": asked["id"]}
            try:
                answer["result"] = await self.answer(session, asked["method"], asked["params"])
            except RpcError as exc:
                answer["error"] = {"code": -32602, "message": str(exc), "data": {"errno": "EFAULT"}}
            if not socket.closed:
                await socket.send_json(answer)
        return socket


@contextlib.contextmanager
def serving(rpc: Rpc, path: str = "/ws", context: ssl.SSLContext | None = None) -> t.Iterator[int]:
    """The port at which *rpc* answers."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get(path, rpc.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield runner.addresses[0][1]
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
