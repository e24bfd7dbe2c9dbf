# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the folders and files of the host that a container gets are: what lies below them, whether their owners can be mapped, and to whom."""

from __future__ import annotations

import glob
import os
import typing as t

from .._core.errors import ObserveError
from .._core.options import Item
from .._guest.spec import GuestSpec
from .._host.mounts import mounts_in
from . import idmap, mapping
from .config import ENTRY, HOOK, Config, MountEntry, root_of
from .mount import RECORDED, SEEN, Source, foreign_options, wanted_entry
from .state import Definition
from .tree import Tree

# Where liblxc mounts the root of a container that starts, in mounts of its own: a constant of its build, which it does not tell (5.0.2).
_ROOTS = "/usr/lib/*/lxc/rootfs"
_WORDS = {"uid": "user", "gid": "group"}


def observe_sources(
    kept: Definition, spec: GuestSpec, places: t.Mapping[str, str], *, exists: bool
) -> dict[str, t.Any]:
    """What LXC will find at the next start of mounts that are new, or that become others."""
    is_unprivileged = bool(kept.config.values("lxc.idmap")) if exists else spec.get("unprivileged") is not False
    root = root_of(kept.config)
    obstacles: dict[str, str] = {}
    sources: dict[str, Source] = {}
    for item in spec.wanted("mounts"):
        entry = t.cast("MountEntry | None", kept.things("mounts").get(item.name))
        source, path = (item.text(key) or (entry.value(key) if entry else None) for key in ("source", "path"))
        if not source or not path or source not in places:
            continue
        try:
            its = _observe_source(source, item, entry, root, is_unprivileged=is_unprivileged)
        except ObserveError as exc:
            obstacles[item.name] = exc.message
            continue
        sources[item.name] = its
        is_same = entry is not None and all(
            (its.ids if key == "map_ids" and item.get(key) is not None else item.get(key, entry.value(key)))
            == entry.value(key)
            for key in SEEN
            if key not in RECORDED
        )
        if is_same:
            continue
        why = _source_obstacle(source, is_unprivileged=is_unprivileged)
        if why is None and root is not None and (entry is None or entry.path != path):
            why = Tree(root).target_obstacle(path, is_folder=os.path.isdir(source))
        if why is None and its.ids:
            why = _foreign_id(its.ids, kept.config if exists else None, is_unprivileged=is_unprivileged)
        if why is None and its.unmapped and (item.get("mapped") or (its.ids and not its.takes_mapping)):
            key = "mapped" if item.get("mapped") else "map_ids"
            why = f"{key}: the file system of {its.unmapped[0]} takes no mapped owners"
        if why is None and entry is not None and entry.key == ENTRY and its.ids and (more := foreign_options(entry)):
            why = f"map_ids: the line of the mount has the options {', '.join(more)}, which do not go with it"
        if why is None:
            full = item.with_values({"source": source, "path": path, "readonly": False, **item.values})
            wanted = wanted_entry(entry, full, {}, its, is_file=False, is_unprivileged=is_unprivileged)
            others = t.cast("t.Mapping[str, MountEntry]", kept.things("mounts"))
            why = _hidden_below(wanted, others) if wanted.key == HOOK else None
        if why is not None:
            obstacles[item.name] = why
    return {"mount_obstacles": obstacles, "sources": sources}


def _hidden_below(wanted: MountEntry, others: t.Mapping[str, MountEntry]) -> str | None:
    """Which of the *others* would be hidden, as LXC mounts it before our program mounts what is *wanted*; as a sentence."""
    for name, other in others.items():
        if other.key == ENTRY and other.path.startswith(f"{wanted.path}/"):
            return f"it would hide mounts[{name}] at {other.path}. Take that away first, and add it again after"
    return None


def _observe_source(
    source: str, item: Item, entry: MountEntry | None, root: str | None, *, is_unprivileged: bool
) -> Source:
    """:raises ObserveError: for a name that nobody has."""
    declared = item.get("map_ids")
    ids = None if declared is None else _mapped_ids(declared, root)
    is_new = entry is None or entry.source != source
    if not is_new and not ids and (item.get("mapped") in (None, entry.is_mapped if entry else None)):
        return Source(ids=ids)
    folder = os.path.realpath(source)
    below = tuple(point for point in mounts_in(folder) if point != folder)
    is_tried = bool(ids) or (is_unprivileged and item.get("mapped") is not False)
    unmapped = mapping.without_mapping([folder, *below]) if is_tried else []
    found = os.stat(folder)
    holds_root = any(f"{place}/".startswith(f"{folder.rstrip('/')}/") for place in glob.glob(_ROOTS))
    return Source((found.st_uid, found.st_gid), below, tuple(unmapped), ids, holds_root=holds_root)


def _mapped_ids(declared: t.Iterable[str], root: str | None) -> tuple[str, ...]:
    """``uid media jellyfin`` with the numbers that the names have on this host and in the guest at *root*, as ``MountEntry.ids``.

    :raises ObserveError: for a name that nobody has, and for an id that is there twice.
    """
    found: list[str] = []
    for text in declared:
        kind, host, inside = text.split(" ")
        found.append(f"{kind} {_host_id(kind, host)} {_inner_id(kind, inside, root)}")
    for kind in ("uid", "gid"):
        for place, where in ((1, "of the host"), (2, "inside")):
            numbers = [text.split(" ")[place] for text in found if text.startswith(kind)]
            twice = next((number for number in numbers if numbers.count(number) > 1), None)
            if twice is not None:
                raise ObserveError(f"map_ids: the {kind} {twice} {where} is there twice")
    return tuple(sorted(found))


def _foreign_id(ids: t.Iterable[str], config: Config | None, *, is_unprivileged: bool) -> str | None:
    """Why the container cannot have an owner of *ids*, as a sentence."""
    for text in ids if is_unprivileged else ():
        kind, dummy, inside = text.split(" ")
        has = idmap.has_id(config.values("lxc.idmap"), kind[0], int(inside)) if config else int(inside) < idmap.COUNT
        if not has:
            return f"map_ids: the container has no {kind} {inside}"
    return None


def _host_id(kind: str, name: str) -> str:
    if name.isdecimal():
        return name
    import grp  # few mounts name anybody
    import pwd

    try:
        return str(pwd.getpwnam(name).pw_uid if kind == "uid" else grp.getgrnam(name).gr_gid)
    except KeyError:
        raise ObserveError(f"map_ids: this host has no {_WORDS[kind]} {name}") from None


def _inner_id(kind: str, name: str, root: str | None) -> str:
    if name.isdecimal():
        return name
    text = Tree(root).read("/etc/passwd" if kind == "uid" else "/etc/group") if root else None
    for line in (text or "").splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and fields[2].isdecimal():
            return fields[2]
    raise ObserveError(f"map_ids: the container has no {_WORDS[kind]} {name} (yet). Write the number that it gets")


def _source_obstacle(source: str, *, is_unprivileged: bool) -> str | None:
    closed = closed_folder(os.path.dirname(os.path.realpath(source))) if is_unprivileged else None
    if closed is not None:
        return f"root of an unprivileged container may not pass through {closed}. Let others through (chmod o+x)"
    return None


def closed_folder(path: str) -> str | None:
    """The first folder on the way to *path* that the mapped root of a container may not pass through."""
    place = ""
    for part in [part for part in os.path.realpath(path).split("/") if part]:
        place += "/" + part
        try:
            if not os.stat(place).st_mode & 0o001:
                return place
        except FileNotFoundError:
            return None
    return None
