# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Secrets that cannot be read back are compared by a keyed digest."""

from __future__ import annotations

import hashlib
import hmac
import os

from . import atomic, paths


def digest(value: str) -> str:
    """A digest of *value* keyed with a secret of this host: says whether it changed, not what it was."""
    return hmac.new(_host_key(), value.encode(), hashlib.sha256).hexdigest()


def _host_key() -> bytes:
    path = os.path.join(paths.STATE, "digest.key")
    text = atomic.read_text(path)
    if text is None:
        text = os.urandom(32).hex()
        atomic.write_file(path, text, mode=0o600)
    return bytes.fromhex(text)
