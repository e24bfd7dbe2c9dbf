# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What a resource lays claim to on its host, so that a layout can compare resources whose insides it does not know."""

from __future__ import annotations

import contextlib
import ipaddress
import typing as t

# Where an address must be alone, and the address.
Address = tuple[str, str]
# A network, and whether the run makes or changes it.
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007  # the Python 3.9 of ansible-test has no | of types
Subnet = tuple[Network, bool]


class Reservation(t.NamedTuple):
    """An address that is kept for whoever has *mac*; *name* says what keeps it. Without a MAC it is kept for a name."""

    name: str
    mac: str
    address: Address


class Space(t.NamedTuple):
    """What is made in *pool*, or grows there, by *size_bytes*. *name* is that of a part, empty for the resource as a whole.

    *is_shared*: all that name it make it once.
    """

    name: str
    pool: str
    size_bytes: int
    is_shared: bool = False


class Room(t.NamedTuple):
    """The file system *place* in which things can be made, with what is free there."""

    place: str
    free_bytes: int


class Claims:
    """What one resource lays claim to.

    *macs* are lower case, *addresses* and *reservations* fixed. *memory_kib* is what it may take at most, 0 for a resource
    that has no limit. *space* is what a run makes, *room* what a pool offers. *folders* may be those of one resource only.
    *paths* and *links* are its own on the host, and go or stay with it. *users* are the guests that stand on it, by name.
    *disks* are files and devices that it alone may write, by what they lead to with how they are written, *devices* those of the
    host that it alone has, *shared_devices* those that others of which that holds have too.
    *is_made*: this collection made it.
    """

    __slots__ = (
        "addresses",
        "devices",
        "disks",
        "folders",
        "is_made",
        "links",
        "macs",
        "memory_kib",
        "paths",
        "reservations",
        "room",
        "shared_devices",
        "space",
        "subnets",
        "users",
    )

    def __init__(
        self,
        *,
        macs: t.Iterable[str] = (),
        addresses: t.Iterable[Address] = (),
        reservations: t.Sequence[Reservation] = (),
        subnets: t.Sequence[Subnet] = (),
        memory_kib: int = 0,
        space: t.Sequence[Space] = (),
        room: Room | None = None,
        folders: t.Iterable[str] = (),
        disks: t.Mapping[t.Hashable, str] | None = None,
        devices: t.Mapping[t.Hashable, str] | None = None,
        shared_devices: t.Mapping[t.Hashable, str] | None = None,
        paths: t.Iterable[str] = (),
        links: t.Iterable[str] = (),
        users: t.Iterable[str] = (),
        is_made: bool = False,
    ) -> None:
        self.macs = frozenset(macs)
        self.addresses = frozenset(addresses)
        self.reservations = tuple(reservations)
        self.subnets = tuple(subnets)
        self.memory_kib = memory_kib
        self.space = tuple(space)
        self.room = room
        self.folders = frozenset(folders)
        self.disks: t.Mapping[t.Hashable, str] = disks or {}
        self.devices: t.Mapping[t.Hashable, str] = devices or {}
        self.shared_devices: t.Mapping[t.Hashable, str] = shared_devices or {}
        self.paths = frozenset(paths)
        self.links = frozenset(links)
        self.users = frozenset(users)
        self.is_made = is_made

    def __repr__(self) -> str:
        told = {name: getattr(self, name) for name in self.__slots__}
        return f"Claims({', '.join(f'{name}={value!r}' for name, value in told.items() if value)})"


NOTHING = Claims()


def addresses_in(*texts: str | None) -> list[str]:
    """The IP addresses of *texts* (``10.0.0.1/24``, also with a broadcast address behind it), without those that are none."""
    found = []
    for text in texts:
        address = (text or "").partition(" ")[0].partition("/")[0]
        # Most that is written here is an address, or nothing, or a word such as dhcp.
        if "." in address or ":" in address:
            with contextlib.suppress(ValueError):
                found.append(str(ipaddress.ip_address(address)))
    return found
