# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a play is about: which hypervisors, with which of their guests, and in which order guests start and stop."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2.exceptions import UndefinedError

from . import _order
from ._guest_options import host_of, options_of, variables_of

Variables = t.Mapping[str, t.Any]
Told = dict[str, t.Any]

STATES = ("absent", "started", "stopped")
KINDS = ("vm", "container")
STARTUP = ("order", "up_delay", "down_delay")
# What else of its options a guest is told on its way to a state: how long it may take, and what may go with it.
WORDS = {
    "absent": ("shutdown_timeout", "force_stop", "delete", "quarantine"),
    "started": ("wait_for", "wait_timeout"),
    "stopped": ("shutdown_timeout", "force_stop"),
}
RUNNING = ("started", "paused")
# The lists of a guest whose items may name a path of its host as their source.
SOURCES = ("cdroms", "disks", "mounts", "shares")


class FleetError(AnsibleFilterError):
    """The inventory does not say what a guest is, or a name is none of its guests."""


def share(
    hostvars: t.Mapping[str, Variables],
    play: t.Iterable[str],
    guests: t.Sequence[str],
    hypervisors: t.Iterable[str],
    names: str | t.Collection[str] | None = None,
    left_out: t.Collection[str] = (),
) -> dict[str, Told]:
    """Who of the *play* does which part, in one pass over the inventory.

    A hypervisor that is in the play does all its guests. For one that is not, the first of its guests in the play does those
    that are: so a limit to a guest means that guest, and one to a hypervisor the whole host. With *names* only these guests,
    or a text of them with commas between, and in no case those that are *left_out*.
    Each part has the ``hypervisor``, the ``guests`` by name, and whether that is the whole host (``is_whole``). A guest of the play of which
    the inventory does not say where it lives has a part of its own, without a hypervisor and with the ``error``: it fails alone.

    :raises FleetError: for a name that is no guest or is beyond the play.
    """
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := sorted(set(names or ()) - set(guests)):
        raise FleetError(f"no guest of the inventory is called {', '.join(unknown)}")
    in_play = set(play)
    parts: dict[str, Told] = {
        host: {"hypervisor": host, "is_whole": True, "guests": []} for host in hypervisors if host in in_play
    }
    makers = {host: host for host in parts}
    for name in guests:
        hypervisor = variables_of(name, hostvars).get("guest_hypervisor")
        is_unwanted = name in left_out or (names is not None and name not in names)
        if is_unwanted or (name not in in_play and hypervisor not in parts):
            continue
        if hypervisor not in hostvars:
            error = f"{name}: guest_hypervisor is {hypervisor!r}, it must be a host of the inventory"
            parts[name] = {"hypervisor": None, "is_whole": False, "guests": [], "error": error}
            continue
        maker = makers.setdefault(str(hypervisor), name)
        part = parts.setdefault(maker, {"hypervisor": hypervisor, "is_whole": False, "guests": []})
        part["guests"].append(name)
    if names is None:
        return parts
    lost = {name for name, part in parts.items() if part["hypervisor"] is None}
    if beyond := sorted(set(names).difference(lost, *(part["guests"] for part in parts.values()))):
        raise FleetError(
            f"{', '.join(beyond)}: named, and not in this run. Neither it nor its hypervisor is in the limit"
        )
    return {maker: part for maker, part in parts.items() if part["guests"] or maker in lost}


def steps(
    names: t.Iterable[str],
    hostvars: t.Mapping[str, Variables],
    state: str,
    seen: t.Iterable[Variables] | None = None,
) -> Told:
    """What is to do to bring the guests *names* to *state*: the ``steps``, one for each order, by their ``rank``.

    They start from the lowest order to the highest and then those that have none, and stop the other way round. One that stands on what
    another guest serves (``wait_for_guest`` of ``hypervisor_mounts``) starts after that, and stops before it. *seen* are
    the guests that are there: one that is not, or that is as it should be, is in no step. Only a guest that shall run is started.
    What is taken away is one step, whatever is there: something may be kept of what is not.
    Each step has its lists for ``layout``, ``vms`` and ``containers``, with only those options that say how long a guest may take, what to
    wait for and what may be deleted; and as ``delay`` the longest of their ``up_delay`` or ``down_delay``, in seconds.

    A guest of which the inventory cannot be read is in no step and among the ``unread``, as a layout tells of one that failed; one that stops
    does so whatever is written of it.

    :raises FleetError: for another state.
    """
    if state not in STATES:
        raise FleetError(f"the state of a step is {state!r}; it must be one of {', '.join(STATES)}")
    there = {str(guest["name"]): guest for guest in seen or ()}

    @functools.cache
    def mounts_of(hypervisor: str) -> t.Any:
        return variables_of(hypervisor, hostvars).get("hypervisor_mounts") if hypervisor in hostvars else ()

    concerned: dict[str, tuple[Variables, _order.Startup, str]] = {}
    stands_on: dict[str, list[str]] = {}
    unread: list[Told] = []
    for name in names:
        now = there.get(name, {})
        try:
            options, startup, kind = read_guest(name, hostvars[name], host_of(hostvars[name], hostvars))
            sources = sources_of(options)
            stands_on[name] = servers_of(sources, mounts_of(hostvars[name].get("guest_hypervisor"))) if sources else []
        except (AnsibleError, UndefinedError) as exc:
            if state != "stopped":
                said = str(exc)
                word = str(now.get("kind") or hostvars[name].get("guest_kind"))
                unread.append(
                    {"kind": word, "name": name, "failed": True, "msg": said if name in said else f"{name}: {said}"}
                )
                continue
            options, startup, kind = {}, {}, str(now.get("kind"))
        if not is_concerned(state, now.get("state"), options):
            continue
        concerned[name] = options, startup, kind
    startups = {name: its[1] for name, its in concerned.items()}
    places = _order.places(startups, stands_on, stops=state == "stopped")
    found: dict[float, Told] = {}
    for name, (options, startup, kind) in concerned.items():
        order, further = (0, 0) if state == "absent" else places[name]
        # Further on than those of its order, and before those of the next.
        rank = order + further / 1000 if further else order
        step = found.setdefault(rank, {"rank": rank, "delay": 0, "vms": [], "containers": []})
        its = {key: options[key] for key in WORDS[state] if options.get(key) is not None}
        step[f"{kind}s"].append({"name": name, "state": state, **its})
        if state != "absent":
            step["delay"] = max(step["delay"], _order.delay([startup], stops=state == "stopped"))
    return {"steps": [found[rank] for rank in sorted(found)], "unread": unread}


def sources_of(options: Variables) -> list[str]:
    """The paths of its host that a guest with these *options* names."""
    items = (item for area in SOURCES for item in options.get(area) or ())
    sources = [str(item.get("source") or "") for item in items if isinstance(item, t.Mapping)]
    return [source for source in sources if source.startswith("/")]


def servers_of(sources: t.Iterable[str], mounts: t.Any) -> list[str]:
    """The guests that serve what lies at *sources* of a host, by its *mounts*."""
    return [
        str(mount["wait_for_guest"])
        for mount in mounts or ()
        if isinstance(mount, t.Mapping) and mount.get("wait_for_guest") and mount.get("path")
        if any(f"{source}/".startswith(f"{str(mount['path']).rstrip('/')}/") for source in sources)
    ]


def read_guest(name: str, variables: Variables, host: Variables) -> tuple[Variables, _order.Startup, str]:
    """The options of the guest *name*, when it starts and stops, and its kind.

    :raises AnsibleError, UndefinedError: for what cannot stand in inventory.
    """
    kind = variables.get("guest_kind")
    if kind not in KINDS:
        raise FleetError(f"{name}: guest_kind is {kind!r}, it must be one of {', '.join(KINDS)}")
    options = options_of(name, variables, host)
    return options, read_startup(name, options.get("startup")), kind


def is_concerned(state: str, now: str | None, options: Variables) -> bool:
    """Whether a guest that is *now* has a step to *state* before it."""
    if state == "absent":
        return True
    if state == "stopped":
        return now in RUNNING
    return now is not None and now != "started" and shall_run(options)


def shall_run(options: Variables) -> bool:
    """Whether the inventory wants the guest to run; one whose power it leaves open runs where it starts with the host."""
    state = options["state"]
    return state in ("started", "running", "restarted") or (state == "present" and bool(options.get("autostart")))


def read_startup(name: str, written: t.Any) -> _order.Startup:
    """When the guest starts and stops among the others: whole numbers, each optional.

    :raises FleetError:
    """
    if written is None:
        return {}
    if not isinstance(written, t.Mapping) or not set(written) <= set(STARTUP):
        raise FleetError(f"startup of {name}: must be a dictionary of {', '.join(STARTUP)}, not {written!r}")
    found: dict[str, int] = {}
    for key, value in written.items():
        if value is None:
            continue
        if not str(value).isdecimal():
            raise FleetError(f"startup of {name}: {key} is {value!r}; it must be a whole number from 0")
        found[str(key)] = int(value)
    return found
