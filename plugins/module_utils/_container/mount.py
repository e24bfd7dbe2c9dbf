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
from .config import ENTRY, SHIPPED, Config, MountEntry, parse_entry, root_of
from .device import is_ours

Places = t.Mapping[str, str]


class Mounted(Value):
    """What is mounted inside: *place* is the device and the folder in it, the same for the same folder of the host."""

    __slots__ = ("is_readonly", "place")

    def __init__(self, place: str, is_readonly: bool = False) -> None:
        self.place = place
        self.is_readonly = is_readonly

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``. It means something only beside the entry that it is there for: see ``SEEN``."""
        return SAME


# ---- each option of a mount as it is while the guest runs: from the declared value, the entry, what is mounted at its path and
# the places of the sources that exist ----------------------------------------------------------------------------------------


def _seen_source(declared: str | None, entry: MountEntry, mounted: Mounted, places: Places) -> str | None:
    if mounted.place == places.get(entry.source):
        return entry.source
    return declared if mounted.place == places.get(declared or "") else mounted.place


def _seen_path(declared: str | None, entry: MountEntry, mounted: Mounted, places: Places) -> t.Any:
    """What is mounted elsewhere is not found, and so is not there."""
    return SAME


def _seen_readonly(declared: bool | None, entry: MountEntry, mounted: Mounted, places: Places) -> bool:
    return mounted.is_readonly


SEEN: dict[str, t.Callable[[t.Any, MountEntry, Mounted, Places], t.Any]] = {
    "source": _seen_source,
    "path": _seen_path,
    "readonly": _seen_readonly,
}


def bind_entries(config: Config) -> list[MountEntry]:
    """The folders and files of the host that the configuration binds into the container, but for what LXC itself brings along."""
    root = root_of(config)
    lines = (line for line in config.lines_of(ENTRY) if not line.origin.startswith(f"{SHIPPED}/"))
    entries = (parse_entry(line.value, root, line.origin) for line in lines)
    return [
        entry
        for entry in entries
        if entry and entry.is_bind and entry.source.startswith("/") and not is_ours(entry.source)
    ]


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
    values = {**{key: entry.value(key) for key in SEEN}, **item.values, **off}
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
    if new is None:
        return config.remove(ENTRY, old.line)
    is_same = all(old.value(key) == new.value(key) for key in SEEN)
    return config if is_same else config.replace(ENTRY, old.line, new.text)
