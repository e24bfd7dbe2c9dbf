# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What a play is about: which hypervisors, with which of their guests, and in which order guests start and stop."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ._guest_options import options_of, variables_of

Variables = t.Mapping[str, t.Any]
Told = dict[str, t.Any]

STATES = ("absent", "started", "stopped")
STARTUP = ("order", "up_delay", "down_delay")
# What else of its options a guest is told on its way to a state: how long it may take, and what may go with it.
WORDS = {
    "absent": ("shutdown_timeout", "force_stop", "delete"),
    "started": ("wait_for", "wait_timeout"),
    "stopped": ("shutdown_timeout", "force_stop"),
}
RUNNING = ("started", "paused")
# A guest without an order starts after all that have one, and stops before them.
LAST = 10**9


class FleetError(AnsibleFilterError):
    """The inventory does not say what a guest is or where, or a name is none of its guests."""


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
    Each part has the ``hypervisor``, the ``guests`` by name, and whether that is the whole host (``is_whole``).

    :raises FleetError: for a name that is no guest or is beyond the play, and for a guest whose hypervisor or kind is not said.
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
        if hypervisor not in hostvars or hostvars[name].get("guest_kind") not in ("vm", "container"):
            raise FleetError(
                f"{name}: set guest_hypervisor to a host of the inventory, and guest_kind to vm or container"
            )
        maker = makers.setdefault(str(hypervisor), name)
        part = parts.setdefault(maker, {"hypervisor": hypervisor, "is_whole": False, "guests": []})
        part["guests"].append(name)
    if names is None:
        return parts
    if beyond := sorted(set(names).difference(*(part["guests"] for part in parts.values()))):
        raise FleetError(
            f"{', '.join(beyond)}: named, and not in this run. Neither it nor its hypervisor is in the limit"
        )
    return {maker: part for maker, part in parts.items() if part["guests"]}


def steps(
    names: t.Iterable[str],
    hostvars: t.Mapping[str, Variables],
    state: str,
    seen: t.Iterable[Variables] | None = None,
) -> list[Told]:
    """What is to do to bring the guests *names* to *state*, a step for each order, by their ``rank``.

    They start from the lowest order to the highest and then those that have none, and stop the other way round. *seen* are
    the guests that are there: one that is not, or that is as it should be, is in no step. Only a guest that shall run is started.
    What is taken away is one step, whatever is there: something may be kept of what is not.
    Each step has its lists for ``layout``, ``vms`` and ``containers``, with only those options that say how long a guest may take, what to
    wait for and what may be deleted; and as ``delay`` the longest of their ``up_delay`` or ``down_delay``, in seconds.

    :raises AnsibleFilterError: for another state, for a ``startup`` that cannot be, and for what cannot stand in inventory of a guest that
        shall be started or taken away.
    """
    if state not in STATES:
        raise FleetError(f"the state of a step is {state!r}; it must be one of {', '.join(STATES)}")
    there = {str(guest["name"]): guest["state"] for guest in seen or ()}
    found: dict[int, Told] = {}
    for name in names:
        variables = hostvars[name]
        options = readable_options(name, variables, state)
        startup = read_startup(name, options.get("startup"))
        if not is_concerned(state, there.get(name), options):
            continue
        order = startup.get("order", LAST)
        rank = {"absent": 0, "started": order, "stopped": -order}[state]
        step = found.setdefault(rank, {"rank": rank, "delay": 0, "vms": [], "containers": []})
        its = {key: options[key] for key in WORDS[state] if options.get(key) is not None}
        step[f"{variables['guest_kind']}s"].append({"name": name, "state": state, **its})
        step["delay"] = max(step["delay"], startup.get({"started": "up_delay", "stopped": "down_delay"}.get(state), 0))
    return [found[rank] for rank in sorted(found)]


def readable_options(name: str, variables: Variables, state: str) -> Variables:
    """The options of the guest *name*. One that stops does so whatever is written of it.

    :raises AnsibleFilterError: for what cannot stand in inventory.
    """
    try:
        return options_of(name, variables)
    except AnsibleFilterError:
        if state != "stopped":
            raise
    return {}


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


def read_startup(name: str, written: t.Any) -> dict[str | None, int]:
    """When the guest starts and stops among the others: whole numbers, each optional.

    :raises FleetError:
    """
    if written is None:
        return {}
    if not isinstance(written, t.Mapping) or not set(written) <= set(STARTUP):
        raise FleetError(f"startup of {name}: must be a dictionary of {', '.join(STARTUP)}, not {written!r}")
    found: dict[str | None, int] = {}
    for key, value in written.items():
        if value is None:
            continue
        if not str(value).isdecimal():
            raise FleetError(f"startup of {name}: {key} is {value!r}; it must be a whole number from 0")
        found[str(key)] = int(value)
    return found
