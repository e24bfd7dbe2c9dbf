# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of a guest, normalised. Which options there are, its kind says."""

from __future__ import annotations

import typing as t

from .._core.errors import SpecError
from .._core.options import Item, Options, Params
from .options import SYNONYMS

Items = t.Mapping[str, tuple[Item, ...]]
SpecT = t.TypeVar("SpecT", bound="GuestSpec")


class GuestSpec:
    """A guest as declared.

    *values* has what was written by option path (``cpu.cores``), canonical: memory in KiB, sizes in bytes, lists as tuples;
    options of the run (``wait_timeout``, in seconds) among them. *lists* has the items of the keyed lists that were written
    (``networks``, ``disks``, ``mounts``). *unset* are option paths.
    """

    __slots__ = ("lists", "name", "state", "unset", "values")

    def __init__(
        self,
        name: str,
        state: str = "present",
        values: t.Mapping[str, t.Any] | None = None,
        lists: Items | None = None,
        unset: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.state = state
        self.values: t.Mapping[str, t.Any] = values if values is not None else {}
        self.lists: Items = lists if lists is not None else {}
        self.unset = unset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GuestSpec) and all(
            getattr(self, name) == getattr(other, name) for name in GuestSpec.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # its values are a dictionary

    def replace(self, **changes: t.Any) -> t.Self:
        """The same guest with other *name*, *state*, *values*, *lists* or *unset*."""
        return type(self)(**{name: changes.get(name, getattr(self, name)) for name in GuestSpec.__slots__})

    def get(self, path: str, default: t.Any = None) -> t.Any:
        """The declared value of an option that is no part of a list."""
        return self.values.get(path, default)

    def items(self, area: str) -> tuple[Item, ...]:
        """The declared items of a keyed list, those that shall go (not *is_wanted*) among them."""
        return self.lists.get(area, ())

    def wanted(self, area: str) -> tuple[Item, ...]:
        return tuple(item for item in self.lists.get(area, ()) if item.is_wanted)

    def item(self, area: str, name: str) -> Item | None:
        return next((item for item in self.lists.get(area, ()) if item.name == name), None)

    def words(self, path: str) -> tuple[str, ...]:
        """``allow``, ``delete``, ``exact`` or ``wait_for``: empty where nothing was written."""
        return t.cast("tuple[str, ...]", self.values.get(path) or ())

    @property
    def cores_path(self) -> str:
        """How the user writes the number of CPUs."""
        return "vcpus" if "vcpus" in self.values else "cpu.cores"

    @property
    def image(self) -> str | None:
        return t.cast("str | None", self.values.get("image"))

    @property
    def origin(self) -> str | None:
        """The guest that it is cloned from."""
        return t.cast("str | None", self.values.get("clone_from.guest"))

    @property
    def allow(self) -> tuple[str, ...]:
        return self.words("allow")

    @property
    def delete(self) -> tuple[str, ...]:
        return self.words("delete")

    @property
    def quarantine(self) -> bool | None:
        return t.cast("bool | None", self.values.get("quarantine"))

    def sources(self, *areas: str) -> list[str]:
        """The paths of the host that the wanted items of *areas* name."""
        found = (item.text("source") for area in areas for item in self.wanted(area))
        return [*dict.fromkeys(path for path in found if path and path.startswith("/"))]

    @property
    def exact(self) -> tuple[str, ...]:
        return self.words("exact")

    @property
    def wait_for(self) -> tuple[str, ...]:
        return self.words("wait_for")

    @property
    def wait_timeout(self) -> int:
        return t.cast(int, self.values.get("wait_timeout", 300))

    @property
    def shutdown_timeout(self) -> int:
        return t.cast(int, self.values.get("shutdown_timeout", 60))

    @property
    def force_stop(self) -> bool:
        return bool(self.values.get("force_stop"))

    @property
    def restart_policy(self) -> str:
        return t.cast(str, self.values.get("restart_policy", "never"))


def parse_guest(
    options: Options, params: Params, *, check_guest_name: t.Callable[[str, t.Any], t.Any], spec: type[SpecT]
) -> SpecT:
    """The declared guest from a module's parameters: what both kinds have in common is checked here.

    :raises SpecError:
    """
    name = check_guest_name("name", params["name"])
    declared = options.parse({key: value for key, value in params.items() if key not in ("name", "unset")})
    values = declared.values
    state = values.pop("state", "present")
    if "vcpus" in values and "cpu.cores" in values:
        raise SpecError("vcpus: cpu.cores is written too. They are the same: write one of the two", key="vcpus")
    if values.get("template"):
        _check_template(state, values)
    if any(path.startswith("clone_from.") for path in values):
        _check_origin(name, values)
    _check_backup(values)
    for area in values.get("exact") or ():
        if area not in declared.items:
            raise SpecError(f"exact: {area} is not written. Write {area}: [] to take all of them away", key="exact")
    macs = [item.get("mac") for item in declared.items.get("networks", ()) if item.is_wanted and item.get("mac")]
    if len(set(macs)) != len(macs):
        raise SpecError("networks: a mac is there twice", key="networks")
    unset = options.check_unset(params.get("unset") or (), declared)
    return spec(name, SYNONYMS.get(state, state), values, declared.items, unset)


def _check_backup(values: t.Mapping[str, t.Any]) -> None:
    for path in values.get("backup.data_paths") or ():
        for left_out in values.get("backup.exclude") or ():
            if f"{path}/".startswith(f"{left_out}/"):
                raise SpecError(
                    f"backup.exclude: {left_out} would leave {path} out, and backup.data_paths says that it has to be in a backup",
                    key="backup.exclude",
                )


def _check_template(state: str, values: t.Mapping[str, t.Any]) -> None:
    if SYNONYMS.get(state, state) not in ("present", "stopped", "absent"):
        raise SpecError(f"state: a template is not {state}. It is what guests are cloned from", key="state")
    if values.get("autostart"):
        raise SpecError("autostart: a template does not start with the host", key="autostart")


def _check_origin(name: str, values: t.Mapping[str, t.Any]) -> None:
    origin = values.get("clone_from.guest")
    if origin is None:
        raise SpecError("clone_from.guest: is needed: the guest that is cloned", key="clone_from.guest")
    if origin == name:
        raise SpecError(f"clone_from.guest: {name} cannot be cloned from itself", key="clone_from.guest")
    if "image" in values:
        raise SpecError("clone_from: image is written too. A guest is made of one of the two", key="clone_from")
