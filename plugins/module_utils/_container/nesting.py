# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Whether the guest may run containers of its own: the lines of LXC's ``nesting.conf``, in what each profile of AppArmor needs.

The kernel lets a user namespace mount a new /proc and /sys only beside ones that nothing covers, and LXC covers parts of a guest's.
"""

from __future__ import annotations

from .config import ENTRY, Config, parse_entry

PROC, SYS = "/dev/.lxc/proc", "/dev/.lxc/sys"
_ENTRIES = {
    PROC: "proc dev/.lxc/proc proc create=dir,optional 0 0",
    SYS: "sys dev/.lxc/sys sysfs create=dir,optional 0 0",
}
_PROFILE, _GENERATED = "lxc.apparmor.profile", "lxc.apparmor.allow_nesting"
_NESTING = "lxc-container-default-with-nesting"


def _lines(config: Config) -> dict[str, str]:
    """By the path of each that is there the file in which its line stands, empty for the configuration itself."""
    found = ((parse_entry(line.value), line.origin) for line in config.lines_of(ENTRY))
    return {entry.path: origin for entry, origin in found if entry is not None and entry.path in _ENTRIES}


def _is_let(config: Config) -> bool:
    profile = config.get(_PROFILE)
    return profile in ("unconfined", _NESTING) or (profile == "generated" and config.get(_GENERATED) == "1")


def is_nesting(config: Config) -> bool:
    return set(_lines(config)) == set(_ENTRIES) and _is_let(config)


def origin_of(config: Config) -> str | None:
    """The file that brings the lines, where that is not the configuration itself."""
    return next((origin for origin in _lines(config).values() if origin), None)


def write_nesting(config: Config, is_wanted: bool) -> Config:
    """*config* with or without nesting. What lets systemd of Debian 13 mount namespaces of its own stays."""
    if not is_wanted:
        for line in config.lines_of(ENTRY):
            entry = parse_entry(line.value)
            config = config.remove(ENTRY, line.value) if entry is not None and entry.path in _ENTRIES else config
        return config.unset(_PROFILE) if config.get(_PROFILE) == _NESTING else config
    there = _lines(config)
    for path, text in _ENTRIES.items():
        config = config if path in there else config.append(ENTRY, text)
    if _is_let(config):
        return config
    return config.set(_GENERATED, "1") if config.get(_PROFILE) == "generated" else config.set(_PROFILE, _NESTING)
