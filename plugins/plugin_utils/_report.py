# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the layouts of several hosts say, as one report. Compares nothing itself: a difference is a change in the module's own plan."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._backup.words import FAILED, STATUSES, TROUBLE
from ..module_utils._bridge.switch.state import OPEN
from ..module_utils._core.units import MIB, show_size, show_span
from ..module_utils._layout.kinds import KINDS
from ._guest_options import guest_errors, host_of, options_of
from ._host_options import images_of_guests
from ._inventory_words import GUESTS, of_guest, of_host
from ._profiles import dictionaries

Told = dict[str, t.Any]
LISTS = ("plan", "restart_required", "unmanaged", "kept")
LONGEST = 60


def lab_report(
    results: t.Iterable[t.Mapping[str, t.Any]],
    parts: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    hostvars: t.Mapping[str, t.Any] | None = None,
) -> Told:
    """All hosts as one: whether anything ``drifted``, the ``hosts`` with their resources, and ``entries`` for a table.

    *results* are dictionaries with the ``hypervisor``, the ``result`` of its layout, and where it is known the last ``switch`` of its network,
    what lies in its ``quarantine``, and the ``backups`` and ``replications`` of its guests. With *parts*, as ``share`` tells them, each
    resource has what is declared of it too, without secrets, and a guest whose options cannot be read is there with its error. The status of a
    resource is one of those that ``status`` tells.

    :raises AnsibleFilterError: for what is no result of the module.
    """
    known_hosts = hostvars or {}
    errors = guest_errors([name for part in (parts or {}).values() for name in part["guests"]], known_hosts)
    options = {part["hypervisor"]: declared(part, known_hosts, errors) for part in (parts or {}).values()}
    hosts: dict[str, Told] = {}
    for each in results:
        if not isinstance(each, t.Mapping) or "hypervisor" not in each or "result" not in each:
            raise AnsibleFilterError("lab_report: takes a list of dictionaries with hypervisor and result")
        told = host(each["result"], options.get(each["hypervisor"], {}))
        told["switch"] = dict(each.get("switch") or {})
        told["quarantine"] = list(each.get("quarantine") or ())
        told["backups"] = list(each.get("backups") or ())
        told["replications"] = list(each.get("replications") or ())
        told["drifted"] = told["drifted"] or bool(missed(each["hypervisor"], told, known_hosts))
        told["unlisted"] = [guest for guest in told["unlisted"] if not lives_on(each["hypervisor"], guest, known_hosts)]
        known = hosts.setdefault(each["hypervisor"], told)
        if known is not told:
            known["resources"] += told["resources"]
            known["drifted"] = known["drifted"] or told["drifted"]
            known["error"] = known["error"] or told["error"]
            known["quarantine"] = known["quarantine"] or told["quarantine"]
            known["backups"] = known["backups"] or told["backups"]
            known["replications"] = known["replications"] or told["replications"]
    for name, error in errors.items():
        its_host = hosts.get(known_hosts[name]["guest_hypervisor"])
        if its_host is not None:
            its_host["resources"].append(unread(name, str(known_hosts[name].get("guest_kind")), error))
            its_host["drifted"] = True
    for told in hosts.values():
        told["drift"] = list(sentences(told))
    return {
        "drifted": any(told["drifted"] for told in hosts.values()),
        "hosts": hosts,
        "entries": [
            entry for name, told in hosts.items() for entry in (*lines(name, told), *missed(name, told, known_hosts))
        ],
        "backups": sorted(
            (backup(name, its) for name, told in hosts.items() for its in told["backups"]),
            key=lambda its: (STATUSES.index(its["status"]), its["host"], its["guest"]),
        ),
        "replications": sorted(
            (replication(name, its) for name, told in hosts.items() for its in told["replications"]),
            key=lambda its: (STATUSES.index(its["status"]), its["host"], its["guest"]),
        ),
        "quarantine": [lying(name, its) for name, told in hosts.items() for its in told["quarantine"]],
    }


def lying(hypervisor: str, its: t.Mapping[str, t.Any]) -> Told:
    """A line of what lies in the quarantine of a host."""
    size = show_size(int(its["bytes"]) // MIB * MIB) or "0"
    return {"host": hypervisor, **{key: its[key] for key in ("guest", "kind", "moment", "until")}, "size": size}


def backup(hypervisor: str, its: t.Mapping[str, t.Any]) -> Told:
    """A line of what a host knows of the backups of one guest."""
    last, drill = its.get("backup") or {}, its.get("drill") or {}
    age, recovery = last.get("age"), drill.get("recovery_seconds")
    failure = its.get("failure") or {}
    return {
        "host": hypervisor,
        "guest": its["guest"],
        "status": its["status"],
        "last": last.get("made"),
        "age": None if age is None else show_span(age),
        "size": rounded(last.get("processed")),
        "new": rounded(last.get("added")),
        "consistent": last.get("consistent"),
        "job": last.get("job") or ", ".join(its.get("jobs") or ()),
        "drill": drill.get("result"),
        "recovery": None if recovery is None else f"{recovery:g} s",
        "why": failure.get("error") if its["status"] == FAILED else None,
    }


def replication(hypervisor: str, its: t.Mapping[str, t.Any]) -> Told:
    """A line of what a host knows of the newest copy of one guest on another."""
    age = None if its["age"] is None else show_span(its["age"])
    told = {key: its[key] for key in ("guest", "status", "job", "target")}
    return {"host": hypervisor, **told, "last": its["made"], "age": age, "why": its["error"]}


def rounded(size: int | None) -> str | None:
    if size is None:
        return None
    return show_size(size // MIB * MIB) if size >= MIB else show_size(size)


def missed(hypervisor: str, told: Told, hostvars: t.Mapping[str, t.Any]) -> list[Told]:
    """The guests whose backup or copy failed, or is not made when it should be, by a job that the inventory has: that is no less declared than
    they are.
    """
    backups = ((its, its["jobs"], (its.get("failure") or {}).get("error")) for its in told["backups"])
    copies = ((its, [its["job"]], its["error"]) for its in told["replications"])
    return [
        {
            "host": hypervisor,
            "kind": kind,
            "name": its["guest"],
            "status": its["status"],
            "differences": error if its["status"] == FAILED else "its job did not run",
        }
        for kind, things in (("backup", backups), ("replication", copies))
        for its, jobs, error in things
        if its["status"] in TROUBLE and declared_jobs(hypervisor, kind, hostvars).intersection(jobs)
    ]


def declared_jobs(hypervisor: str, kind: str, hostvars: t.Mapping[str, t.Any]) -> set[str]:
    """The jobs of that kind that the inventory has."""
    jobs = dictionaries(hostvars.get(hypervisor, {}).get(f"hypervisor_{kind}_jobs"))
    return {str(job.get("name")) for job in jobs if job.get("state") != "absent"}


def lives_on(hypervisor: str, guest: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Any]) -> bool:
    """Whether the inventory has the *guest* there: a layout of some of a host's guests does not list the others."""
    return guest["name"] in hostvars and hostvars[guest["name"]].get("guest_hypervisor") == hypervisor


def declared(
    part: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Any], errors: t.Container[str]
) -> dict[tuple[str, str], Told]:
    """The options of each resource of the part by its kind and name, without secrets."""
    found: dict[tuple[str, str], t.Any] = {}
    for kind in KINDS:
        for item in (
            dictionaries(hostvars[part["hypervisor"]].get(f"hypervisor_{kind.list}")) if part["is_whole"] else ()
        ):
            found[kind.word, str(item.get("name"))] = item
    if part["is_whole"]:
        for image in images_of_guests(hostvars[part["hypervisor"]], part["guests"], hostvars):
            found["image", image["name"]] = image
    for name in part["guests"]:
        if name in errors:
            continue
        found[str(hostvars[name]["guest_kind"]), name] = options_of(
            name, hostvars[name], host_of(hostvars[name], hostvars)
        )
    arguments = {kind.word: kind.arguments for kind in KINDS}
    return {key: without_secrets(options, arguments[key[0]]) for key, options in found.items()}


def without_secrets(options: t.Mapping[str, t.Any], arguments: t.Mapping[str, t.Any]) -> Told:
    found: Told = {}
    for key, value in options.items():
        argument = arguments.get(key, {})
        inner = argument.get("options")
        if argument.get("no_log"):
            value = "(secret)"
        elif inner and isinstance(value, t.Mapping):
            value = without_secrets(value, inner)
        elif inner and isinstance(value, list):
            value = [without_secrets(item, inner) for item in dictionaries(value)]
        found[str(key)] = value
    return found


def host(result: t.Mapping[str, t.Any], options: t.Mapping[tuple[str, str], Told]) -> Told:
    if "resources" not in result:
        return {"drifted": True, "error": why(result), "unlisted": [], "resources": []}
    resources = [resource(item, options.get((item["kind"], item["name"]), {})) for item in result["resources"]]
    # A layout that is refused as a whole has no resources to say why.
    error = why(result) if "msg" in result and not resources else None
    return {
        "drifted": error is not None or any(each["drifted"] for each in resources),
        "error": error,
        "unlisted": list(result.get("unlisted") or ()),
        "resources": resources,
    }


def why(result: t.Mapping[str, t.Any]) -> str:
    # The action of layout says it in its own word: Ansible's would end the host that carries the task.
    if result.get("unreachable") or result.get("unreachable_host"):
        return f"unreachable: {result.get('msg', '')}".rstrip(": ")
    return of_host(str(result.get("msg") or "it gave no answer"))


def unread(name: str, kind: str, error: str) -> Told:
    """A guest of which nobody knows what is declared."""
    told: Told = {key: [] for key in LISTS}
    return {
        "kind": kind,
        "name": name,
        "status": "failed",
        "drifted": True,
        "declared": {},
        "is": {},
        **told,
        "error": error,
    }


def resource(item: t.Mapping[str, t.Any], options: Told) -> Told:
    word, in_words = status(item), of_guest if item["kind"] in GUESTS else of_host
    return {
        "kind": item["kind"],
        "name": item["name"],
        "status": word,
        "drifted": word not in ("as declared", "waits for a restart"),
        "declared": options,
        "is": item.get("facts") or {},
        **{key: list(item.get(key) or ()) for key in LISTS},
        "error": in_words(str(said)) if (said := item.get("msg") or item.get("skipped")) else None,
    }


def status(item: t.Mapping[str, t.Any]) -> str:
    plan = item.get("plan") or ()
    if item.get("skipped"):
        return "skipped"
    if item.get("failed"):
        return "failed"
    if plan and all(change["done"] for change in plan):
        return "changed"
    if any(change["path"] == "state" and change["before"] == "absent" for change in plan):
        return "missing"
    if plan:
        return "differs"
    return "waits for a restart" if item.get("restart_required") else "as declared"


def lines(name: str, told: Told) -> t.Iterator[Told]:
    if told["error"]:
        yield {"host": name, "status": "failed", "differences": told["error"]}
    for each in told["resources"]:
        text = each["error"] or "; ".join(map(difference, each["plan"])) or "; ".join(each["restart_required"])
        if each["status"] == "missing":
            text = "is not there"
        yield {
            "host": name,
            "kind": each["kind"].replace("_", " "),
            "name": each["name"],
            "status": each["status"],
            "differences": text,
            "kept": each["kept"],
        }
    if (entry := told_switch(told)) is not None:
        yield {"host": name, **entry}
    for guest in told["unlisted"]:
        yield {"host": name, "kind": guest["kind"], "name": guest["name"], "status": "not in the inventory"}


def sentences(told: Told) -> t.Iterator[str]:
    """What of a host is not as it is declared, for who is told by the host: what that sees by itself is not in it."""
    if told["error"]:
        yield told["error"]
    for each in told["resources"]:
        if each["drifted"]:
            text = each["error"] or "; ".join(map(difference, each["plan"]))
            yield f"{each['kind'].replace('_', ' ')} {each['name']} {each['status']}" + (f" ({text})" if text else "")


def told_switch(told: Told) -> Told | None:
    """A change of the host's network that is under way, or that was taken back and is declared still, as an entry."""
    switch = told.get("switch") or {}
    open_until = f"is taken back at {switch.get('ends')} unless it is confirmed"
    if switch.get("state") in OPEN:
        return {"kind": "bridge", "name": switch["bridge"], "status": "is being changed", "differences": open_until}
    differs = {each["name"] for each in told["resources"] if each["kind"] == "bridge" and each["drifted"]}
    if switch.get("state") == "rolled_back" and switch.get("bridge") in differs:
        text = f"{switch.get('began')}: {switch.get('reason')}"
        return {"kind": "bridge", "name": switch["bridge"], "status": "was taken back", "differences": text}
    return None


def difference(change: t.Mapping[str, t.Any]) -> str:
    """One change as a person reads it: what is, and what is declared or has become of it."""
    return f"{change['path']}: {short(change['before'])} -> {short(change['after'])}"


def short(value: t.Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
