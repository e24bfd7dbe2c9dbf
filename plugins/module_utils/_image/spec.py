# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the user wrote of an image: the mother of its options."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .._core.declared import check_choice, check_name, check_path
from .._core.errors import SpecError, bad_value
from .._core.options import Option, always

STATES = ("present", "absent")
KINDS = ("container", "vm")
SUITES = ("bookworm", "trixie")
FIRMWARE = ("bios",)

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "kind": {"type": "str", "choices": list(KINDS)},
    "build": {
        "type": "dict",
        "options": {
            "suite": {"type": "str", "choices": list(SUITES), "required": True},
            "packages": {"type": "list", "elements": "str"},
            "firmware": {"type": "str", "choices": list(FIRMWARE)},
        },
    },
    "path": {"type": "str"},
}
CONSTRAINTS: dict[str, t.Any] = {"mutually_exclusive": [("build", "path")]}

_ONCE = "on creation; afterwards a difference is reported in stale: give the new image another name"
OPTIONS = (
    Option("kind", live=always, note="on creation; never afterwards: give the new image another name"),
    Option("build.suite", live=always, note=_ONCE),
    Option("build.packages", live=always, show=lambda packages: packages and list(packages), note=_ONCE),
    Option("build.firmware", live=always, note=_ONCE),
    Option("path", live=always, note=_ONCE),
)

# A trailing minus would make apt remove the package.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]")


@dataclasses.dataclass(frozen=True)
class Build:
    """What an image is built of: a Debian release and, sorted, the packages beside those that every guest needs."""

    suite: str
    packages: tuple[str, ...] | None = None
    firmware: str | None = None


@dataclasses.dataclass(frozen=True)
class Spec:
    """An image as declared. ``None`` is not written."""

    name: str
    state: str = "present"
    kind: str | None = None
    build: Build | None = None
    path: str | None = None


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared image from a module's parameters.

    :raises SpecError:
    """
    spec = Spec(
        name=check_name("name", params["name"]),
        state=check_choice("state", params.get("state"), STATES) or "present",
        kind=check_choice("kind", params.get("kind"), KINDS),
        build=parse_build(params.get("build")),
        path=check_path("path", params.get("path")),
    )
    if spec.build is not None and spec.path is not None:
        raise SpecError("build, path: an image comes from one of the two. Write one of them", key="build")
    if spec.build is not None and spec.build.firmware is not None and spec.kind == "container":
        raise SpecError("build.firmware: belongs to an image of kind vm, a container has none", key="build.firmware")
    return spec


def parse_build(value: t.Mapping[str, t.Any] | None) -> Build | None:
    """The recipe in canonical form: each package once, in order.

    :raises SpecError:
    """
    if value is None:
        return None
    packages = value.get("packages")
    for package in packages or ():
        if not isinstance(package, str) or not _PACKAGE.fullmatch(package):
            raise bad_value(
                "build.packages", package, "names of Debian packages: lower-case letters, digits, '+', '-' and '.'"
            )
    suite = check_choice("build.suite", value.get("suite"), SUITES)
    if suite is None:
        raise SpecError(f"build.suite: is needed. Allowed: one of {', '.join(SUITES)}", key="build.suite")
    return Build(
        suite=suite,
        packages=None if packages is None else tuple(sorted(set(packages))),
        firmware=check_choice("build.firmware", value.get("firmware"), FIRMWARE),
    )


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new image gets where the user wrote nothing.

    :raises SpecError: without a kind or without a source: nothing can stand in for them.
    """
    if spec.kind is None:
        raise SpecError(
            f"kind: is needed to make the image {spec.name}. Allowed: one of {', '.join(KINDS)}", key="kind"
        )
    if spec.build is None and spec.path is None:
        raise SpecError(f"build, path: one of the two is needed to make the image {spec.name}", key="build")
    if spec.build is not None and spec.kind == "vm":
        return dataclasses.replace(spec, build=dataclasses.replace(spec.build, firmware=spec.build.firmware or "bios"))
    return spec
