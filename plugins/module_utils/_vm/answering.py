# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether something in a guest answers."""

from __future__ import annotations

import socket
import typing as t

from .._core import libraries

_SSH_PORT = 22
_CONNECT_SECONDS = 2.0


def answers(domain: t.Any) -> bool:
    """Whether the guest agent answers; a command that it refuses is an answer too."""
    library = libraries.libvirt()
    try:
        domain.hostname(library.VIR_DOMAIN_GET_HOSTNAME_AGENT)
    except library.libvirtError as exc:
        # What libvirt makes of an error that the agent itself sent.
        return bool(exc.get_error_code() == library.VIR_ERR_INTERNAL_ERROR)
    return True


def greets(address: str) -> bool:
    """Whether something at *address* speaks ssh."""
    try:
        with socket.create_connection((address, _SSH_PORT), timeout=_CONNECT_SECONDS) as connection:
            return connection.recv(4).startswith(b"SSH-")
    except OSError:
        return False


def listens(address: str, port: int) -> bool:
    """Whether something at *address* takes a connection."""
    try:
        socket.create_connection((address, port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
