# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Folders and files of the host that are seen inside: the ``lxc.mount.entry`` lines, and what they are while the guest runs."""

from __future__ import annotations

import typing as t

from .._core.decide import SAME
from .._core.options import Item
from .._core.value import Value
from .config import Config, MountEntry, parse_entry

ENTRY = "lxc.mount.entry"
Places = t.Mapping[str, str]


class Mounted(Value):
    """What is mounted inside: *place* is the device and the folder in it, the same for the same folder of the host."""

    __slots__ = ("is_readonly", "place")

    def __init__(self, place: str, is_readonly: bool = False) -> None:
        self.place = place
        self.is_readonly = is_readonly


class Key:
    """One option of a mount. *read* gives its value in the configuration, *seen* its value while the guest runs, from the
    declared value, the entry, what is mounted at its path and the places of the sources that exist.
    """

    __slots__ = ("read", "seen")

    def __init__(
        self,
        read: t.Callable[[MountEntry], t.Any],
        seen: t.Callable[[t.Any, MountEntry, Mounted, Places], t.Any] = lambda declared, entry, mounted, places: SAME,
    ) -> None:
        self.read = read
        self.seen = seen


def _seen_source(declared: str | None, entry: MountEntry, mounted: Mounted, places: Places) -> str | None:
    if mounted.place == places.get(entry.source):
        return entry.source
    return declared if mounted.place == places.get(declared or "") else mounted.place


def _seen_readonly(declared: bool | None, entry: MountEntry, mounted: Mounted, places: Places) -> bool:
    return mounted.is_readonly


KEYS = {
    "source": Key(lambda entry: entry.source, _seen_source),
    "path": Key(lambda entry: entry.path),
    "readonly": Key(lambda entry: entry.is_readonly, _seen_readonly),
}


def bind_entries(config: Config) -> list[MountEntry]:
    """The folders and files of the host that the configuration binds into the container."""
    entries = (parse_entry(value) for value in config.values(ENTRY))
    return [entry for entry in entries if entry and entry.is_bind and entry.source.startswith("/")]


def claim_mounts(declared: t.Iterable[Item], config: Config, paths: t.Mapping[str, str]) -> dict[str, MountEntry]:
    """The entry that each name means: as recorded, else by its declared path, else ``mount0`` and so on by position."""
    entries = bind_entries(config)
    free = {entry.path: entry for entry in entries}
    found: dict[str, MountEntry] = {}
    for name, path in [*paths.items(), *((item.name, item.text("path")) for item in declared)]:
        if name not in found and path in free:
            found[name] = free.pop(path)
    for number, entry in enumerate(entries):
        if entry.path in free:
            found.setdefault(f"mount{number}", entry)
    return found


def changed_entry(entry: MountEntry, item: Item, off: t.Mapping[str, t.Any]) -> MountEntry:
    """*entry* as it shall be: what is declared, and the keys that are taken *off*, over what is there; its other options stay."""
    values = {**{key: row.read(entry) for key, row in KEYS.items()}, **item.values, **off}
    options = tuple(option for option in entry.options if option not in ("ro", "rw"))
    return entry.replace(
        source=values["source"], path=values["path"], options=options + (("ro",) if values["readonly"] else ())
    )


def new_entry(item: Item, *, is_file: bool, is_mapped: bool) -> MountEntry:
    """The entry of a mount that is not there yet; *is_mapped* makes the owners of the host those inside, so root's files are root's."""
    options = ["bind", "create=file" if is_file else "create=dir"]
    options += ["ro"] if item.get("readonly") else []
    options += ["idmap=container"] if is_mapped else []
    return MountEntry(item.get("source"), item.get("path"), "none", tuple(options))


def write_mount(config: Config, old: MountEntry | None, new: MountEntry | None) -> Config:
    """*config* with the entry *new* in the place of *old*; either may not be there. A line of which no option changes stays."""
    if old is None:
        return config.append(ENTRY, new.text) if new else config
    line = next((value for value in config.values(ENTRY) if parse_entry(value) == old), old.text)
    if new is None:
        return config.remove(ENTRY, line)
    is_same = all(row.read(old) == row.read(new) for row in KEYS.values())
    return config if is_same else config.replace(ENTRY, line, new.text)
