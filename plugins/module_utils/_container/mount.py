# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Folders and files of the host that are seen inside: the ``lxc.mount.entry`` lines, and what they are while the guest runs."""

from __future__ import annotations

import re
import typing as t

from .._core.decide import SAME
from .._core.options import Item
from .._core.value import Value
from .config import ENTRY, HOOK, SHIPPED, Config, MountEntry, parse_entry, parse_program, root_of
from .device import is_ours

Places = t.Mapping[str, str]


class Mounted(Value):
    """What is mounted inside: *place* is the device and the folder in it, the same for the same folder of the host."""

    __slots__ = ("is_mapped", "is_readonly", "place")

    def __init__(self, place: str, is_readonly: bool = False, is_mapped: bool = False) -> None:
        self.place = place
        self.is_readonly = is_readonly
        self.is_mapped = is_mapped

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``. It means something only beside the entry that it is there for: see ``SEEN``."""
        return SAME


class Source(Value):
    """A folder or file of the host as a mount of it will find it: its *owner* and group, what is mounted *below* it, and what of all that
    is *unmapped*, as its file system takes no mapped owners. *ids* are those that stand for others, as ``MountEntry.ids``. *holds_root*:
    LXC mounts the root of a container that starts in it, before it looks what is mounted below.
    """

    __slots__ = ("below", "holds_root", "ids", "owner", "unmapped")

    def __init__(
        self,
        owner: tuple[int, int] = (0, 0),
        below: tuple[str, ...] = (),
        unmapped: tuple[str, ...] = (),
        ids: tuple[str, ...] | None = None,
        *,
        holds_root: bool = False,
    ) -> None:
        self.owner = owner
        self.holds_root = holds_root
        self.below = below
        self.unmapped = unmapped
        self.ids = ids

    @property
    def takes_mapping(self) -> bool:
        """Whether the uppermost does."""
        return set(self.unmapped) <= set(self.below)


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


def _seen_mapped(declared: bool | None, entry: MountEntry, mounted: Mounted, places: Places) -> bool:
    return mounted.is_mapped


def _seen_ids(declared: t.Any, entry: MountEntry, mounted: Mounted, places: Places) -> t.Any:
    """The kernel tells that owners are mapped, not how."""
    return SAME if mounted.is_mapped else ()


def _seen_backup(declared: bool | None, entry: MountEntry, mounted: Mounted, places: Places) -> t.Any:
    """Who mounts it knows nothing of that."""
    return SAME


SEEN: dict[str, t.Callable[[t.Any, MountEntry, Mounted, Places], t.Any]] = {
    "source": _seen_source,
    "path": _seen_path,
    "readonly": _seen_readonly,
    "mapped": _seen_mapped,
    "map_ids": _seen_ids,
    "backup": _seen_backup,
}
# What no line has, but the record.
RECORDED = ("backup",)


def bind_entries(config: Config) -> list[MountEntry]:
    """The folders and files of the host that the configuration binds into the container, but for what LXC itself brings along."""
    root = root_of(config)
    lines = (line for line in config.lines_of(ENTRY) if not line.origin.startswith(f"{SHIPPED}/"))
    entries = (parse_entry(line.value, root, line.origin) for line in lines)
    programs = (parse_program(line.value, line.origin) for line in config.lines_of(HOOK))
    return [
        entry
        for entry in (*entries, *programs)
        if entry and entry.is_bind and entry.source.startswith("/") and not is_ours(entry.source)
    ]


def claim_mounts(
    declared: t.Iterable[Item], config: Config, paths: t.Mapping[str, str], backed_up: t.Collection[str] = ()
) -> dict[str, MountEntry]:
    """The entry that each name means: as recorded, else by its declared path, else ``mount0`` and so on by position.

    *paths* are those that the record has by name, *backed_up* the names of those that are in backups.
    """
    entries = bind_entries(config)
    free = {entry.path: entry for entry in entries}
    found: dict[str, MountEntry] = {}
    for name, path in [*paths.items(), *((item.name, item.text("path")) for item in declared)]:
        if name not in found and path in free:
            found[name] = free.pop(path)
    for number, entry in enumerate(entries):
        if entry.path in free:
            found.setdefault(f"mount{number}", entry)
    return {name: entry.replace(is_backed_up=True) if name in backed_up else entry for name, entry in found.items()}


def innermost(path: str, points: Places) -> str | None:
    """The name of the mount that *path* lies in, of those that are at *points* inside, by name."""
    names = [name for name, point in points.items() if f"{path}/".startswith(f"{point}/")]
    return max(names, key=lambda name: len(points[name]), default=None)


# What the program that mounts knows beside what is replaced.
_PROGRAM_OPTIONS = ("bind", "rbind", "nosuid", "nodev", "noexec")


def wanted_entry(
    entry: MountEntry | None,
    item: Item,
    off: t.Mapping[str, t.Any],
    source: Source,
    *,
    is_file: bool,
    is_unprivileged: bool,
    is_below_program: bool = False,
) -> MountEntry:
    """The mount as it shall be: what is declared, and the keys that are taken *off*, over what is there; its other options stay.

    Owners are mapped in an unprivileged container where the file system of a new source can do that, so root's files are root's.
    liblxc maps all that is below along, or does not start, and makes only the uppermost read-only of what it does not map
    (5.0.2): where that is not what is wanted, our program mounts it. That comes last, so what lies *below* it is its too.
    """
    values = {**({key: entry.value(key) for key in SEEN} if entry else {"map_ids": ()}), **item.values, **off}
    is_new_source = entry is None or entry.source != values["source"]
    ids = values["map_ids"] if source.ids is None else source.ids
    is_mapped = bool(ids) or (is_unprivileged and _is_mapped(entry, item, source, is_new_source=is_new_source))
    is_readonly = bool(values["readonly"])
    is_partial = is_mapped and bool(set(source.unmapped) & set(source.below))
    is_left_writable = is_readonly and not is_mapped and bool(source.below)
    is_program = entry is not None and entry.key == HOOK
    is_program |= (
        bool(ids) or is_below_program or (is_new_source and (is_partial or is_left_writable or source.holds_root))
    )
    options = [option for option in (entry.options if entry else ("bind",)) if not _is_replaced(option)]
    if is_program or is_new_source:
        options = ["rbind" if option == "bind" else option for option in options]
    if is_program:
        options = [option for option in options if not option.startswith("create=")]
    elif entry is None:
        options.append("create=file" if is_file else "create=dir")
    options += ["ro"] if is_readonly else []
    options += ["idmap=container"] if is_mapped else []
    options += [re.sub(r"(\S+) (\d+) (\d+)", r"\1=\2:\3", text) for text in ids]
    key = HOOK if is_program else ENTRY
    its = {"source": values["source"], "path": values["path"], "options": tuple(options)}
    its["is_backed_up"] = bool(values.get("backup"))
    if entry is None or (entry.key, key) == (ENTRY, HOOK):
        return MountEntry(fstype="none", key=key, **its)
    return entry.replace(**its)


def _is_replaced(option: str) -> bool:
    return option in ("ro", "rw", "idmap=container") or re.fullmatch(r"[ug]id=\d+:\d+", option) is not None


def _is_mapped(entry: MountEntry | None, item: Item, source: Source, *, is_new_source: bool) -> bool:
    declared = item.get("mapped")
    if declared is not None:
        return bool(declared)
    return source.takes_mapping if entry is None or is_new_source else entry.is_mapped


def foreign_options(entry: MountEntry) -> list[str]:
    """The options of a line that the program would not know."""
    known = (option for option in entry.options if _is_replaced(option) or option.startswith("create="))
    return sorted({*entry.options} - {*known, *_PROGRAM_OPTIONS})


def write_mount(config: Config, old: MountEntry | None, new: MountEntry | None) -> Config:
    """*config* with the entry *new* in the place of *old*; either may not be there. A line of which no option changes stays."""
    if old is None:
        return config.append(new.key, new.text) if new else config
    if new is None:
        return config.remove(old.key, old.line)
    if all(old.value(key) == new.value(key) for key in SEEN if key not in RECORDED):
        return config
    if old.key != new.key:
        return config.remove(old.key, old.line).append(new.key, new.text)
    return config.replace(old.key, old.line, new.text)
