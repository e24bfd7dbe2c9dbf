# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The options of a guest from its variables: its profiles, its inventory, and what a run permits."""

from __future__ import annotations

import difflib
import json
import typing as t

import yaml
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from jinja2.exceptions import UndefinedError

from . import _appliances, _recommended
from ._guest_services import appliance_of, services_of
from ._mapped_devices import has_mapped, with_mapped
from ._profiles import ALLOW, ARGUMENTS, DELETE, Layer, ProfileError, lay, mapping, pick, words_of

GIVEN_FOR_A_RUN = {"allow": "guest_allow", "delete": "guest_delete"}
# The same, and no list of words.
QUARANTINE = "guest_quarantine"
TEXTS_OF_CLOUD_INIT = {"user_data": "#cloud-config\n", "meta_data": "", "network_config": ""}
# JSON, which the modules read without a library.
FILES_OF_CLOUD_INIT = "files"


def guest_spec(
    spec: t.Any,
    name: str,
    allow: str | t.Sequence[str] = (),
    delete: str | t.Sequence[str] = (),
    profiles: t.Sequence[str] = (),
    catalog: t.Mapping[str, t.Any] | None = None,
    kind: str | None = None,
    startup: t.Any = None,
    beneath: t.Sequence[Layer] = (),
    quarantine: t.Any = None,
) -> dict[str, t.Any]:
    """The module's options. What is *beneath* lies below all profiles.

    :raises AnsibleFilterError: for what may not stand in inventory.
    """
    try:
        own = Layer(f"guest_spec of {name}", mapping(f"guest_spec of {name}", spec))
        layers = [*pick(profiles, catalog or {}, name), own]
        for layer in layers:
            check(layer, name if layer is own else None)
        if its_startup := mapping(f"guest_startup of {name}", startup):
            layers.append(Layer(f"guest_startup of {name}", {"startup": its_startup}))
        options: dict[str, t.Any] = {**lay([*beneath, *layers], kind), "name": name}
    except ProfileError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    if options.get("state") is None:
        options["state"] = "started"
    if isinstance(options.get("cloud_init"), t.Mapping):
        options["cloud_init"] = {key: as_text(key, value, name) for key, value in options["cloud_init"].items()}
    if permitted := words_of(kind, as_words(allow), ALLOW):
        options["allow"] = permitted
    if deleted := words_of(kind, as_words(delete), DELETE):
        options["delete"] = deleted
    if quarantine is not None:
        options["quarantine"] = boolean(quarantine)
    return options


def as_words(given: str | t.Sequence[str]) -> t.Sequence[str]:
    """The words of a run. What ``-e guest_allow=adopt`` gives is text, which would be a list of letters."""
    return [word.strip() for word in given.split(",") if word.strip()] if isinstance(given, str) else given


def options_of(name: str, variables: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's options of the guest *name* from its variables and those of its *host*, with what the run permits.

    :raises AnsibleFilterError: for what may not stand in inventory.
    """
    services, kind = services_of(name, variables), variables.get("guest_kind")
    try:
        beneath = [_recommended.layer_of(services, str(kind))] if services and kind in ARGUMENTS else []
        size = _recommended.root_size(services)
    except ProfileError as exc:
        raise AnsibleFilterError(f"{name}: {exc}") from exc
    appliance = appliance_of(services)
    if appliance is not None:
        its = _recommended.without_images(made_by_role(name, appliance.role, variables))
        beneath.append(Layer(f"{_appliances.FACT} of {name}", its))
    options = guest_spec(
        variables.get("guest_spec"),
        name,
        **{option: permitted(name, variables, variable) for option, variable in GIVEN_FOR_A_RUN.items()},
        quarantine=quarantine_of(name, variables),
        profiles=variables.get("guest_profiles") or (),
        catalog=variables.get("guest_profile_catalog"),
        kind=kind,
        startup=variables.get("guest_startup"),
        beneath=beneath,
    )
    try:
        options = with_mapped(options, f"guest_spec of {name}", str(variables.get("guest_hypervisor")), host)
    except ProfileError as exc:
        raise AnsibleFilterError(str(exc)) from exc
    if not beneath:
        return options
    return _recommended.settled(name, options, str(kind), host, size, has_system=appliance is not None)


def made_by_role(name: str, role: str, variables: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """What the *role* of an appliance makes of its guest *name*, as the playbooks found it out before they plan.

    :raises AnsibleFilterError: where it refuses the guest, and where nobody found it out: a guest without it would be another.
    """
    if refused := variables.get(_appliances.REFUSED):
        raise AnsibleFilterError(str(refused))
    if _appliances.FACT not in variables:
        raise AnsibleFilterError(
            f"{name}: {_appliances.FACT} is not set. The playbooks of homelab.hybrid set it by tasks/guest.yml of {role}; a playbook of your own "
            "includes that role on the guest with tasks_from: guest"
        )
    return mapping(f"{_appliances.FACT} of {name}", variables[_appliances.FACT])


def images_brought(name: str, variables: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The images that the services of the guest *name*, whose options can be read, describe themselves."""
    return _recommended.brought_images(services_of(name, variables), variables.get(_appliances.FACT) or {})


def _names_mapped_device(variables: t.Mapping[str, t.Any]) -> bool:
    try:
        return has_mapped(variables)
    except (AnsibleError, UndefinedError):
        # What cannot be filled in is told of this guest alone, when its options are read.
        return False


def host_of(variables: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """The variables of the hypervisor of a guest with these *variables*; none where it is not in the inventory.

    Only a guest with services, or with a device that each hypervisor knows by itself, asks for them: Ansible makes the variables of a
    host anew for each question.
    """
    if not variables.get("guest_services") and not _names_mapped_device(variables):
        return {}
    hypervisor = variables.get("guest_hypervisor")
    return variables_of(str(hypervisor), hostvars) if hypervisor in hostvars else {}


def permitted(name: str, variables: t.Mapping[str, t.Any], variable: str) -> t.Sequence[str]:
    """What this run permits the host *name*: the words of the *variable* in its variables.

    :raises AnsibleFilterError: where they are not extra variables of the run.
    """
    words = as_words(variables.get(variable) or ())
    # Ansible keeps what it read of -e, vaults included; only where there was none it looks again.
    if words and variable not in load_extra_vars(DataLoader()):
        raise AnsibleFilterError(f"{variable} of {name}: {not_in_inventory(variable, words)}")
    return words


def quarantine_of(name: str, variables: t.Mapping[str, t.Any]) -> t.Any:
    """Whether what this run deletes of *name* lies in the quarantine, where it says so.

    :raises AnsibleFilterError: where that is not an extra variable of the run.
    """
    given = variables.get(QUARANTINE)
    if given is not None and QUARANTINE not in load_extra_vars(DataLoader()):
        raise AnsibleFilterError(f"{QUARANTINE} of {name}: {_QUARANTINE_OF_RUN}")
    return given


_QUARANTINE_OF_RUN = (
    f"what is deleted for good is said for a run and not kept in inventory. Give it as -e {QUARANTINE}=false"
)


def not_in_inventory(variable: str, words: t.Any) -> str:
    """Why a permission that is written in an inventory does not count, and in which extra *variable* it does."""
    is_list = isinstance(words, (list, tuple)) and all(isinstance(word, str) for word in words)
    shown = json.dumps([str(word) for word in words] if is_list else ["..."])
    return f"permission is given for a run and not kept in inventory. Give it as -e '{{\"{variable}\": {shown}}}'"


def guest_errors(names: t.Iterable[str], hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Those of the guests *names* whose options cannot be read, each with a sentence that names it. No other guest needs to fail with them."""
    found = {}
    for name in names:
        variables = variables_of(name, hostvars)
        found[name] = read_guest(name, variables, host_of(variables, hostvars))[1]
    return {name: error for name, error in found.items() if error is not None}


def read_guest(
    name: str, variables: t.Mapping[str, t.Any], host: t.Mapping[str, t.Any]
) -> tuple[dict[str, t.Any], str | None]:
    """The options of the guest *name* as ``options_of`` has them, and why there are none or none that its module knows; ``None`` where there are."""
    options: dict[str, t.Any] = {}
    try:
        services_of(name, variables)
        kind = variables.get("guest_kind")
        arguments = t.cast("dict[str, t.Any]", ARGUMENTS.get(kind))
        if not kind or not arguments:
            return options, f"{name}: guest_kind is {kind!r}, it must be one of vm, container"
        options = options_of(name, variables, host)
        # It copies what it gets, and each of Ansible's own containers with all that it needs for templates: 40 ms a guest.
        result = ArgumentSpecValidator(arguments).validate(plain(options))
    except (AnsibleError, UndefinedError) as exc:
        said = str(exc)
        return options, said if name in said else f"{name}: {said}"
    unknown = [unknown_option(path, arguments) for path in sorted(result.unsupported_parameters, key=str)]
    others = [
        message for message in result.error_messages if not (unknown and "Supported parameters include" in message)
    ]
    return options, f"guest_spec of {name}: {'; '.join([*unknown, *others])}" if unknown or others else None


def unknown_option(path: t.Any, arguments: t.Mapping[str, t.Any]) -> str:
    """The sentence for a key that is no option, with the one that it looks like."""
    keys = [path] if isinstance(path, str) else list(path)
    for key in keys[:-1]:
        arguments = arguments.get(key, {}).get("options") or {}
    known = [word for name, argument in arguments.items() for word in (name, *argument.get("aliases", ()))]
    near = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f"there is no option {'.'.join(map(str, keys))}" + (f". Is {near[0]} meant?" if near else "")


def variables_of(name: str, hostvars: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """The variables of the guest *name*.

    :raises AnsibleFilterError: with the file and the line where they cannot be read.
    """
    try:
        found: t.Mapping[str, t.Any] = hostvars[name]
    except AnsibleError as exc:
        raise AnsibleFilterError(f"the variables of {name} cannot be read{place_of(exc)}: {exc}") from exc
    return found


class Once(t.Mapping[str, t.Any]):
    """The variables of hosts as *hostvars* has them, each host's made once. Ansible makes them anew whenever it is asked."""

    def __init__(self, hostvars: t.Mapping[str, t.Any]) -> None:
        self._hostvars = hostvars
        self._made: dict[str, t.Any] = {}

    def __getitem__(self, name: str) -> t.Any:
        if name not in self._made:
            self._made[name] = self._hostvars[name]
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._hostvars

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._hostvars)

    def __len__(self) -> int:
        return len(self._hostvars)


def place_of(error: BaseException | None) -> str:
    """Where in which file an *error* was. Ansible itself shows that only where no filter was on the way."""
    while error is not None:
        if path := getattr(getattr(error, "obj", None), "path", None):
            return f" ({path}, line {error.obj.line_num})"  # type: ignore[attr-defined]  # an Origin, as its path says
        error = error.__cause__ or error.__context__
    return ""


def check(layer: Layer, name: str | None) -> None:
    """Refuse what no inventory may say. *name* is that of the guest; a profile is of no guest alone.

    :raises ProfileError:
    """
    if layer.options.get("name", name) != name:
        said = layer.options["name"]
        raise ProfileError(f"{layer.where}: name is {said!r}; a guest bears the name of its inventory host")
    for key, variable in GIVEN_FOR_A_RUN.items():
        if key in layer.options:
            raise ProfileError(f"{layer.where}: {key}: {not_in_inventory(variable, layer.options[key])}")
    if "quarantine" in layer.options:
        raise ProfileError(f"{layer.where}: quarantine: {_QUARANTINE_OF_RUN}")


def as_text(key: str, value: t.Any, name: str) -> t.Any:
    """A dictionary given for a document of cloud-init as its text; every other value as it is.

    :raises AnsibleFilterError: for a list, which is no document of cloud-init.
    """
    if key not in (*TEXTS_OF_CLOUD_INIT, FILES_OF_CLOUD_INIT) or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        raise AnsibleFilterError(f"guest_spec of {name}: cloud_init.{key} is a list; it must be a dictionary or text")
    if not isinstance(value, t.Mapping):
        return value
    if key == FILES_OF_CLOUD_INIT:
        return json.dumps(plain(value), sort_keys=True)
    text = yaml.safe_dump(plain(value), default_flow_style=False, allow_unicode=True, sort_keys=False, width=1000)
    return TEXTS_OF_CLOUD_INIT[key] + text


def plain(value: t.Any) -> t.Any:
    """*value* without Ansible's marks on it. Ansible's own YAML writer would write what comes from a vault as it is encrypted."""
    if isinstance(value, t.Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)
