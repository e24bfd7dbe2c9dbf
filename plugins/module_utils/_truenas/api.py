# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The API of TrueNAS: one connection by TLS, one login, and jobs that go on behind the answer.

20 logins in 60 seconds close it for 10 minutes, and a key that comes without TLS is revoked (README of truenas/api_client).
"""

from __future__ import annotations

import time
import typing as t

from .._appliance.errors import Stranger
from .._core import websocket
from .._core.errors import ApplyError, ObserveError, WaitTimeout

_PATH = "/api/current"
_EVERY_SECONDS = 2.0
# The API versions of the whole of its life answer within it; what takes longer is a job.
_ANSWER_SECONDS = 180.0
_JOB_SECONDS = 1800.0
_UNKNOWN_METHOD = -32601
_CLOSED = "Rate limit exceeded"


class Api:
    """One connection to a TrueNAS at *address*; *certificate* is the SHA-256 of the one that it has, ``None`` at first contact."""

    def __init__(self, address: str, port: int, certificate: str | None, wait_seconds: float) -> None:
        self._address = address
        self.secrets: list[str] = []
        deadline = time.monotonic() + wait_seconds
        self._asked_until = 0.0
        while True:
            try:
                self.certificate = certificate or websocket.digest_of(address, port)
                self._connection = websocket.Connection(
                    address, port, _PATH, certificate=self.certificate, goes_on=self._is_in_time
                )
                if self._ask("core.ping") == "pong":
                    return
            except websocket.OtherCertificate as exc:
                raise Stranger(
                    f"{exc}. Nothing was said to it. Where that of TrueNAS was renewed, say so with truenas_certificate"
                ) from exc
            except (OSError, websocket.Refused) as exc:
                if time.monotonic() >= deadline:
                    raise WaitTimeout(f"waited {wait_seconds:g} s for TrueNAS at {address} to answer: {exc}") from exc
            time.sleep(_EVERY_SECONDS)

    def _is_in_time(self) -> bool:
        return time.monotonic() < self._asked_until

    def close(self) -> None:
        self._connection.close()

    def log_in(self, mechanism: str, username: str, **secret: str) -> str:
        """How it answers to a login: ``SUCCESS``, or why not."""
        self.secrets += secret.values()
        try:
            told = self.call("auth.login_ex", {"mechanism": mechanism, "username": username, **secret})
        except ApplyError as exc:
            if _CLOSED in exc.message:
                raise ApplyError(
                    f"{exc.message}. It lets nobody in for a while who logs in often; run again in 10 minutes"
                ) from exc
            raise
        return str(told.get("response_type") if isinstance(told, dict) else told)

    def wait_until_ready(self, wait_seconds: float) -> None:
        """Until it has started as a whole.

        :raises WaitTimeout:
        """
        deadline = time.monotonic() + wait_seconds
        while not self.call("system.ready"):
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"waited {wait_seconds:g} s for TrueNAS at {self._address} to be ready")
            time.sleep(_EVERY_SECONDS)

    def call(self, method: str, *params: t.Any) -> t.Any:
        """The result of *method*.

        :raises ApplyError: with its words.
        """
        try:
            return self._ask(method, *params)
        except websocket.Refused as exc:
            raise ApplyError(f"{method}: {self._without_secrets(_reason(exc))}") from exc
        except OSError as exc:
            raise ObserveError(f"{method}: TrueNAS at {self._address} does not answer any more: {exc}") from exc

    def has(self, method: str, *params: t.Any) -> t.Any:
        """The result of a method that not every version has; ``None`` where there is none."""
        try:
            return self._ask(method, *params)
        except websocket.Refused as exc:
            if exc.code == _UNKNOWN_METHOD:
                return None
            raise ApplyError(f"{method}: {self._without_secrets(_reason(exc))}") from exc
        except OSError as exc:
            raise ObserveError(f"{method}: TrueNAS at {self._address} does not answer any more: {exc}") from exc

    def job(self, method: str, *params: t.Any, seconds: float = _JOB_SECONDS) -> t.Any:
        """The result of the job that *method* begins.

        :raises ApplyError: with its words, when it fails.
        """
        return self.end_of(method, self.call(method, *params), seconds)

    def end_of(self, method: str, number: t.Any, seconds: float = _JOB_SECONDS) -> t.Any:
        """The result of the job *number*."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.call("core.get_jobs", [["id", "=", number]])
            job = found[0] if found else {}
            if job.get("state") == "SUCCESS":
                return job.get("result")
            if job.get("state") in ("FAILED", "ABORTED"):
                raise ApplyError(f"{method}: {self._without_secrets(str(job.get('error') or job['state']).strip())}")
            time.sleep(_EVERY_SECONDS / 4)
        raise WaitTimeout(f"waited {seconds:g} s for {method} of TrueNAS at {self._address}. It goes on")

    def _ask(self, method: str, *params: t.Any) -> t.Any:
        self._asked_until = time.monotonic() + _ANSWER_SECONDS
        return self._connection.call(method, *params)

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "(secret)") if secret else text
        return text


def _reason(error: websocket.Refused) -> str:
    """What it says is wrong: that of a field of a call has more to it than its first line."""
    data = error.data if isinstance(error.data, dict) else {}
    extra = [
        f"{item[0]}: {item[1]}" for item in data.get("extra") or () if isinstance(item, (list, tuple)) and len(item) > 1
    ]
    return "; ".join(extra) or str(data.get("reason") or error.message).strip()
