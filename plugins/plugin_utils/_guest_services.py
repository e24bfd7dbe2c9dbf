# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The services of guests: what the roles that guest_services names declare of themselves, and in which order they come.

A role says it in the dictionary ``__<name>_service`` of its ``vars/main.yml``. Here on the control node the file is read as plain YAML: what this
module needs of it holds no templates.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib.util
import ipaddress
import re
import typing as t
from pathlib import Path

import yaml
from ansible.errors import AnsibleError, AnsibleFilterError
from jinja2.exceptions import UndefinedError

Declaration = t.Mapping[str, t.Any]
Variables = t.Mapping[str, t.Any]

OWN = "homelab.hybrid"
# What a service is for all others, by which it finds its place among them without being named by anybody.
GATEWAY, RESOLVER, PROXY = "gateway", "resolver", "proxy"
_PLACES = {GATEWAY: 0, RESOLVER: 1, PROXY: 3}
_OTHERS = 2
_IS_VARIABLE = re.compile(r"\s*(?:\{\{\s*)?([A-Za-z_][A-Za-z0-9_]*)(?:\s*\}\})?\s*")


@dataclasses.dataclass(frozen=True)
class Service:
    """A role that keeps a service: its full name, its folder, and what it declares."""

    role: str
    folder: Path
    declaration: Declaration

    @property
    def name(self) -> str:
        """The last part of the role's name, which is also its tag."""
        return self.role.rpartition(".")[2]

    @property
    def title(self) -> str:
        return str(self.declaration.get("title") or self.name)

    @property
    def provides(self) -> str:
        return str(self.declaration.get("provides") or "")

    @property
    def applications_in(self) -> str:
        """The name of the variable with its applications, items ``name``, ``title``, ``preset``, ``port`` and ``state``; empty for one service."""
        return str(self.declaration.get("applications") or "")

    @property
    def requires(self) -> list[str]:
        """The full names of the roles that come before it."""
        return [full_name(name) for name in self.declaration.get("requires") or ()]

    @property
    def names(self) -> list[str]:
        """The names at which it is found in the domain of the lab."""
        return [str(name) for name in self.declaration.get("names") or [self.name.replace("_", "-")]]

    @property
    def is_appliance(self) -> bool:
        """Whether it is the whole system of its guest, in which nothing of Ansible runs: its role asks it from its hypervisor."""
        return self.declaration.get("appliance") is True

    @property
    def guest(self) -> Declaration:
        """The guest that it recommends: ``kind``, ``needs`` and ``spec``, ``by``, ``kind_by`` and ``serial`` until settled. Each may be missing."""
        return self.declaration.get("guest") or {}

    @property
    def specs(self) -> list[t.Any]:
        """What it recommends of that guest: its ``spec``, or that of each of its applications once it is settled."""
        each: list[t.Any] = self.guest.get("each") or [self.guest.get("spec")]
        return each


def full_name(name: t.Any) -> str:
    """The full name of a role: one without a dot is of this collection."""
    return str(name) if "." in str(name) else f"{OWN}.{name}"


def services_of(guest: str, variables: Variables) -> list[Service]:
    """The services of the *guest* in the order in which it names them.

    :raises AnsibleFilterError: for a list of another form, for a role that there is not or that declares no service, and for two resolvers
        at one port.
    """
    written = variables.get("guest_services")
    if written is None:
        return []
    if (
        isinstance(written, str)
        or not isinstance(written, t.Sequence)
        or not all(isinstance(name, str) for name in written)
    ):
        raise AnsibleFilterError(
            f"guest_services of {guest}: must be a list of names of roles, such as [unbound], not {written!r}. "
            "What a page shows besides is written in guest_cards"
        )
    roles = dict.fromkeys(map(full_name, written))
    found = [settled(service_of(role, f"guest_services of {guest}"), variables) for role in roles]
    check_resolvers(guest, found, variables)
    check_appliances(guest, found, variables)
    return found


def appliance_of(services: t.Iterable[Service]) -> Service | None:
    """The appliance that a guest with these *services* is, where it is one."""
    return next((service for service in services if service.is_appliance), None)


def settled(service: Service, variables: Variables) -> Service:
    """*service* with the guest that it recommends for these *variables*.

    Its ``by`` has the name of a variable of the role, and by its values what is laid over ``spec``, option by option; its ``kind_by`` the same
    of ``kind``. Its ``serial`` has the name of a variable with a serial port, and the device that a container is given where that is one of
    ``/dev/serial/by-id``. The presets of its applications are laid over ``spec`` each for itself; those without one are all together of the guest
    that the role recommends. Of one that is taken away the data stay, and their room.

    :raises AnsibleFilterError: for a preset that there is not.
    """
    by, serial, kinds = (service.guest.get(key) or {} for key in ("by", "serial", "kind_by"))
    written = written_applications(service, variables)
    if not by and not serial and not kinds and not written:
        return service
    spec = dict(service.guest.get("spec") or {})
    for variable, by_value in by.items():
        spec.update(by_value.get(str(value_of(service, variable, variables))) or {})
    for variable, device in serial.items():
        folder, dummy, port = str(value_of(service, variable, variables)).rpartition("/")
        if folder == "/dev/serial/by-id":
            spec["devices"] = [*spec.get("devices", ()), {**device, "type": "serial", "id": port}]
    guest = {key: value for key, value in service.guest.items() if key not in ("by", "serial", "kind_by")}
    for variable, by_value in kinds.items():
        guest["kind"] = by_value.get(str(value_of(service, variable, variables)), guest.get("kind"))
    used = applications_of(service, variables)
    each = [{**spec, **preset_of(service, app["preset"])["guest"]} for app in used if app.get("preset")]
    if not used or len(each) < len(used):
        each.append(spec)
    left = [app for app in written if app not in used and app.get("preset")]
    each += [{"rootfs": preset_of(service, app["preset"])["guest"]["rootfs"]} for app in left]
    return dataclasses.replace(
        service, declaration={**service.declaration, "guest": {**guest, "spec": spec, "each": each}}
    )


def applications_of(service: Service, variables: Variables) -> list[Declaration]:
    """The applications of *service* that there should be, as they are written; none of a service that is one itself."""
    return [item for item in written_applications(service, variables) if item.get("state") != "absent"]


def written_applications(service: Service, variables: Variables) -> list[Declaration]:
    """Those, and the ones that there should not be."""
    written = variables.get(service.applications_in) if service.applications_in else None
    items = written if isinstance(written, t.Sequence) and not isinstance(written, str) else ()
    return [item for item in items if isinstance(item, t.Mapping)]


def presets_of(service: Service) -> dict[str, Path]:
    """The files of what the role of *service* knows of applications, by their names."""
    return {path.stem: path for path in sorted((service.folder / "files" / "presets").glob("*.yml"))}


def preset_of(service: Service, name: t.Any) -> Declaration:
    """What the role of *service* knows of the application *name*.

    :raises AnsibleFilterError: for one that it does not know.
    """
    known = presets_of(service)
    if str(name) not in known:
        raise AnsibleFilterError(
            f"{service.applications_in}: there is no preset {name}. There are {', '.join(known) or 'none'}"
        )
    found: Declaration = read(known[str(name)])
    return found


def check_resolvers(guest: str, services: t.Iterable[Service], variables: Variables) -> None:
    """Two resolvers may share a guest, as long as each has a port of its own.

    :raises AnsibleFilterError: where they have the same.
    """
    known: dict[int, Service] = {}
    for service in services:
        written = service.declaration.get("dns_port")
        port = number_of(value_of(service, written, variables))
        if port is None:
            continue
        other = known.setdefault(port, service)
        if other is not service:
            raise AnsibleFilterError(
                f"guest_services of {guest}: {other.name} and {service.name} both answer names at port {port}. Give one of them "
                f"another ({other.declaration['dns_port']}, {written}), or a guest of its own"
            )


def check_appliances(guest: str, services: t.Sequence[Service], variables: Variables) -> None:
    """An appliance has its guest for itself, and a kernel of its own.

    :raises AnsibleFilterError: where something else is to run in it, and where the guest is a container.
    """
    appliance = appliance_of(services)
    if appliance is None:
        return
    if others := [service.name for service in services if service is not appliance]:
        raise AnsibleFilterError(
            f"guest_services of {guest}: {appliance.name} is an appliance, in which nothing else runs. "
            f"Give {', '.join(others)} a guest of its own"
        )
    if variables.get("guest_kind") == "container":
        raise AnsibleFilterError(
            f"guest_kind of {guest}: {appliance.name} is an appliance with a kernel of its own; it must be vm, or not be written"
        )


def service_of(role: str, where: str) -> Service:
    """The service of the *role* by its full name; *where* it is asked for stands before what is wrong.

    :raises AnsibleFilterError: for a role that there is not or that declares no service.
    """
    collection, dummy, name = role.rpartition(".")
    roles = roles_of(collection)
    if roles is None:
        raise AnsibleFilterError(f"{where}: the collection {collection} of {role} is not there")
    path = roles / name / "vars" / "main.yml"
    key = f"__{name}_service"
    if not (roles / name).is_dir():
        known = sorted(folder.name for folder in roles.iterdir() if folder.is_dir()) if roles.is_dir() else []
        near = difflib.get_close_matches(name, known, n=1)
        raise AnsibleFilterError(f"{where}: there is no role {role}" + (f". Is {near[0]} meant?" if near else ""))
    found = read(path) if path.is_file() else {}
    declaration = found.get(key) if isinstance(found, t.Mapping) else None
    if not isinstance(declaration, t.Mapping):
        raise AnsibleFilterError(f"{where}: {role} is no role of a service: its vars/main.yml has no dictionary {key}")
    return Service(role, roles / name, declaration)


def roles_of(collection: str) -> Path | None:
    """The folder of the roles of a *collection* by its full name; ``None`` where the collection is not there."""
    try:
        spec = importlib.util.find_spec(f"ansible_collections.{collection}")
    except ImportError:
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) / "roles" if locations else None


def read(path: Path) -> t.Any:
    """A file of YAML as plain values.

    :raises AnsibleFilterError: where it is none.
    """
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _read(path: Path, changed_at_ns: int) -> t.Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise AnsibleFilterError(f"{path}: cannot be read on the control node: {exc}") from exc


def port_of(service: Service, variables: Variables) -> int | None:
    """The port at which *service* answers HTTP: of a guest with these *variables*, or the default of the role. ``None`` without one."""
    return number_of(value_of(service, service.declaration.get("port"), variables))


def is_secure(service: Service, variables: Variables) -> bool:
    """Whether a proxy serves over TLS the sites that say nothing of it: of a guest with these *variables*, or by the default of the role."""
    return str(value_of(service, service.declaration.get("tls"), variables) or "off") != "off"


def first_port(service: Service, variables: Variables) -> int | None:
    """The first port on which the *service* listens, whatever it speaks there; ``None`` where that is not known here."""
    listens = value_of(service, service.declaration.get("listens"), variables)
    first = listens[0] if isinstance(listens, t.Sequence) and not isinstance(listens, str) and listens else None
    return number_of(value_of(service, first.get("port"), variables)) if isinstance(first, t.Mapping) else None


def tcp_port(service: Service, variables: Variables) -> int | None:
    """The first port on which the *service* takes connections; ``None`` where that is not known here."""
    listens = value_of(service, service.declaration.get("listens"), variables)
    items = listens if isinstance(listens, t.Sequence) and not isinstance(listens, str) else ()
    ports = (
        number_of(value_of(service, item.get("port"), variables))
        for item in items
        if isinstance(item, t.Mapping) and item.get("protocol", "tcp") == "tcp"
    )
    return next((port for port in ports if port is not None), None)


def dns_port_of(service: Service, variables: Variables) -> int | None:
    """The port at which a resolver answers names; ``None`` of any other service."""
    return number_of(value_of(service, service.declaration.get("dns_port"), variables))


def health_of(service: Service) -> str:
    """The path at which the page of *service* answers where it is well; empty where it declares none."""
    return str(service.declaration.get("health") or "")


def address_of(service: Service, variables: Variables) -> str | None:
    """The address that an appliance has by its own settings, without what stands behind a slash; ``None`` where they give it none.

    Of several that its role names the first that is one.
    """
    written = service.declaration.get("address")
    for place in written if isinstance(written, list) else [written]:
        variable, *rest = str(place or "").split(".")
        value = value_of(service, variable, variables)
        for key in rest:
            value = _at(value, key)
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(str(value or "").partition("/")[0]))
    return None


def _at(value: t.Any, key: str) -> t.Any:
    """What a dictionary has by *key*, or a list in its item of that ``name``."""
    if isinstance(value, t.Mapping):
        return value.get(key)
    items = value if isinstance(value, t.Sequence) and not isinstance(value, str) else ()
    return next((item for item in items if isinstance(item, t.Mapping) and item.get("name") == key), None)


def value_of(service: Service, written: t.Any, variables: Variables) -> t.Any:
    """What is *written*, or the value of the variable whose name is, with or without the braces of a template around it."""
    match = _IS_VARIABLE.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        return written
    value = variables.get(match[1])
    return default_of(service, match[1]) if value is None else value


def number_of(value: t.Any) -> int | None:
    return int(value) if str(value).strip().isdecimal() else None


def default_of(service: Service, variable: str) -> t.Any:
    """The default of a *variable* in the argument spec of the role."""
    for name in ("argument_specs.yml", "argument_specs.yaml"):
        path = service.folder / "meta" / name
        if path.is_file():
            main = ((read(path) or {}).get("argument_specs") or {}).get("main") or {}
            return ((main.get("options") or {}).get(variable) or {}).get("default")
    return None


def in_order(services: t.Iterable[Service]) -> list[Service]:
    """Each of *services* once, so that none comes before what it requires: gateways, then resolvers as early and proxies as late as that
    allows, others by name.

    What is required and runs nowhere in the lab changes nothing.

    :raises AnsibleFilterError: where they require each other in a circle.
    """
    waiting = {service.role: service for service in services}
    before = {role: {name for name in service.requires if name in waiting} for role, service in waiting.items()}
    places = {role: _PLACES.get(service.provides, _OTHERS) for role, service in waiting.items()}
    # What a resolver requires comes as early as the resolver.
    for dummy in waiting:
        for role, names in before.items():
            for name in names:
                places[name] = min(places[name], places[role])
    found: list[Service] = []
    while waiting:
        ready = [role for role in waiting if not before[role] & waiting.keys()]
        if not ready:
            raise AnsibleFilterError(f"these services require each other in a circle: {', '.join(sorted(waiting))}")
        found.append(waiting.pop(min(ready, key=lambda role: (places[role], role))))
    return found


def lab_services(
    names: t.Iterable[str],
    hostvars: t.Mapping[str, Variables],
    play: t.Container[str] = (),
    run_tags: t.Collection[str] = ("all",),
    skip_tags: t.Collection[str] = (),
    serving: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """What the guests *names* have: the services ``of`` each guest that has some by their full names, and the ``steps`` of a run.

    The steps are those services of the guests of the *play* that the tags of the run want, in the order of all services of the lab. Each has
    the last part of its role's name for a tag, and ``services``. A guest whose services cannot be read has a sentence in ``errors`` instead, by
    its name: it fails alone. With guests that are *serving* the steps are theirs alone, and those without which they may not do: gateways,
    resolvers, and what is required.

    :raises AnsibleFilterError: where services require each other in a circle.
    """
    of: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    found: list[Service] = []
    for name in names:
        try:
            services = services_of(name, hostvars[name])
        except (AnsibleError, UndefinedError) as exc:
            errors[name] = str(exc) if name in str(exc) else f"{name}: {exc}"
            continue
        found += services
        if services:
            of[name] = [service.role for service in services]
    here = {role for name, roles in of.items() if name in play for role in roles}
    steps = [
        service.role
        for service in in_order(found)
        if service.role in here and is_wanted({"services", service.name, service.role}, run_tags, skip_tags)
    ]
    if serving:
        needed = _needed_by({role for name in serving for role in of.get(name, ())}, found)
        steps = [role for role in steps if role in needed]
    return {"of": of, "steps": steps, "errors": errors}


def _needed_by(roles: set[str], services: t.Collection[Service]) -> set[str]:
    """*roles*, gateways and resolvers, and what these *services* require."""
    needed = roles | {service.role for service in services if service.provides in (GATEWAY, RESOLVER)}
    for dummy in services:
        needed.update(name for service in services if service.role in needed for name in service.requires)
    return needed


def is_wanted(tags: t.Collection[str], run_tags: t.Collection[str], skip_tags: t.Collection[str]) -> bool:
    """Whether a run with these tags runs what has *tags*, as Ansible decides it for a task."""
    runs = {"all", "tagged", *tags} & set(run_tags)
    return bool(runs) and not {"all", "tagged", *tags} & set(skip_tags)
