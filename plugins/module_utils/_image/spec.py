# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of an image: the mother of its options."""

from __future__ import annotations

import typing as t

from .._core.errors import SpecError
from .._core.options import CREATION, NAME, PATH, RECORD, TASK, Option, Options, always, each, fixed, listed, matching

STATES = ("present", "absent")
KINDS = ("container", "vm")
SUITES = ("bookworm", "trixie")
FIRMWARE = ("bios",)

_ONCE = "a difference is reported in stale: give the new image another name"
# A trailing minus would make apt remove the package.
_PACKAGE = matching(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]",
    "names of Debian packages: lower-case letters, digits, '+', '-' and '.'",
    ("git", "vim"),
)
OPTIONS = Options(
    Option("name", check=NAME, home=TASK, required=True),
    Option("state", home=TASK, choices=STATES, default="present"),
    Option("kind", home=RECORD, choices=KINDS, live=always, loss=fixed),
    Option("build.suite", home=CREATION, choices=SUITES, required=True, live=always, note=_ONCE),
    Option("build.packages", "list", each(_PACKAGE, sorts=True), home=CREATION, live=always, show=listed, note=_ONCE),
    Option("build.firmware", home=CREATION, choices=FIRMWARE, live=always, note=_ONCE),
    Option("path", check=PATH, home=CREATION, live=always, note=_ONCE),
)
ARGUMENTS = OPTIONS.arguments()
CONSTRAINTS: dict[str, t.Any] = {"mutually_exclusive": [("build", "path")]}


class Build(t.NamedTuple):
    """What an image is built of: a Debian release and, sorted, the packages beside those that every guest needs."""

    suite: str
    packages: tuple[str, ...] | None = None
    firmware: str | None = None


class Spec(t.NamedTuple):
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
    values = OPTIONS.parse(params).values
    recipe = {path.removeprefix("build."): values.pop(path) for path in [*values] if path.startswith("build.")}
    if params.get("build") is not None and "suite" not in recipe:
        raise SpecError(f"build.suite: is needed. Allowed: one of {', '.join(SUITES)}", key="build.suite")
    spec = Spec(**values, build=Build(**recipe) if recipe else None)
    if spec.build is not None and spec.path is not None:
        raise SpecError("build, path: an image comes from one of the two. Write one of them", key="build")
    if spec.build is not None and spec.build.firmware is not None and spec.kind == "container":
        raise SpecError("build.firmware: belongs to an image of kind vm, a container has none", key="build.firmware")
    return spec


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
        return spec._replace(build=spec.build._replace(firmware=spec.build.firmware or FIRMWARE[0]))
    return spec
