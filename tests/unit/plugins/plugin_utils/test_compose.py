# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images a compose file runs is known before there is a Docker to ask."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.plugin_utils._compose import compose_images, same_images

DIGEST = "@sha256:" + "0123456789abcdef" * 4


def test_services_that_have_one_image_go_to_another_together() -> None:
    project = {
        "services": {"app": {"image": "a:1"}, "cron": {"image": "a:1"}, "db": {"image": "b:1"}, "own": {"build": "."}}
    }
    assert same_images(project, {"app": "a:2"}) == {"app": "a:2", "cron": "a:2"}
    assert same_images(project, {"app": "a:2", "cron": "a:3"}) == {"app": "a:2", "cron": "a:3"}
    assert same_images(project, {"own": "c:1"}) == {"own": "c:1"} and same_images({}, {}) == {}


def image_of(written: str, **env: t.Any) -> dict[str, t.Any]:
    (found,) = compose_images({"services": {"web": {"image": written}}}, env)
    return found


@pytest.mark.parametrize(
    ("written", "is_pinned", "version"),
    [
        (f"docker.io/a/b:1.2{DIGEST}", True, "1.2"),
        (f"registry:5000/a/b{DIGEST}", True, "0123456789ab"),
        ("registry:5000/a/b", False, ""),
        ("docker.io/a/b:1.2", False, "1.2"),
        ("docker.io/a/b:1.2@sha256:0123", False, "1.2"),
    ],
)
def test_an_image_is_pinned_by_its_whole_digest(written: str, is_pinned: bool, version: str) -> None:
    found = image_of(written)
    assert (found["is_pinned"], found["version"]) == (is_pinned, version)


@pytest.mark.parametrize(
    ("written", "env", "image"),
    [
        ("a:${TAG}", {"TAG": "1"}, "a:1"),
        ("a:$TAG", {"TAG": 1}, "a:1"),
        ("a:${TAG:-release}", {}, "a:release"),
        ("a:${TAG:-release}", {"TAG": ""}, "a:release"),
        ("a:${TAG-release}", {"TAG": ""}, "a:"),
        ("a:${TAG:-release}", {"TAG": "2"}, "a:2"),
        ("a:${TAG:?say it}", {"TAG": "2"}, "a:2"),
        ("a:$${TAG}", {"TAG": "2"}, "a:${TAG}"),
    ],
)
def test_variables_are_filled_in_as_compose_does(written: str, env: dict[str, t.Any], image: str) -> None:
    assert image_of(written, **env)["image"] == image


def test_a_file_is_read_with_its_anchors_and_tags() -> None:
    text = f"""
x-base: &base {{image: "a:1{DIGEST}", restart: always}}
services:
  one: {{<<: *base, ports: [22:22]}}
  two: {{extends: {{service: one}}, environment: !reset []}}
"""
    assert [found["image"] for found in compose_images(text)] == [f"a:1{DIGEST}"] * 2


def test_what_is_built_is_not_pinned_and_not_fetched() -> None:
    (found,) = compose_images({"services": {"web": {"build": ".", "image": "a:1"}}})
    assert not found["is_pinned"] and not found["is_fetched"]


def test_images_of_the_application_go_first() -> None:
    (found,) = compose_images({"services": {"web": {"image": "a:1"}}}, {}, {"web": f"b:2{DIGEST}"})
    assert found["image"] == f"b:2{DIGEST}" and found["is_pinned"]


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("a: [", "is no YAML"),
        ("a: 1", "has no services"),
        ({"include": ["other.yaml"], "services": {"web": {"image": "a"}}}, "includes other files"),
        ({"services": {"web": {"extends": {"file": "other.yaml", "service": "a"}}}}, "of another file"),
        ({"services": {"web": None}}, "is no mapping"),
    ],
)
def test_what_cannot_be_seen_is_refused(project: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        compose_images(project)


def test_an_image_for_a_service_that_there_is_not_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="images: wbe: its services are web"):
        compose_images(yaml.safe_load("services: {web: {image: a}}"), {}, {"wbe": "b"})
