# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a TrueNAS has to be told so that it becomes as it was written: only what was written is compared, and nothing is taken away.

The names of methods and fields are those of the API of TrueNAS (its versions 25.04 to 26).
"""

from __future__ import annotations

import typing as t

from .._core.errors import RefusedError, SpecError
from .._core.units import parse_size

Values = t.Mapping[str, t.Any]
Entries = t.Sequence[Values]

SECRET = "(secret)"
# What only a new one is told.
_OF_NEW_DATASETS = (
    "name type share_type encryption encryption_options inherit_encryption casesensitivity volblocksize sparse force_size create_ancestors"
).split()
_FLAGS = ("encryption", "inherit_encryption", "sparse", "force_size", "create_ancestors")
_SIZES = ("quota", "refquota", "reservation", "refreservation", "volsize")
_OF_NEW_USERS = ("username", "password", "uid", "group_create", "home_create", "home_mode", "random_password")
_GROUPS = ("group", "groups")
_VDEVS = ("data", "special", "dedup", "cache", "log")
_SPARES = "spares"
_RUNS = "RUNNING"


class Call(t.NamedTuple):
    """A call of *method*. *says* is what it does, in words; *is_job*: it goes on behind the answer."""

    says: str
    method: str
    params: tuple[t.Any, ...]
    is_job: bool = False
    before: t.Any = None
    after: t.Any = None


# ---- pools ----------------------------------------------------------------------------------------------------------------------


def serials_of(pool: Values) -> list[str]:
    """The serials of the disks that *pool* is made of."""
    topology = pool.get("topology") or {}
    found = [str(serial) for kind in _VDEVS for vdev in topology.get(kind) or () for serial in vdev.get("disks") or ()]
    return found + [str(serial) for serial in topology.get(_SPARES) or ()]


def pool_calls(wanted: Entries, pools: Entries, disks: Entries) -> list[Call]:
    """The pools to make and to import. One that is there is left: with other disks than those that are written it is refused.

    :raises RefusedError: also for a disk that something is on: nothing is ever overwritten.
    """
    there = {str(pool["name"]) for pool in pools}
    calls = []
    for pool in wanted:
        name, serials = str(pool["name"]), serials_of(pool)
        if not serials and name in there:
            continue
        found = {serial: _disk(name, serial, disks) for serial in _different(name, serials)}
        if name in there:
            _check_same(name, serials, {str(disk["serial"]) for disk in disks if disk.get("imported_zpool") == name})
            continue
        if not serials:
            raise SpecError(f"pools[{name}].topology: is needed: there is no such pool yet")
        on_them = {disk.get("exported_zpool") for disk in found.values()}
        if on_them == {name}:
            whole = {str(disk["serial"]) for disk in disks if disk.get("exported_zpool") == name}
            _check_same(name, serials, whole)
            calls.append(Call(f"pool {name}: imported from its disks", "pool.import_pool", (name,), is_job=True))
            continue
        for serial, disk in found.items():
            if why := _in_use(disk):
                raise RefusedError(
                    f"pools[{name}]: the disk {disk['name']} (serial {serial}) {why}. Nothing is overwritten: take another one, or empty it on "
                    "the pages of TrueNAS"
                )
        names = {serial: str(disk["name"]) for serial, disk in found.items()}
        made = {**pool, "topology": _named(pool["topology"], names)}
        told = ", ".join(f"{names[serial]} ({serial})" for serial in serials)
        calls.append(
            Call(f"pool {name}: made of {told}", "pool.create", (made,), is_job=True, after=pool.get("topology"))
        )
    return calls


def _different(name: str, serials: t.Sequence[str]) -> t.Sequence[str]:
    twice = sorted({serial for serial in serials if serials.count(serial) > 1})
    if twice:
        raise SpecError(f"pools[{name}].topology: the disk with the serial {twice[0]} is written twice")
    return serials


def _disk(pool: str, serial: str, disks: Entries) -> Values:
    found = [disk for disk in disks if disk.get("serial") == serial]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(disk["name"]) for disk in found)
        raise RefusedError(
            f"pools[{pool}]: several disks have the serial {serial}: {names}. Give each its own by disks[].serial"
        )
    known = ", ".join(sorted(str(disk.get("serial")) for disk in disks)) or "none"
    raise RefusedError(f"pools[{pool}]: no disk has the serial {serial}. There are: {known}")


def _check_same(name: str, serials: t.Sequence[str], there: t.Collection[str]) -> None:
    if set(serials) != set(there):
        raise RefusedError(
            f"pools[{name}]: it is there with the disks {', '.join(sorted(there)) or 'none'}, and not with {', '.join(sorted(serials))}. "
            "A pool that is there is left as it is: change it on the pages of TrueNAS, and write it here"
        )


def _in_use(disk: Values) -> str | None:
    for key, what in (("imported_zpool", "is in the pool"), ("exported_zpool", "has the pool")):
        if disk.get(key):
            return f"{what} {disk[key]}"
    return "has partitions" if disk.get("partitions") else None


def _named(topology: Values, names: t.Mapping[str, str]) -> dict[str, t.Any]:
    """*topology* with the names that its disks have now in the place of their serials."""
    made: dict[str, t.Any] = {}
    for kind, vdevs in topology.items():
        if kind == _SPARES:
            made[kind] = [names[str(serial)] for serial in vdevs]
        else:
            made[kind] = [{**vdev, "disks": [names[str(serial)] for serial in vdev["disks"]]} for vdev in vdevs]
    return made


# ---- datasets -------------------------------------------------------------------------------------------------------------------


def dataset_calls(wanted: Entries, datasets: Entries) -> list[Call]:
    """The datasets to make and to change. The one of a pool itself comes with it."""
    there = {str(entry["id"]): entry for entry in datasets}
    calls = []
    for item in wanted:
        name, values = str(item["name"]), {key: _dataset_value(key, value) for key, value in item.items()}
        entry = there.get(name)
        if entry is None and "/" in name:
            calls.append(Call(f"dataset {name}: made", "pool.dataset.create", (values,), after=values))
            continue
        known = {
            key: _property(entry or {}, key, value) for key, value in values.items() if key not in _OF_NEW_DATASETS
        }
        changed = {key: values[key] for key, now in known.items() if not _is_same_property(key, values[key], now)}
        if changed:
            before = {key: known[key][0] for key in changed}
            says = f"dataset {name}: {', '.join(changed)}"
            calls.append(Call(says, "pool.dataset.update", (name, changed), before=before, after=changed))
    return calls


def _dataset_value(key: str, value: t.Any) -> t.Any:
    # YAML makes a truth of ON and OFF.
    if isinstance(value, bool) and key not in _FLAGS:
        return "ON" if value else "OFF"
    return parse_size(key, value, unit=1) if key in _SIZES and isinstance(value, str) else value


def _property(entry: Values, key: str, wanted: t.Any) -> tuple[t.Any, bool]:
    """The value of a property, and whether it is its own."""
    its = entry.get(key)
    if not isinstance(its, t.Mapping):
        return its, its is not None
    value = its.get("parsed") if isinstance(wanted, int) else its.get("value")
    return value, its.get("source") not in ("INHERITED", "DEFAULT", "NONE", None)


def _is_same_property(key: str, wanted: t.Any, now: tuple[t.Any, bool]) -> bool:
    value, is_own = now
    if wanted == "INHERIT":
        return not is_own
    if key in _SIZES:
        return int(value or 0) == int(wanted or 0)
    if key == "comments":
        return str(value or "") == str(wanted)
    return str(value).upper() == str(wanted).upper()


# ---- shares, users, services ----------------------------------------------------------------------------------------------------


def share_calls(kind: str, wanted: Entries, shares: Entries) -> list[Call]:
    """The shares of *kind* (``smb``, known by their names, or ``nfs``, known by their paths) to make and to change."""
    known_by = "name" if kind == "smb" else "path"
    there = {str(entry[known_by]): entry for entry in shares}
    calls = []
    for item in wanted:
        name = str(item[known_by])
        entry = there.get(name)
        if entry is None:
            calls.append(Call(f"{kind} share {name}: made", f"sharing.{kind}.create", (dict(item),), after=dict(item)))
            continue
        changed = {key: value for key, value in item.items() if not _is_same(value, entry.get(key))}
        if not changed:
            continue
        told = dict(changed)
        if "options" in told:
            # What is told of them stands for all of them, and depends on the purpose.
            told["options"] = {**(entry.get("options") or {}), **told["options"]}
            told.setdefault("purpose", item.get("purpose", entry.get("purpose")))
        before = {key: entry.get(key) for key in changed}
        says = f"{kind} share {name}: {', '.join(changed)}"
        calls.append(Call(says, f"sharing.{kind}.update", (entry["id"], told), before=before, after=changed))
    return calls


def user_calls(
    wanted: Entries, users: Entries, groups: Entries, has_password: t.Callable[[str, str], bool]
) -> list[Call]:
    """The users to make and to change. *has_password* tells whether a user was given a password here, which nobody can read back."""
    there = {str(entry["username"]): entry for entry in users}
    numbers = {str(group["name"]): group["id"] for group in groups}
    calls = []
    for item in wanted:
        name = str(item["username"])
        values = {key: _in_numbers(name, key, value, numbers) for key, value in item.items()}
        entry = there.get(name)
        if entry is None:
            made = {"full_name": name, **({} if "group" in values else {"group_create": True}), **values}
            calls.append(Call(f"user {name}: made", "user.create", (made,), after=_shown(made)))
            continue
        now = {**entry, "group": (entry.get("group") or {}).get("id")}
        changed = {
            key: value
            for key, value in values.items()
            if key not in _OF_NEW_USERS and not _is_same(value, now.get(key))
        }
        if values.get("password") and not has_password(name, str(values["password"])):
            changed["password"] = values["password"]
        if changed:
            before = _shown({key: now.get(key) for key in changed})
            says = f"user {name}: {', '.join(changed)}"
            calls.append(Call(says, "user.update", (entry["id"], changed), before=before, after=_shown(changed)))
    return calls


def _in_numbers(user: str, key: str, value: t.Any, numbers: t.Mapping[str, t.Any]) -> t.Any:
    """Groups are known to the API by numbers that only it knows."""
    if key not in _GROUPS:
        return value
    names = [str(name) for name in (value if key == "groups" else [value])]
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise RefusedError(f"users[{user}].{key}: there is no group {unknown[0]}")
    found = [numbers[name] for name in names]
    return found if key == "groups" else found[0]


def _shown(values: Values) -> dict[str, t.Any]:
    return {key: SECRET if key == "password" else value for key, value in values.items()}


def service_calls(wanted: t.Mapping[str, bool], services: Entries) -> list[Call]:
    """The services to start, now and with the system, or to stop.

    :raises RefusedError: for one that there is not.
    """
    there = {str(entry["service"]): entry for entry in services}
    calls = []
    for name, runs in wanted.items():
        if name not in there:
            raise RefusedError(f"services.{name}: there is no such service. There are: {', '.join(sorted(there))}")
        entry = there[name]
        if bool(entry.get("enable")) != runs:
            says = f"service {name}: {'starts' if runs else 'does not start'} with the system"
            calls.append(
                Call(says, "service.update", (name, {"enable": runs}), before=bool(entry.get("enable")), after=runs)
            )
        if (entry.get("state") == _RUNS) != runs:
            verb = "START" if runs else "STOP"
            says = f"service {name}: {'started' if runs else 'stopped'}"
            calls.append(
                Call(says, "service.control", (verb, name, {}), is_job=True, before=entry.get("state"), after=verb)
            )
    return calls


def _is_same(wanted: t.Any, now: t.Any) -> bool:
    """Whether *now* has what is *wanted*; of a dictionary what is written, of a list the same items."""
    if isinstance(wanted, t.Mapping):
        return isinstance(now, t.Mapping) and all(_is_same(value, now.get(key)) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(now, (list, tuple)) and sorted(map(str, wanted)) == sorted(map(str, now))
    if isinstance(wanted, str):
        return wanted.strip() == str("" if now is None else now).strip()
    return bool(wanted == now)


def difference(calls: t.Iterable[Call]) -> dict[str, str]:
    """What Ansible shows with ``--diff``."""
    before: list[str] = []
    after: list[str] = []
    for call in calls:
        title, dummy, what = call.says.partition(": ")
        for lines, values in ((before, call.before), (after, call.after)):
            if isinstance(values, t.Mapping):
                lines += [f"{title}.{key}: {value}\n" for key, value in values.items()]
            elif values is not None or lines is after:
                lines.append(f"{title}: {what if values is None else values}\n")
    return {"before": "".join(before), "after": "".join(after)}
