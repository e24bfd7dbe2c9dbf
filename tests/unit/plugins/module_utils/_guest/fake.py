# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of guest on paper: the options that both kinds share, and a backend that says what it was asked to do."""

from __future__ import annotations

import typing as t

from ansible_collections.homelab.hybrid.plugins.module_utils._core import record as records
from ansible_collections.homelab.hybrid.plugins.module_utils._core.options import (
    INSIDE,
    SEED,
    VOLUME,
    Option,
    Options,
    as_written,
    grows,
)
from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import Change, Step
from ansible_collections.homelab.hybrid.plugins.module_utils._guest import options as guest
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.ownership import Ownership
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.plan import Kind
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.record import RecordedVolume
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.spec import GuestSpec, parse_guest
from ansible_collections.homelab.hybrid.plugins.module_utils._guest.state import GuestState, Side
from ansible_collections.homelab.hybrid.plugins.module_utils._storage.volume import Volume

OPTIONS = Options(
    guest.NAMED,
    guest.STATE.but(choices=(*guest.STATES, "suspended")),
    guest.DESCRIPTION,
    guest.TAGS,
    guest.PROTECTION,
    guest.TEMPLATE,
    guest.AUTOSTART,
    *guest.STARTUP,
    guest.MEMORY,
    guest.IMAGE,
    Option("files", off="", home=SEED),
    Option("disk", home=VOLUME, live=grows),
    Option("resolver", off="", home=INSIDE, live=as_written),
    guest.NETWORK,
    guest.BRIDGE,
    guest.NETWORK_VLAN,
    guest.NETWORK_MAC,
    guest.NETWORK_MTU,
    guest.words("allow", ("adopt",)),
    guest.words("delete", ("volumes",)),
    guest.words("exact", ("networks",)),
    guest.RESTART_POLICY,
)


class Card:
    """A network card that stands."""

    def __init__(self, alias: str | None = None, mac: str = "52:54:00:00:00:01", bridge: str = "br0", **keys: t.Any):
        self.alias = alias
        self.ident = mac
        self.marks = (mac,)
        self.hints = (bridge,)
        self.values = {"mac": mac, "bridge": bridge, "vlan": 0, "mtu": 0, **keys}

    def value(self, key: str) -> t.Any:
        return self.values[key]

    def is_known_by(self, ident: str) -> bool:
        return ident == self.ident


class PaperKind(Kind):
    word = "paper"
    options = OPTIONS
    areas = ("networks",)
    mac_prefix = "52:54:00"

    def created(self) -> GuestSpec:
        return self.spec.replace(values=OPTIONS.created(self.spec.values))

    def shown(self, area: str, thing: t.Any) -> t.Any:
        return {"mac": thing.value("mac")}

    def volume_path(self, name: str) -> str:
        return f"volumes[{name}]"

    def deleted_by(self, name: str) -> tuple[str, ...]:
        return ("volumes",)


def declared(**params: t.Any) -> GuestSpec:
    return parse_guest(OPTIONS, {"name": "web", **params}, check_guest_name=lambda key, name: name, spec=GuestSpec)


def side(cards: dict[str, Card] | None = None, **values: t.Any) -> Side:
    known = {"description": "", "autostart": False, "memory": 1 << 20, "files": "", "disk": 1, "resolver": ""}
    return Side({**known, **values}, {"networks": cards if cards is not None else {"lan": Card("lan")}})


def stopped(persistent: Side | None = None, **keys: t.Any) -> GuestState:
    return GuestState(**{"power": "stopped", "exists": True, "persistent": persistent or side(), **keys})


def running(persistent: Side | None = None, live: Side | None = None, **keys: t.Any) -> GuestState:
    return stopped(persistent, **{"power": "started", "live": live or persistent or side(), **keys})


class File(records.Record):
    """A record that is nowhere. *written* counts how often it was."""

    written = 0

    def save(self, **changes: t.Any) -> None:
        self.written += 1
        self.data = {key: value for key, value in {**self.data, **changes}.items() if value is not None}
        self.exists = True

    def remove(self) -> None:
        self.exists, self.data = False, {}


class PaperBackend:
    """Notes what it is asked for in *asked*, and fails at the call number *fails_at*."""

    word = "paper"
    options = OPTIONS

    def __init__(self, fails_at: int = 0, data: dict[str, t.Any] | None = None) -> None:
        self.file = File("guests", "web", data)
        self.own = Ownership(self.file)
        self.asked: list[str] = []
        self.fails_at = fails_at
        self.has_failed = False
        self.has_seed = True

    def _ask(self, what: str) -> None:
        if len(self.asked) + 1 == self.fails_at:
            self.has_failed = True
            raise OSError(what)
        self.asked.append(what)

    def claims(self, *, is_final: bool) -> dict[str, t.Any]:
        self._ask(f"claims {'final' if is_final else 'first'}")
        return {"volumes": {"root": RecordedVolume(Volume("main", "web.root", "block"), not is_final)}}

    def clear(self) -> t.Iterator[Step]:
        self._ask("clear")
        yield Step("cleared")

    def stop(self) -> None:
        self._ask("stop")

    def start(self) -> None:
        self._ask("start")

    def switch(self, now: str, target: str) -> None:
        self._ask(f"switch {now} {target}")

    def detach(self, change: Change) -> None:
        self._ask(f"detach {change.path}")

    def attach(self, change: Change) -> None:
        self._ask(f"attach {change.path}")

    def change_live(self, change: Change) -> None:
        self._ask(f"live {change.path}")

    def make_volumes(self) -> t.Iterator[Step]:
        self._ask("volumes")
        yield Step("volume made")

    def resize(self, change: Change) -> None:
        self._ask(f"resize {change.path}")

    def protect(self, *, is_read_only: bool) -> None:
        self._ask(f"protect {is_read_only}")

    def write_files(self, changes: t.Sequence[Change]) -> t.Iterator[Step]:
        if changes:
            self._ask("files")
            yield Step("files written")

    def has_files_plugged_in(self) -> bool:
        return self.has_seed

    def write_definition(self) -> bool:
        self._ask("definition")
        return True

    def set_flag(self, change: Change) -> None:
        self._ask(f"flag {change.path}")

    def settle_addresses(self) -> t.Iterator[Step]:
        yield from ()

    def free_addresses(self) -> t.Iterator[Step]:
        yield from ()

    def stop_for_good(self) -> None:
        self._ask("stop for good")

    def undefine(self) -> None:
        self._ask("undefine")

    def remove_volume(self, name: str) -> None:
        self._ask(f"remove {name}")
