# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A preset of an application is data that says everything, and says it once."""

from __future__ import annotations

import re
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from unit.tree import ROOT

from ansible_collections.homelab.hybrid.plugins.plugin_utils._compose import compose_images, compose_preset

ROLE = ROOT / "roles" / "compose_app"
NAMES = sorted(path.stem for path in (ROLE / "files" / "presets").iterdir())
OPTIONS: dict[str, t.Any] = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))[
    "argument_specs"
]["main"]["options"]["compose_app_apps"]["options"]
VARIABLES: dict[str, t.Any] = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
# What no user writes: it is for the documentation, for the guest, and for the variables that this role knows.
OWN = {"description", "guest", "notes", "variables"}
NEEDED = {"title", "description", "guest", "project", "port", "check", "backup", "data", "notes"}
IMAGE = re.compile(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9/-]+:\d[\w.-]*@sha256:[0-9a-f]{64}")
# ${NAME}, and ${NAME:-other}, of which the first must be given.
USED = re.compile(r"(?<!\$)\$\{(\w+)(:-[^}]*)?\}")
each_preset = pytest.mark.parametrize("name", NAMES)


def preset(name: str) -> t.Mapping[str, t.Any]:
    return compose_preset(name)


def services(name: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = preset(name)["project"]["services"]
    return found


def test_the_presets_that_there_are_may_be_chosen() -> None:
    assert OPTIONS["preset"]["choices"] == NAMES


def test_one_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(AnsibleFilterError, match=rf"no preset vaultwarten\. There are {', '.join(NAMES)}"):
        preset("vaultwarten")


@each_preset
def test_it_says_all_that_is_needed_in_the_words_of_an_application(name: str) -> None:
    its = preset(name)
    assert NEEDED <= its.keys() <= OPTIONS.keys() | OWN
    assert its["check"].keys() <= OPTIONS["check"]["options"].keys()
    assert its["backup"].keys() <= OPTIONS["backup"]["options"].keys()
    assert isinstance(its["port"], int) and all(isinstance(note, str) for note in its["notes"])


@each_preset
def test_its_images_have_a_registry_a_version_and_a_digest(name: str) -> None:
    found = compose_images(preset(name)["project"])
    assert [image["image"] for image in found if not IMAGE.fullmatch(image["image"])] == []


@each_preset
def test_what_it_runs_comes_back_by_itself_or_is_a_job(name: str) -> None:
    assert {service.get("restart") for service in services(name).values()} <= {"unless-stopped", None}
    assert any("restart" in service for service in services(name).values())


@each_preset
def test_its_variables_are_those_that_somebody_gives(name: str) -> None:
    """Compose makes an empty text of one that nobody gives, and a password that is empty lets everybody in."""
    its = preset(name)
    used = USED.findall(yaml.safe_dump(its["project"], width=10_000))
    given = {*its.get("secrets", ()), *its["variables"]}
    assert {name for name, other in used if not other} <= given
    null = {
        name
        for service in services(name).values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert given <= {name for name, _other in used} | null
    assert set(its["variables"].values()) <= VARIABLES["__compose_app_known"].keys()


@each_preset
def test_its_page_is_where_its_port_is(name: str) -> None:
    assert preset(name)["variables"]["HTTP_PORT"] == "port"


@each_preset
def test_what_it_mounts_is_data(name: str) -> None:
    its = preset(name)
    mounted = {volume.partition(":")[0] for service in services(name).values() for volume in service.get("volumes", ())}
    assert mounted <= set(its["data"].values())
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in its["backup"].get("sqlite", ()))


def test_presets_share_a_guest_without_sharing_a_port() -> None:
    published = [
        port.partition(":-")[2].partition("}")[0] if ":-" in port else str(preset(name)["port"])
        for name in NAMES
        for service in services(name).values()
        for port in service.get("ports", ())
    ]
    assert len(published) == len(set(published)), published


@each_preset
def test_it_recommends_a_guest(name: str) -> None:
    assert preset(name)["guest"].keys() == {"vcpus", "memory", "rootfs"}
