# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Devices of the host inside: the lines of each in the configuration, and what it is while the guest runs.

LXC runs a program of ours before each start, which makes the node that the guest gets: with the numbers that the device has then,
and owners of the guest. Its command line says all of the device; an ``lxc.mount.entry`` brings the node to its path, and where the
configuration denies devices ``lxc.cgroup.devices.allow`` lets it through.
"""

from __future__ import annotations

import typing as t

from .._core import paths
from .._core.decide import SAME
from .._core.options import Item
from .._core.value import Value
from .._guest.device import BY_ID, KNOWN_BY, NODE, SERIAL, USB, HostDevice, Target
from . import cgroup, idmap
from .config import ENTRY, Config, MountEntry

PROGRAM = paths.PROGRAMS + "/make-device"
HOOK = "lxc.hook.pre-start"
_NEEDS = {False: "required", True: "optional"}
_USB_FOLDER = "/dev/bus/usb"
_FAMILIES = (cgroup.V1, cgroup.V2)


class Node(Value):
    """What the running guest has of a device: the *numbers* of its node (``c 226:128``), its mode and its group inside.

    *is_missing*: the guest was started without it, as it may be.
    """

    __slots__ = ("gid", "is_missing", "mode", "numbers")

    def __init__(self, numbers: str = "", mode: str = "", gid: int | None = None, *, is_missing: bool = False) -> None:
        self.numbers = numbers
        self.mode = mode
        self.gid = gid
        self.is_missing = is_missing

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``. It means something only beside the device that it is there for: see ``seen_value``."""
        return SAME


class Device(Value):
    """A device by its lines, or as it shall be. *ref* is what it is known by, *gid* the group inside and *uid* root's on the host.

    *rule* is what the control groups were told for it, empty where they let everything through. *has_moved*: the host gave it
    other numbers since. *line* is the value of the hook that it was read from.
    """

    __slots__ = (
        "gid",
        "guest",
        "has_moved",
        "host_gid",
        "line",
        "mode",
        "name",
        "optional",
        "ref",
        "rule",
        "type",
        "uid",
    )

    def __init__(
        self,
        guest: str,
        name: str,
        type: str,
        ref: str,
        *,
        mode: str,
        gid: int | None,
        optional: bool,
        uid: int,
        host_gid: int,
        rule: str = "",
        has_moved: bool = False,
        line: str = "",
    ) -> None:
        self.guest = guest
        self.name = name
        self.type = type
        self.ref = ref
        self.mode = mode
        self.gid = gid
        self.optional = optional
        self.uid = uid
        self.host_gid = host_gid
        self.rule = rule
        self.has_moved = has_moved
        self.line = line

    @property
    def target(self) -> Target:
        return (self.type, self.ref)

    @property
    def folder(self) -> str:
        return f"{paths.DEVICES}/{self.guest}"

    @property
    def node(self) -> str:
        """The node on the host, or a link to it."""
        return f"{self.folder}/{self.name}"

    @property
    def source(self) -> str:
        """What is mounted in the guest: the node, or the folder of all its USB devices, whose numbers are names in there."""
        return f"{self.folder}/{_USB_FOLDER.replace('/', '.')}" if self.type == USB else self.node

    @property
    def path(self) -> str:
        """Where it is seen inside."""
        return {NODE: self.ref, SERIAL: f"{BY_ID}/{self.ref}", USB: _USB_FOLDER}[self.type]

    @property
    def words(self) -> tuple[str, ...]:
        """The words that our program gets for it."""
        rule = self.rule.replace(" ", "_") or "-"
        return (
            self.name,
            self.type,
            self.ref,
            str(self.uid),
            str(self.host_gid),
            self.mode,
            _NEEDS[self.optional],
            rule,
        )

    @property
    def hook(self) -> str:
        return " ".join((PROGRAM, *self.words))

    @property
    def entry(self) -> str:
        options = ["bind", "create=file", *(["optional"] if self.optional else [])]
        if self.type == USB:
            options = ["bind", "create=dir", "ro", "optional"]
        return MountEntry(self.source, self.path, "none", tuple(options)).text

    def value(self, key: str) -> t.Any:
        """See ``_core.keyed.Thing``."""
        if key in KNOWN_BY.values():
            ref = f"{self.ref} as {self.rule}" if self.has_moved else self.ref
            return ref if KNOWN_BY[self.type] == key else None
        return getattr(self, key)


def is_ours(source: str) -> bool:
    """Whether a mount entry with this source is that of a device."""
    return source.startswith(paths.DEVICES + "/")


def read_devices(guest: str, config: Config) -> dict[str, Device]:
    """The devices by name. Lines that another hand wrote are none of them."""
    found = {}
    for line in config.lines:
        words = line.value.split()
        if line.key != HOOK or words[:1] != [PROGRAM] or len(words) != 9:
            continue
        name, type_, ref, uid, gid, mode, need, rule = words[1:]
        if type_ in KNOWN_BY and uid.isdecimal() and gid.isdecimal():
            found[name] = Device(
                guest,
                name,
                type_,
                ref,
                mode=mode,
                gid=idmap.inside_gid(config.values("lxc.idmap"), int(gid)),
                optional=need == _NEEDS[True],
                uid=int(uid),
                host_gid=int(gid),
                rule="" if rule == "-" else rule.replace("_", " "),
                line=line.value,
            )
    return found


def with_numbers(device: Device, there: HostDevice | None) -> Device:
    """The device beside what the host has of it: whether what the control groups were told counts no more."""
    return device.replace(has_moved=bool(device.rule and there and there.rule(device.type) != device.rule))


def denies(config: Config) -> bool:
    """Whether the control groups let only those devices through that are named. ``userns.conf`` takes that back."""
    return any(config.values(f"{family}devices.deny") for family in _FAMILIES)


def wanted_device(
    guest: str,
    item: Item,
    target: Target,
    there: HostDevice | None,
    config: Config,
    *,
    before: Device | None,
    gid: int | None,
) -> Device:
    """The device as it shall be: what is declared, over what is there *before*, over what the host has. *gid* is that of the declared group.

    Raises ``ValueError`` for a group that the guest has no id for.
    """
    ids = config.values("lxc.idmap")
    group = gid if gid is not None else before.gid if before is not None and before.gid is not None else 0
    host_gid = idmap.host_gid(ids, group)
    if host_gid is None:
        raise ValueError(f"the guest has no group {group}")
    mode = item.text("mode") or (before.mode if before is not None else f"{there.mode:04o}" if there else "0660")
    rule = before.rule if before is not None and before.target == target else ""
    if there is not None:
        needed = there.rule(target[0])
        rule = needed if denies(config) and not _is_allowed(config, needed) else ""
    is_optional = item.get("optional", before.optional if before is not None else False)
    uid = (idmap.root_of(ids) or (0, 0))[0]
    return Device(
        guest, item.name, *target, mode=mode, gid=group, optional=is_optional, uid=uid, host_gid=host_gid, rule=rule
    )


def _is_allowed(config: Config, rule: str) -> bool:
    """Whether another hand lets it through already."""
    ours = {device.rule for device in read_devices("", config).values()}
    return rule not in ours and all(rule in config.values(f"{family}devices.allow") for family in _FAMILIES)


def write_device(config: Config, old: Device | None, new: Device | None) -> Config:
    """*config* with the lines of *new* in the place of those of *old*; either may not be there."""
    if old is not None and new is not None:
        config = config.replace(HOOK, old.line, new.hook)
    elif old is not None:
        config = config.remove(HOOK, old.line)
    elif new is not None:
        config = config.append(HOOK, new.hook)
    left = read_devices("", config).values()
    if old is not None and (new is None or old.entry != new.entry):
        others = [other for other in left if other.name != old.name]
        config = config if any(other.type == USB == old.type for other in others) else config.remove(ENTRY, old.entry)
    if new is not None and new.entry not in config.values(ENTRY):
        config = config.append(ENTRY, new.entry)
    for family in _FAMILIES:
        key = f"{family}devices.allow"
        if old is not None and old.rule and all(other.rule != old.rule for other in left):
            config = config.remove(key, old.rule)
        if new is not None and new.rule and new.rule not in config.values(key):
            config = config.append(key, new.rule)
    return config


def seen_value(
    key: str, declared: t.Any, before: Device, now: Node, devices: t.Mapping[Target, HostDevice], wanted: Target | None
) -> t.Any:
    """The value of a key while the guest runs, in the form of the option; ``SAME`` where it is the one that is kept."""
    if now.is_missing or key in ("optional", "type"):
        return SAME
    if key in ("mode", "gid"):
        return getattr(now, key)
    if KNOWN_BY[before.type] != key:
        return SAME
    kept, new = devices.get(before.target), devices.get(wanted) if wanted else None
    if kept is None or kept.numbers == now.numbers:
        return SAME
    return declared if new is not None and new.numbers == now.numbers else now.numbers


KEYS = ("type", "path", "id", "mode", "gid", "optional")
