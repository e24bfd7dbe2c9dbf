# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What is known of applications and their projects of Docker Compose before there is a Docker to ask: presets, images, whether each is pinned."""

from __future__ import annotations

import re
import typing as t

import yaml
from ansible.errors import AnsibleFilterError

from ._guest_services import full_name, preset_of, service_of

_APPLICATIONS = "compose_app"
_PINNED = re.compile(r"@sha256:([0-9a-f]{64})$")
_TAG = re.compile(r":([A-Za-z0-9_][A-Za-z0-9_.-]*)$")
# ${NAME}, ${NAME-other}, ${NAME:-other}, ${NAME?why}, $NAME, and $$ for a dollar.
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?])([^{}]*))?\})")


def compose_images(
    project: t.Any, env: t.Mapping[str, t.Any] | None = None, images: t.Mapping[str, str] | None = None
) -> list[dict[str, t.Any]]:
    """The images of *project*, a compose file as text or as what it says, with the variables *env*.

    *images* are used instead of what the project says, by service. Each item has ``service``, ``image`` (empty where the service only
    builds one), ``is_pinned`` (its digest is written), ``is_fetched`` (nobody builds it) and ``version`` (its tag, or the beginning
    of its digest).

    :raises AnsibleFilterError: for what is no project, for parts of one that lie elsewhere, and for images of services that it has not.
    """
    services = _services(project)
    if foreign := sorted((images or {}).keys() - services.keys()):
        raise AnsibleFilterError(f"images: {', '.join(foreign)}: its services are {', '.join(services)}")
    found = []
    for name, service in services.items():
        written = (images or {}).get(name) or service.get("image") or ""
        image = _interpolated(str(written), env or {})
        pin, tag = _PINNED.search(image), _TAG.search(image.partition("@")[0].rpartition("/")[2])
        found.append(
            {
                "service": str(name),
                "image": image,
                "is_pinned": pin is not None,
                "is_fetched": bool(image) and "build" not in service,
                "version": tag[1] if tag else pin[1][:12] if pin else "",
            }
        )
    return found


def compose_preset(name: str) -> t.Mapping[str, t.Any]:
    """What the role of applications knows of the application *name*, in the keys of an item of its ``compose_app_apps`` and some more.

    :raises AnsibleFilterError: for one that it does not know.
    """
    return preset_of(service_of(full_name(_APPLICATIONS), _APPLICATIONS), name)


def same_images(project: t.Any, images: t.Mapping[str, str]) -> dict[str, str]:
    """*images* by service, and for each service of *project* that has the same image as one of them, and none in *images*, that one's.

    Programs that one image has several of run in one version.
    """
    services = project.get("services") if isinstance(project, t.Mapping) else None
    said = {
        str(name): str(service["image"])
        for name, service in (services or {}).items()
        if isinstance(service, t.Mapping) and service.get("image")
    }
    by_image = {said[name]: image for name, image in images.items() if name in said}
    beside = {name: by_image[image] for name, image in said.items() if image in by_image}
    return {**beside, **images}


def _services(project: t.Any) -> dict[str, dict[str, t.Any]]:
    read = project
    if isinstance(project, str):
        try:
            # Nothing but text: of `22:22` YAML 1.1 would make a number, and Compose has tags of its own.
            read = yaml.load(project, Loader=yaml.BaseLoader)
        except yaml.YAMLError as exc:
            raise AnsibleFilterError(f"the project is no YAML: {exc}") from exc
    services = read.get("services") if isinstance(read, t.Mapping) else None
    if not isinstance(services, t.Mapping) or not services:
        raise AnsibleFilterError("the project has no services")
    if "include" in read:
        raise AnsibleFilterError("the project includes other files, whose images nobody sees: write one file")
    found = {}
    for name, service in services.items():
        if not isinstance(service, t.Mapping):
            raise AnsibleFilterError(f"the service {name} of the project is no mapping")
        merged: dict[str, t.Any] = {}
        above = service.get("<<") or ()
        for each in reversed([above] if isinstance(above, t.Mapping) else list(above)):
            merged.update(each)
        merged.update(service)
        extends = merged.get("extends")
        if isinstance(extends, t.Mapping) and "file" in extends:
            raise AnsibleFilterError(f"the service {name} extends one of another file, whose image nobody sees")
        found[str(name)] = merged
    for service in found.values():
        extends = service.get("extends")
        base = extends.get("service") if isinstance(extends, t.Mapping) else extends
        if base in found and "image" in found[base]:
            service.setdefault("image", found[base]["image"])
    return found


def _interpolated(text: str, env: t.Mapping[str, t.Any]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        name, operator, other = match[2] or match[3], match[4] or "", match[5] or ""
        is_there = name in env and (str(env[name]) != "" or not operator.startswith(":"))
        return str(env[name]) if is_there else other if operator.endswith("-") else ""

    return _VARIABLE.sub(value, text)
