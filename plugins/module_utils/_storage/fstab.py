# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The line of a pool in /etc/fstab, which systemd and every other init system mount by. All other lines stay as they are."""

from __future__ import annotations

PATH = "/etc/fstab"
# mount(8) leaves options that begin with x- alone.
_MARK = "x-homelab_hybrid.pool="


def line_of(pool: str, device: str, path: str, *, is_file: bool) -> str:
    """The line that mounts a btrfs at *path*. *device* is an image file, or ``UUID=...``."""
    # A disk that is gone must not keep the host from starting.
    options = ["loop"] * is_file + ["nofail", f"{_MARK}{pool}"]
    return f"{_escaped(device)} {_escaped(path)} btrfs {','.join(options)} 0 0"


def with_line(text: str, pool: str, line: str) -> str:
    """*text* with *line* as the one line of *pool*."""
    rest = without_line(text, pool)
    return f"{rest}{'' if not rest or rest.endswith(chr(10)) else chr(10)}{line}\n"


def without_line(text: str, pool: str) -> str:
    """*text* without the line of *pool*."""
    return "".join(line for line in text.splitlines(keepends=True) if not _is_of(line, pool))


def points(text: str) -> list[str]:
    """Where *text* has something mounted; spaces are written in octal."""
    lines = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [fields[1] for fields in lines if len(fields) > 2 and fields[1].startswith("/")]


def _is_of(line: str, pool: str) -> bool:
    fields = line.split()
    return len(fields) > 3 and not fields[0].startswith("#") and f"{_MARK}{pool}" in fields[3].split(",")


def _escaped(text: str) -> str:
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\\#" else letter for letter in text)
