# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the record says of a guest: what of it is ours, what it may not lose, and the options that have no other place."""

from __future__ import annotations

import typing as t

from .._core.errors import ObserveError
from .._core.options import Option
from .._image.presets import Presets, from_record
from .._storage import volume as volumes
from .._storage.volume import Volume
from . import installing
from .installing import Installation

Data = t.Mapping[str, t.Any]
Names = t.Mapping[str, t.Mapping[str, str]]


# Between an item and the pool that keeps an earlier volume of it. No item has it in its name.
_ELSEWHERE = "@"


class RecordedVolume:
    """A volume that we made or took over. *is_fresh*: for a creation that has not come to its end, so that no guest ever ran on it."""

    __slots__ = ("is_fresh", "volume")

    def __init__(self, volume: Volume, is_fresh: bool = False) -> None:
        self.volume = volume
        self.is_fresh = is_fresh

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedVolume) and (self.volume, self.is_fresh) == (other.volume, other.is_fresh)

    __hash__ = None  # type: ignore[assignment]  # how Python says that it cannot be hashed

    def settled(self) -> RecordedVolume:
        """The same volume of a guest that stands."""
        return RecordedVolume(self.volume)


class RecordedFile(t.NamedTuple):
    """A file or folder that we made beside the volumes. *is_fresh* as of a volume."""

    path: str
    is_fresh: bool = False

    def settled(self) -> RecordedFile:
        """The same file of a guest that stands."""
        return RecordedFile(self.path)


class Run:
    """What was noted of one run of the guest: *declined* are the paths that it did not let go or take.

    The process is known by its *pid* and by the clock ticks of its *start*: a pid alone comes again. *balloon* is the memory
    that was asked for, and the one before, in KiB. *order* is what it boots from otherwise, where it was started from something
    else for once.
    """

    __slots__ = ("balloon", "declined", "order", "pid", "start")

    def __init__(
        self,
        pid: int,
        start: int,
        declined: tuple[str, ...] = (),
        balloon: tuple[int, int] | None = None,
        order: tuple[str, ...] | None = None,
    ) -> None:
        self.pid = pid
        self.start = start
        self.declined = declined
        self.balloon = balloon
        self.order = order

    def noting(self, **notes: t.Any) -> Run:
        """The same run of the guest with other *notes* (``declined``, ``balloon``, ``order``)."""
        return Run(**{name: notes.get(name, getattr(self, name)) for name in self.__slots__})

    def is_of(self, other: Run | None) -> bool:
        """Whether it is the same run of the guest."""
        return other is not None and (self.pid, self.start) == (other.pid, other.start)


class Snapshot(t.NamedTuple):
    """A snapshot of a guest: *volumes* has that of each of its volumes by item, *created* the seconds since 1970.

    *consistency* is ``clean`` (it did not run), ``frozen`` (its file systems were), ``live`` (its memory is kept too) or ``crash``
    (as after a power cut). *idmap* is that of the guest then. *is_building*: it was begun, or is being deleted, and is not whole.
    *is_held*: the guest is held for it, by us. *beside* names what of a machine is kept with its volumes, *nvram* is the file in which
    its UEFI variables were then.
    """

    created: float
    volumes: t.Mapping[str, Volume]
    consistency: str
    idmap: tuple[int, int] | None = None
    is_building: bool = False
    is_held: bool = False
    beside: tuple[str, ...] = ()
    nvram: str = ""


class Origin(t.NamedTuple):
    """What a guest was cloned from: *guest* as it was, or as its *snapshot* is. *is_linked*: its volumes stand on those of that."""

    guest: str
    snapshot: str | None = None
    is_linked: bool = False

    def __str__(self) -> str:
        return self.guest if self.snapshot is None else f"{self.guest}@{self.snapshot}"


class Reserved(t.NamedTuple):
    """An address that the network of *bridge* keeps for the card with *mac*, since we told it to."""

    bridge: str
    mac: str
    ip: str


class Revert(t.NamedTuple):
    """A revert that has begun: to the snapshot *target*, what was there before becomes the snapshot *aside*."""

    target: str
    aside: str


class Quarantine(t.NamedTuple):
    """A guest that was deleted, and lies in the quarantine by a record of its own.

    *guest* is its name, *since* and *until* are seconds since 1970. *definition* is what the hypervisor knew of it, empty where that was
    gone before, *is_autostarted* the flag beside it, *record* what its record said. *is_begun*: not all of it has moved yet.
    """

    guest: str
    since: float
    until: float
    definition: str = ""
    is_autostarted: bool = False
    record: Data = {}
    is_begun: bool = False


class Restored(t.NamedTuple):
    """The *backup*, by its id in a *repository*, that a guest came out of: of *guest*, *made* in seconds since 1970."""

    repository: str
    backup: str
    guest: str
    made: float


class GuestRecord:
    """The record of a guest, typed.

    *exists*: there is one. *is_building* from before the first write until the guest stands. *volumes* by item, *macs* by
    network, *names* by list and item the ident of things that do not bear their names themselves. *unplugged* has the bridge
    of interfaces whose link is down. *idmap* is start and count of the mapped ids. *options* are what the record holds of
    options (home ``RECORD``), as JSON. *due_power* is ``started`` or ``paused`` while a run that was killed may not have come to
    that. *snapshots* are ours, by name; *reverting* is a revert that has not come to its end. *origin* is what it was cloned
    from, *install* how its system is or was installed; *addresses* and *addresses6* are those that were taken for cards that leave the choice
    to the host (``ip``, ``ip6``), with the length of the prefix, by card, of a machine all that its cards were given; *reservations* are what
    networks keep for it since we told them to; *restored* is the backup that it came out of; *presets* is what was known of the system in its
    image; *backed_up* are the mounts, by name, that are in its backups; *holds* is the guest that is held still by us while it is. *files* are
    what a machine remembers beside its disks and we made, by its name (``_vm.firmware``). *quarantine*: it is a guest that was deleted.
    *returned* is the record of such a one that it was taken back from.
    """

    __slots__ = (
        "addresses",
        "addresses6",
        "backed_up",
        "due_power",
        "exists",
        "files",
        "holds",
        "idmap",
        "image",
        "install",
        "is_building",
        "kind",
        "macs",
        "names",
        "options",
        "origin",
        "presets",
        "quarantine",
        "reservations",
        "restored",
        "returned",
        "reverting",
        "run",
        "snapshots",
        "ssh_keys",
        "unplugged",
        "uuid",
        "volumes",
    )

    def __init__(
        self,
        *,
        exists: bool = False,
        kind: str = "",
        is_building: bool = False,
        uuid: str | None = None,
        image: str | None = None,
        volumes: t.Mapping[str, RecordedVolume] | None = None,
        macs: t.Mapping[str, str] | None = None,
        names: Names | None = None,
        unplugged: t.Mapping[str, str] | None = None,
        idmap: tuple[int, int] | None = None,
        ssh_keys: tuple[str, ...] = (),
        options: Data | None = None,
        due_power: str | None = None,
        run: Run | None = None,
        snapshots: t.Mapping[str, Snapshot] | None = None,
        reverting: Revert | None = None,
        origin: Origin | None = None,
        holds: str | None = None,
        files: t.Mapping[str, RecordedFile] | None = None,
        addresses: t.Mapping[str, str] | None = None,
        addresses6: t.Mapping[str, str] | None = None,
        reservations: tuple[Reserved, ...] = (),
        presets: Presets | None = None,
        install: Installation | None = None,
        quarantine: Quarantine | None = None,
        returned: str | None = None,
        restored: Restored | None = None,
        backed_up: tuple[str, ...] = (),
    ) -> None:
        self.backed_up = backed_up
        self.quarantine = quarantine
        self.returned = returned
        self.reservations = reservations
        self.restored = restored
        self.install = install
        self.addresses: t.Mapping[str, str] = addresses or {}
        self.addresses6: t.Mapping[str, str] = addresses6 or {}
        self.exists = exists
        self.kind = kind
        self.is_building = is_building
        self.uuid = uuid
        self.image = image
        self.volumes: t.Mapping[str, RecordedVolume] = volumes or {}
        self.macs: t.Mapping[str, str] = macs or {}
        self.names: Names = names or {}
        self.unplugged: t.Mapping[str, str] = unplugged or {}
        self.idmap = idmap
        self.ssh_keys = ssh_keys
        self.options: Data = options or {}
        self.due_power = due_power
        self.run = run
        self.snapshots: t.Mapping[str, Snapshot] = snapshots or {}
        self.reverting = reverting
        self.origin = origin
        self.holds = holds
        self.files: t.Mapping[str, RecordedFile] = files or {}
        self.presets = presets or Presets()

    def replace(self, **changes: t.Any) -> GuestRecord:
        return GuestRecord(**{name: changes.get(name, getattr(self, name)) for name in self.__slots__})

    def volumes_with(self, new: t.Mapping[str, RecordedVolume]) -> dict[str, RecordedVolume]:
        """The volumes once there are the *new* ones. One that another pool keeps of an item of the same name is not forgotten."""
        kept = {}
        for name, recorded in self.volumes.items():
            item = name.partition(_ELSEWHERE)[0]
            its = new.get(item)
            if its is None:
                kept[name] = recorded
            elif its.volume != recorded.volume and not recorded.is_fresh:
                kept[f"{item}{_ELSEWHERE}{recorded.volume.pool}"] = recorded
        return {**kept, **new}

    def value(self, option: Option) -> t.Any:
        """The canonical value of an option that the record holds; its off value where the record says nothing."""
        found: t.Any = self.options
        for part in option.path.split("."):
            found = found.get(part) if isinstance(found, t.Mapping) else None
        if found is None:
            return option.off
        return tuple(found) if isinstance(found, list) else found

    def with_value(self, option: Option, value: t.Any) -> GuestRecord:
        """The record with another value of *option*. What is off is not written."""
        return self.replace(options=_with(self.options, option.path.split("."), value, option.off))


def _with(found: Data, path: t.Sequence[str], value: t.Any, off: t.Any) -> dict[str, t.Any]:
    """*found* with *value* at *path*, without folders that hold nothing."""
    key, *rest = path
    if rest:
        its = found.get(key)
        value, off = _with(its if isinstance(its, t.Mapping) else {}, rest, value, off), {}
    kept = {name: its for name, its in found.items() if name != key}
    return kept if value == off else {**kept, key: list(value) if isinstance(value, tuple) else value}


# What is kept by the name of an item.
_FOLDERS = (
    "addresses",
    "addresses6",
    "volumes",
    "macs",
    "names",
    "unplugged",
    "startup",
    "backup",
    "snapshots",
    "reverting",
    "origin",
    "files",
    "presets",
    "install",
    "quarantine",
    "restored",
)
_LISTS = ("ssh_keys", "tags", "reservations", "backed_up")
_KEYS = frozenset(
    "kind building uuid image volumes macs names unplugged idmap ssh_keys due_power run snapshots reverting origin holds files schema "
    "addresses addresses6 presets reservations install quarantine returned restored backed_up".split()
)


def load(data: Data, *, exists: bool) -> GuestRecord:
    """The record of the JSON values *data*.

    :raises ObserveError: when a value has a form that no version writes.
    """
    try:
        for keys, kind in ((_FOLDERS, dict), (_LISTS, list)):
            for key in keys:
                _check_kind(key, data.get(key), kind)
        return _load(data, exists)
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise ObserveError(str(exc)) from exc


def _check_kind(key: str, value: t.Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{key} is no {kind.__name__}")


def _load(data: Data, exists: bool) -> GuestRecord:
    run, reverting, origin, install = data.get("run"), data.get("reverting"), data.get("origin"), data.get("install")
    return GuestRecord(
        exists=exists,
        kind=data.get("kind") or "",
        is_building=bool(data.get("building")),
        uuid=data.get("uuid"),
        image=data.get("image"),
        volumes={
            name: RecordedVolume(volumes.from_record(its), bool(its.get("fresh")))
            for name, its in (data.get("volumes") or {}).items()
        },
        macs=data.get("macs"),
        names=data.get("names"),
        unplugged=data.get("unplugged"),
        idmap=_load_idmap(data.get("idmap")),
        ssh_keys=tuple(data.get("ssh_keys") or ()),
        options={key: value for key, value in data.items() if key not in _KEYS},
        due_power=data.get("due_power"),
        run=_load_run(run) if run else None,
        snapshots={name: _load_snapshot(its) for name, its in (data.get("snapshots") or {}).items()},
        reverting=Revert(str(reverting["target"]), str(reverting["aside"])) if reverting else None,
        origin=load_origin(origin) if origin else None,
        holds=data.get("holds"),
        files={
            name: RecordedFile(str(its["path"]), bool(its.get("fresh")))
            for name, its in (data.get("files") or {}).items()
        },
        addresses=data.get("addresses"),
        addresses6=data.get("addresses6"),
        reservations=tuple(
            Reserved(str(its["bridge"]), str(its["mac"]), str(its["ip"])) for its in data.get("reservations") or ()
        ),
        presets=from_record(data.get("presets") or {}),
        install=installing.load(install) if install else None,
        quarantine=_load_quarantine(data["quarantine"]) if data.get("quarantine") else None,
        returned=data.get("returned"),
        restored=_load_restored(data.get("restored")),
        backed_up=tuple(map(str, data.get("backed_up") or ())),
    )


def _load_quarantine(data: Data) -> Quarantine:
    return Quarantine(
        guest=str(data["guest"]),
        since=float(data["since"]),
        until=float(data["until"]),
        definition=str(data.get("definition") or ""),
        is_autostarted=bool(data.get("autostart")),
        record=dict(data["record"]),
        is_begun=bool(data.get("begun")),
    )


def _load_restored(data: Data | None) -> Restored | None:
    if not data:
        return None
    return Restored(str(data["repository"]), str(data["backup"]), str(data["guest"]), float(data["made"]))


def load_origin(data: Data) -> Origin:
    """What the JSON values *data* say of the origin of a guest."""
    return Origin(str(data["guest"]), data.get("snapshot"), bool(data.get("linked")))


def _load_idmap(idmap: Data | None) -> tuple[int, int] | None:
    return (int(idmap["start"]), int(idmap["count"])) if idmap else None


def _load_snapshot(data: Data) -> Snapshot:
    return Snapshot(
        created=float(data["created"]),
        volumes={item: volumes.from_record(its) for item, its in data["volumes"].items()},
        consistency=str(data["consistency"]),
        idmap=_load_idmap(data.get("idmap")),
        is_building=bool(data.get("building")),
        is_held=bool(data.get("held")),
        beside=tuple(data.get("beside") or ()),
        nvram=str(data.get("nvram") or ""),
    )


def _load_run(run: Data) -> Run:
    balloon = run.get("balloon")
    asked = (int(balloon["requested"]), int(balloon["before"])) if balloon else None
    order = run.get("order")
    return Run(
        int(run["pid"]),
        int(run["start"]),
        tuple(run.get("declined") or ()),
        asked,
        None if order is None else tuple(map(str, order)),
    )


def dump(record: GuestRecord) -> dict[str, t.Any]:
    """The JSON values of *record*; ``None`` for what it does not hold."""
    return {
        "kind": record.kind or None,
        "building": record.is_building or None,
        "uuid": record.uuid,
        "image": record.image,
        "volumes": {name: _dump_volume(its) for name, its in record.volumes.items()} or None,
        "macs": dict(record.macs) or None,
        "addresses": dict(record.addresses) or None,
        "addresses6": dict(record.addresses6) or None,
        "reservations": [its._asdict() for its in record.reservations] or None,
        "names": {area: dict(its) for area, its in record.names.items() if its} or None,
        "unplugged": dict(record.unplugged) or None,
        "idmap": _dump_idmap(record.idmap),
        "ssh_keys": list(record.ssh_keys) or None,
        "due_power": record.due_power,
        "run": _dump_run(record.run) if record.run else None,
        "snapshots": {name: _dump_snapshot(its) for name, its in record.snapshots.items()} or None,
        "reverting": record.reverting._asdict() if record.reverting else None,
        "origin": _dump_origin(record.origin) if record.origin else None,
        "holds": record.holds,
        "backed_up": list(record.backed_up) or None,
        "files": {name: _dump_file(its) for name, its in record.files.items()} or None,
        "presets": record.presets.known() or None,
        "install": installing.dump(record.install) if record.install else None,
        "quarantine": _dump_quarantine(record.quarantine) if record.quarantine else None,
        "returned": record.returned,
        "restored": record.restored._asdict() if record.restored else None,
        **record.options,
    }


def _dump_quarantine(its: Quarantine) -> dict[str, t.Any]:
    told = {
        "guest": its.guest,
        "since": its.since,
        "until": its.until,
        "definition": its.definition,
        "autostart": its.is_autostarted,
        "record": dict(its.record),
        "begun": its.is_begun,
    }
    return {key: value for key, value in told.items() if value or key == "record"}


def _dump_volume(volume: RecordedVolume) -> dict[str, t.Any]:
    return {**volumes.to_record(volume.volume), **({"fresh": True} if volume.is_fresh else {})}


def _dump_file(file: RecordedFile) -> dict[str, t.Any]:
    return {"path": file.path, **({"fresh": True} if file.is_fresh else {})}


def _dump_idmap(idmap: tuple[int, int] | None) -> dict[str, int] | None:
    return {"start": idmap[0], "count": idmap[1]} if idmap else None


def _dump_snapshot(snapshot: Snapshot) -> dict[str, t.Any]:
    told = {
        "created": snapshot.created,
        "volumes": {item: volumes.to_record(volume) for item, volume in snapshot.volumes.items()},
        "consistency": snapshot.consistency,
        "idmap": _dump_idmap(snapshot.idmap),
        "building": snapshot.is_building,
        "held": snapshot.is_held,
        "beside": list(snapshot.beside),
        "nvram": snapshot.nvram,
    }
    return {key: value for key, value in told.items() if value}


def _dump_origin(origin: Origin) -> dict[str, t.Any]:
    told = {"guest": origin.guest, "snapshot": origin.snapshot, "linked": origin.is_linked}
    return {key: value for key, value in told.items() if value}


def _dump_run(run: Run) -> dict[str, t.Any]:
    told: dict[str, t.Any] = {"pid": run.pid, "start": run.start}
    if run.declined:
        told["declined"] = list(run.declined)
    if run.balloon:
        told["balloon"] = {"requested": run.balloon[0], "before": run.balloon[1]}
    if run.order is not None:
        told["order"] = list(run.order)
    return told
