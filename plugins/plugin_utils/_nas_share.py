# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the role nas_share asks that templates cannot say: what is wrong with what is declared, and whose password Samba has otherwise."""

from __future__ import annotations

import collections
import re
import struct
import typing as t

Items = t.Sequence[t.Mapping[str, t.Any]]

_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,30}")
_SHARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.$-]{0,79}")
# What smb.conf(5) means by these is no share.
_SECTIONS = ("global", "homes", "printers", "ipc$")
# The role's own account, and who must not be reached with a password of Samba.
_TAKEN = ("homelab-check", "root", "nobody")
_MASK = 0xFFFFFFFF


def wrong(users: Items, groups: Items, shares: Items, exports: Items, serves_nfs: bool, group: str) -> list[str]:
    """A sentence for each thing that does not go together in what is declared. *shares* and *exports* have their defaults."""
    present = [user for user in users if user.get("state") != "absent"]
    names = {str(user["name"]) for user in present}
    known = {group, *(str(each["name"]) for each in groups)}
    known.update(str(each) for user in present for each in user.get("groups") or ())
    found = [
        f"nas_share_users: {name!r} is no name of a user (small letters, digits, '.', '_' and '-')"
        for name in names
        if not _USER.fullmatch(name)
    ]
    found += [f"nas_share_users: {name} cannot be a user of shares" for name in _TAKEN if name in names]
    found += _twice("nas_share_users", (str(user["name"]) for user in users))
    found += _twice("nas_share_shares", (str(share["name"]).lower() for share in shares))
    for share in shares:
        where = f"nas_share_shares[{share['name']}]"
        if not _SHARE.fullmatch(str(share["name"])) or str(share["name"]).lower() in _SECTIONS:
            found.append(f"{where}: this is no name of a share")
        for key in ("users", "readers"):
            for each in map(str, share.get(key) or ()):
                if each.startswith("@") and each[1:] not in known:
                    found.append(f"{where}.{key}: there is no group {each[1:]} in nas_share_groups or nas_share_users")
                elif not each.startswith("@") and each not in names:
                    found.append(f"{where}.{key}: there is no user {each} in nas_share_users")
        given = share.get("versions") or {}
        if "format" in given and not str(given.get("folder") or "").startswith("/"):
            found.append(f"{where}.versions: format needs the folder in which others make these snapshots")
        if share.get("time_machine_size") and not share.get("time_machine"):
            found.append(f"{where}.time_machine_size: needs time_machine")
    kept = [share for share in shares if share.get("has_versions") and "format" not in share["versions"]]
    found += _twice("versions.folder of nas_share_shares", (str(share["versions"]["folder"]) for share in kept))
    if exports and not serves_nfs:
        found.append("nas_share_exports are served with nas_share_nfs: true alone")
    for export in exports:
        if not str(export["pseudo"]).startswith("/") or str(export["pseudo"]).endswith("/"):
            found.append(f"nas_share_exports[{export['path']}].pseudo: must be a path such as /media")
        if not export.get("clients"):
            found.append(f"nas_share_exports[{export['path']}].clients: nobody could mount it")
    return found + _twice("pseudo of nas_share_exports", (str(export["pseudo"]) for export in exports))


def _twice(where: str, names: t.Iterable[str]) -> list[str]:
    return [f"{where}: {name} is there twice" for name, count in collections.Counter(names).items() if count > 1]


def outdated(passwords: t.Mapping[str, str], listing: str) -> list[str]:
    """Those of *passwords* by user that are not in *listing*, which ``pdbedit --list --smbpasswd-style`` prints."""
    has = {fields[0]: fields[3] for fields in (line.split(":") for line in listing.splitlines()) if len(fields) > 3}
    return [name for name, password in passwords.items() if has.get(name, "").upper() != nt_hash(password)]


def nt_hash(password: str) -> str:
    """As Samba keeps a password: MD4 of its letters in UTF-16."""
    return md4(password.encode("utf-16-le")).hex().upper()


def md4(message: bytes) -> bytes:
    """RFC 1320. The OpenSSL of Debian has it for programs that ask for old algorithms alone, which hashlib is none of."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padded = message + b"\x80" + bytes((55 - len(message)) % 64) + struct.pack("<Q", len(message) * 8)
    for at in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, at)
        a, b, c, d = state
        for number in range(48):
            turn, step = divmod(number, 16)
            if turn == 0:
                mixed, word, constant = b & c | ~b & d, step, 0
            elif turn == 1:
                mixed, word, constant = b & c | b & d | c & d, step % 4 * 4 + step // 4, 0x5A827999
            else:
                mixed, word, constant = b ^ c ^ d, _THIRD[step], 0x6ED9EBA1
            sum_ = (a + mixed + words[word] + constant) & _MASK
            left = _SHIFTS[turn][step % 4]
            a, b, c, d = d, (sum_ << left | sum_ >> 32 - left) & _MASK, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


_SHIFTS = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
_THIRD = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)
