# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""The two units of systemd that a mount is: one that mounts, and one that has it mounted when somebody asks for its path.

So a host starts, and is shut down, whether or not the other end answers: nothing waits for the mount but who uses it.
"""

from __future__ import annotations

import string
import typing as t

from .spec import CIFS, NFS

FOLDER = "/etc/systemd/system"
MARK = "# Written by homelab.hybrid (hypervisor_mounts)."
# How long one attempt to mount may take, and one to unmount: then systemd gives up.
SECONDS = 30
_PLAIN = string.ascii_letters + string.digits + ":_."
# A server that is gone is an error after some 15 seconds, never a process that hangs: nfs(5), and for mount.nfs(8) no second attempt of
# its own. mount.cifs(8) asks a silent server each 60 seconds otherwise.
_DEFAULTS = {
    NFS: ("soft", "timeo=50", "retrans=2", "retry=0"),
    CIFS: ("soft", "echo_interval=10"),
}
# Those that say the opposite of a default.
_OPPOSITES = {"hard": "soft", "softerr": "soft"}


def name_of(path: str) -> str:
    """What systemd calls the units of *path*, without their suffix (systemd-escape --path)."""
    parts = "/".join(part for part in path.split("/") if part)
    found = [
        "-" if letter == "/" else letter if letter in _PLAIN and (place or letter != ".") else _escaped(letter)
        for place, letter in enumerate(parts)
    ]
    return "".join(found)


def _escaped(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def texts(path: str, values: t.Mapping[str, t.Any], credentials: str | None) -> dict[str, str]:
    """The files of the units by their paths. *credentials* is the file with name and password, where it takes one."""
    name = name_of(path)
    return {
        f"{FOLDER}/{name}.mount": _mount_text(path, values, credentials),
        f"{FOLDER}/{name}.automount": _automount_text(path, values),
    }


def options_of(values: t.Mapping[str, t.Any], credentials: str | None) -> str:
    """The options that it is mounted with. What is declared comes last, and in the place of what it says otherwise."""
    declared = tuple(values.get("options") or ())
    keys = {_OPPOSITES.get(word, word.partition("=")[0]) for word in declared}
    words = [word for word in _DEFAULTS[values["type"]] if word.partition("=")[0] not in keys]
    words += ["_netdev"] * ("_netdev" not in declared)
    words += [f"credentials={credentials}"] if credentials else []
    return ",".join([*words, *declared])


def _mount_text(path: str, values: t.Mapping[str, t.Any], credentials: str | None) -> str:
    # A server that refuses at once is asked more than five times in ten seconds; systemd would give the automount up too then.
    return f"""{MARK}
[Unit]
Description={_plain(values["source"])} at {_plain(path)}
StartLimitIntervalSec=0

[Mount]
What={_plain(values["source"])}
Where={_plain(path)}
Type={values["type"]}
Options={_plain(options_of(values, credentials))}
TimeoutSec={SECONDS}
LazyUnmount=yes
ForceUnmount=yes
"""


def _automount_text(path: str, values: t.Mapping[str, t.Any]) -> str:
    return f"""{MARK}
[Unit]
Description=Mount {_plain(values["source"])} at {_plain(path)} when it is asked for

[Automount]
Where={_plain(path)}

[Install]
WantedBy=remote-fs.target
"""


def _plain(text: str) -> str:
    """*text* as it is: a percent sign begins a specifier in a unit."""
    return text.replace("%", "%%")


def credentials_text(values: t.Mapping[str, t.Any]) -> str | None:
    """The file that mount.cifs(8) reads; ``None`` for a mount that asks for none."""
    lines = [f"{key}={values[key]}\n" for key in ("username", "password", "domain") if values.get(key)]
    return "".join(lines) or None


def read_credentials(text: str | None) -> dict[str, str]:
    """What that file says."""
    return dict(line.partition("=")[::2] for line in (text or "").splitlines())


def is_ours(text: str) -> bool:
    """Whether this collection wrote the unit."""
    return text.startswith(MARK)
