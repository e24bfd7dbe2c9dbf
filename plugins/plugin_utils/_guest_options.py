# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The options of a guest from its variables: its profiles, its inventory, and what a run permits."""

from __future__ import annotations

import typing as t

import yaml
from ansible.errors import AnsibleFilterError

from ._profiles import ALLOW, DELETE, Layer, ProfileError, lay, mapping, pick, words_of

GIVEN_FOR_A_RUN = {"allow": "guest_allow", "delete": "guest_delete"}
TEXTS_OF_CLOUD_INIT = {"user_data": "#cloud-config\n", "meta_data": "", "network_config": ""}


def guest_spec(
    spec: t.Any,
    name: str,
    allow: str | t.Sequence[str] = (),
    delete: str | t.Sequence[str] = (),
    profiles: t.Sequence[str] = (),
    catalog: t.Mapping[str, t.Any] | None = None,
    kind: str | None = None,
    startup: t.Any = None,
) -> dict[str, t.Any]:
    """The module's options.

    :raises AnsibleFilterError: for what may not stand in inventory.
    """
    try:
        own = Layer(f"guest_spec of {name}", mapping(f"guest_spec of {name}", spec))
        layers = [*pick(profiles, catalog or {}, name), own]
        for layer in layers:
            check(layer, name if layer is own else None)
        if its_startup := mapping(f"guest_startup of {name}", startup):
            layers.append(Layer(f"guest_startup of {name}", {"startup": its_startup}))
        options: dict[str, t.Any] = {**lay(layers, kind), "name": name}
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
    return options


def as_words(given: str | t.Sequence[str]) -> t.Sequence[str]:
    """The words of a run. What ``-e guest_allow=adopt`` gives is text, which would be a list of letters."""
    return [word.strip() for word in given.split(",") if word.strip()] if isinstance(given, str) else given


def options_of(name: str, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's options of the guest *name* from its variables, with what the run permits.

    :raises AnsibleFilterError: for what may not stand in inventory.
    """
    return guest_spec(
        variables.get("guest_spec"),
        name,
        allow=variables.get("guest_allow") or (),
        delete=variables.get("guest_delete") or (),
        profiles=variables.get("guest_profiles") or (),
        catalog=variables.get("guest_profile_catalog"),
        kind=variables.get("guest_kind"),
        startup=variables.get("guest_startup"),
    )


def check(layer: Layer, name: str | None) -> None:
    """Refuse what no inventory may say. *name* is that of the guest; a profile is of no guest alone.

    :raises ProfileError:
    """
    if layer.options.get("name", name) != name:
        said = layer.options["name"]
        raise ProfileError(f"{layer.where}: name is {said!r}; a guest bears the name of its inventory host")
    for key, variable in GIVEN_FOR_A_RUN.items():
        if key in layer.options:
            raise ProfileError(
                f"{layer.where}: {key} is given for a run and not kept in inventory; use the extra variable {variable}"
            )


def as_text(key: str, value: t.Any, name: str) -> t.Any:
    """A dictionary given for a document of cloud-init as its text; every other value as it is.

    :raises AnsibleFilterError: for a list, which is no document of cloud-init.
    """
    if key not in TEXTS_OF_CLOUD_INIT or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        raise AnsibleFilterError(f"guest_spec of {name}: cloud_init.{key} is a list; it must be a dictionary or text")
    if not isinstance(value, t.Mapping):
        return value
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
