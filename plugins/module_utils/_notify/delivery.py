# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Carries a notice to a target. No secret of it is on a command line, in what is said of a failure, or sent elsewhere by a redirection."""

from __future__ import annotations

import email.message
import email.utils
import http.client
import json
import platform
import smtplib
import ssl
import typing as t
import urllib.error
import urllib.request

from .._core import command
from .._core.errors import HybridError
from .spec import FAILURE, MAIL, NTFY, PORTS, STARTTLS, TLS, headers_of
from .telling import Notice, subject_of

SENDMAIL = "/usr/sbin/sendmail"
_SECONDS = 60.0
Values = t.Mapping[str, t.Any]


class DeliveryError(HybridError):
    """A target did not take a notice."""


def deliver(values: Values, notice: Notice, host: str) -> None:
    """Tell the target with these *values* of its options.

    :raises DeliveryError: which says why, and nothing that is secret.
    """
    try:
        if values["type"] == MAIL:
            _mail(values, notice, host)
        elif values["type"] == NTFY:
            _post(_root_of(values["url"]), _ntfy(values, notice, host), _bearer(values.get("token")))
        else:
            _post(values["url"], _told(notice, host), headers_of(values.get("headers") or ""))
    except urllib.error.HTTPError as exc:
        raise DeliveryError(f"the server answered {exc.code} {exc.reason}") from None
    except urllib.error.URLError as exc:
        raise DeliveryError(f"the server cannot be reached: {exc.reason}") from None
    except smtplib.SMTPAuthenticationError as exc:
        raise DeliveryError(f"the mail server refuses the name and the password ({exc.smtp_code})") from None
    except (smtplib.SMTPException, http.client.HTTPException, command.CommandError) as exc:
        raise DeliveryError(f"it was not taken: {exc}") from None
    except (OSError, ValueError) as exc:
        # An address that Python cannot read is in its own words.
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise DeliveryError(f"the server cannot be reached: {why}") from None


def _mail(values: Values, notice: Notice, host: str) -> None:
    message = email.message.EmailMessage()
    message["Subject"] = subject_of(notice, host)
    message["From"] = values.get("from") or f"root@{platform.node()}"
    message["To"] = ", ".join(values["to"])
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain=platform.node())
    # Nobody shall answer it by a note of absence (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(notice.lines) + "\n")
    if values.get("server") is None:
        command.run([SENDMAIL, "-oi", "-t"], input=message.as_bytes(), timeout=_SECONDS)
        return
    security = values.get("security") or STARTTLS
    port, context = values.get("port") or PORTS[security], ssl.create_default_context()
    if security == TLS:
        server: smtplib.SMTP = smtplib.SMTP_SSL(values["server"], port, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(values["server"], port, timeout=_SECONDS)
    with server:
        if security == STARTTLS:
            server.starttls(context=context)
        if values.get("username"):
            server.login(values["username"], values["password"])
        server.send_message(message)


def _ntfy(values: Values, notice: Notice, host: str) -> dict[str, t.Any]:
    # Published to the root of the server as JSON: headers take no letters beyond ASCII.
    is_grave = notice.word == FAILURE
    return {
        "topic": values["topic"],
        "title": subject_of(notice, host),
        "message": "\n".join(notice.lines),
        "priority": 4 if is_grave else 3,
        "tags": ["warning" if is_grave else "white_check_mark"],
    }


def _told(notice: Notice, host: str) -> dict[str, t.Any]:
    return {
        "host": host,
        "status": notice.word,
        "subject": subject_of(notice, host),
        "text": "\n".join(notice.lines),
        "wrong": [{"key": its.key, "text": its.text} for its in notice.wrong],
        "still_wrong": [{"key": its.key, "text": its.text} for its in notice.before],
        "over": list(notice.over),
        "went_well": list(notice.well),
    }


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _root_of(url: str) -> str:
    return url.rstrip("/") + "/"


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirection would be asked without what is told, and with the secret."""

    def redirect_request(self, *arguments: t.Any, **more: t.Any) -> None:
        return None


def _post(url: str, body: dict[str, t.Any], headers: t.Mapping[str, str]) -> None:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method="POST")
    with urllib.request.build_opener(_NoRedirection).open(request, timeout=_SECONDS):
        pass
