# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Whether a password is the one behind a hash, by the C library of the hypervisor, which has whatever PHP hashes with."""

from __future__ import annotations

import hmac

from .._core.errors import ObserveError

_LIBRARY = "libcrypt.so.1"


def opens(password: str, hashed: str) -> bool:
    """Whether *password* is that of *hashed* (crypt(3), such as ``$2y$`` and ``$6$``). No password is that of an empty hash.

    :raises ObserveError: where the library is missing.
    """
    import ctypes  # what has no password to judge does not load it

    if not hashed.startswith("$"):
        return False
    try:
        crypt = ctypes.CDLL(_LIBRARY).crypt
    except OSError as exc:
        raise ObserveError(f"{_LIBRARY}: it is in Debian's package libcrypt1, and cannot be loaded: {exc}") from exc
    crypt.restype, crypt.argtypes = ctypes.c_char_p, [ctypes.c_char_p, ctypes.c_char_p]
    made = crypt(password.encode(), hashed.encode()) or b""
    return hmac.compare_digest(made, hashed.encode())
