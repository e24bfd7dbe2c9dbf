# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The API of OPNsense: JSON over TLS, with a key and its secret. Its certificate is its own, and is known by its fingerprint."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import time
import typing as t

from .._appliance.errors import Stranger
from .._core.errors import ApplyError, ObserveError, WaitTimeout

_TIMEOUT_SECONDS = 60.0
_EVERY_SECONDS = 2.0
# While it starts, its web server answers before what is behind it does.
_BUSY = (502, 503, 504)


class Api:
    """One appliance at *address*. *fingerprint* is that of its certificate, ``None`` at first contact; *authority* one or more certificates (PEM)."""

    def __init__(
        self, address: str, port: int, *, key: str, secret: str, fingerprint: str | None, authority: str | None
    ) -> None:
        self._where = (address, port)
        token = base64.b64encode(f"{key}:{secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        self._context = ssl.create_default_context(cadata=authority) if authority else ssl.create_default_context()
        self._context.check_hostname = False
        if not authority:
            self._context.verify_mode = ssl.CERT_NONE
        self._has_authority = bool(authority)
        self.fingerprint = fingerprint
        self.timeout = _TIMEOUT_SECONDS

    @property
    def address(self) -> str:
        return self._where[0]

    def get(self, path: str) -> t.Any:
        return self._asked("GET", path, None)

    def post(self, path: str, body: t.Mapping[str, t.Any] | None = None) -> t.Any:
        return self._asked("POST", path, body or {})

    def has(self, path: str) -> t.Any:
        """The answer to a request that an older or a newer series does not know; ``None`` there."""
        status, content = self._call("POST", path, {})
        return _parsed(content) if status == 200 else None

    def file(self, path: str) -> bytes:
        """What is no JSON, such as its configuration; empty where it has none."""
        return self._content("GET", path, None)

    def rows(self, path: str) -> list[dict[str, t.Any]]:
        """All items that a search finds."""
        told = self.post(path, {"current": 1, "rowCount": -1, "searchPhrase": ""})
        if not isinstance(told, dict) or not isinstance(told.get("rows"), list):
            raise ObserveError(f"{path}: it answers with something else than rows")
        return list(told["rows"])

    def wait(self, seconds: float) -> t.Any:
        """What it says of its own health, once it answers.

        :raises WaitTimeout: after *seconds*.
        :raises Stranger: where somebody else answers, or it does not let us in.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.get("core/system/status")
            except Stranger:
                raise
            except ObserveError as exc:
                if time.monotonic() >= deadline:
                    raise WaitTimeout(
                        f"waited {seconds:g} s for OPNsense at {self._where[0]} to answer: {exc}"
                    ) from exc
            time.sleep(_EVERY_SECONDS)

    def _asked(self, method: str, path: str, body: t.Mapping[str, t.Any] | None) -> t.Any:
        return _parsed(self._content(method, path, body))

    def _content(self, method: str, path: str, body: t.Mapping[str, t.Any] | None) -> bytes:
        status, content = self._call(method, path, body)
        if status in (401, 403):
            raise Stranger(
                f"OPNsense at {self._where[0]} does not let the key of the API in ({status}). Was another opnsense_secret in force when it was made?"
            )
        if status != 200:
            error = ObserveError if status in _BUSY or method == "GET" else ApplyError
            raise error(f"{method} /api/{path}: {status} {_words(_parsed(content))}")
        return content

    def _call(self, method: str, path: str, body: t.Mapping[str, t.Any] | None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(*self._where, timeout=self.timeout, context=self._context)
        try:
            connection.connect()
            self._look_at(connection.sock)
            headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/api/{path}", body=content, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ssl.SSLCertVerificationError as exc:
            raise Stranger(
                f"the certificate of OPNsense at {self._where[0]} is not of the authority in opnsense_ca: {exc}"
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise ObserveError(f"OPNsense at {self._where[0]} does not answer: {exc}") from exc
        finally:
            connection.close()

    def _look_at(self, sock: t.Any) -> None:
        """Refuse another certificate than that of before: the key of the API is for nobody else."""
        if self._has_authority:
            return
        seen = hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest()
        if self.fingerprint is None:
            self.fingerprint = seen
        elif self.fingerprint != seen:
            raise Stranger(
                f"OPNsense at {self._where[0]} has another certificate than before: its SHA-256 fingerprint is {seen}, and not {self.fingerprint}. "
                "Where it was renewed, say so with opnsense_fingerprint"
            )


def _parsed(content: bytes) -> t.Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()[:300]


def _words(told: t.Any) -> str:
    if isinstance(told, dict):
        return str(told.get("errorMessage") or told.get("message") or told)
    return str(told)
