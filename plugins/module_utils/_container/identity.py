# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""What tells a container from all others, taken out of the root of a clone before it comes to its place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import typing as t

from .._core import command
from .._guest.identity import DBUS_MACHINE_ID, LEASES, MACHINE_ID, SECRETS
from . import guest_files
from .inside import WritableTree

_SSH = "/etc/ssh"
_HOST_KEY = re.compile(r"ssh_host_(rsa|ecdsa|ed25519)_key")
_CLOUD = "/var/lib/cloud"


def reset(tree: WritableTree, hostname: str) -> list[str]:
    """Take what identifies its origin out of a cloned root. Returns what could not be made anew, as sentences.

    The names and addresses that are declared are written by others.
    """
    if tree.has(MACHINE_ID):
        # Empty, not missing: systemd then makes one and goes on as in a machine that was set up.
        tree.write(MACHINE_ID, "", mode=0o444)
    # D-Bus makes its own of that. A link to it stays.
    if tree.read(DBUS_MACHINE_ID) is not None:
        tree.remove(DBUS_MACHINE_ID)
    for path in SECRETS:
        tree.remove(path)
    _remove_cards(tree)
    for name in tree.names_in(LEASES):
        tree.remove(f"{LEASES}/{name}")
    for name in tree.names_in(_CLOUD):
        # As cloud-init clean does: it is a new instance, and what it is told lies in the seed.
        if name != "seed":
            tree.remove_all(f"{_CLOUD}/{name}")
    return _renew_host_keys(tree, hostname)


def _remove_cards(tree: WritableTree) -> None:
    """The files that were written for the cards of its origin: a clone has others."""
    for path in (guest_files.networkd_path("*"), guest_files.ifupdown_path("*")):
        folder, name = os.path.split(path)
        beginning, dummy, end = name.partition("*")
        for other in tree.names_in(folder):
            if other.startswith(beginning) and other.endswith(end):
                tree.remove(f"{folder}/{other}")


def _renew_host_keys(tree: WritableTree, hostname: str) -> list[str]:
    """New host keys of the kinds that it has. Debian makes none at the start of the server: it would not start without."""
    there = [name for name in tree.names_in(_SSH) if name.startswith("ssh_host_")]
    for name in there:
        tree.remove(f"{_SSH}/{name}")
    kinds = [(name, match[1]) for name in there if (match := _HOST_KEY.fullmatch(name))]
    if kinds and shutil.which("ssh-keygen") is None:
        return ["its ssh server has no host keys, as this host has no ssh-keygen. Make them inside: ssh-keygen -A"]
    for name, kind in kinds:
        private, public = _make_key(kind, hostname)
        tree.write(f"{_SSH}/{name}", private, mode=0o600)
        tree.write(f"{_SSH}/{name}.pub", public)
    return []


def _make_key(kind: str, hostname: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="homelab-hybrid-") as folder:
        path = os.path.join(folder, "key")
        command.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{hostname}", "-f", path])
        texts = []
        for place in (path, f"{path}.pub"):
            with open(place, encoding="ascii") as stream:
                texts.append(stream.read())
    return t.cast("tuple[str, str]", tuple(texts))
