# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's inventory becomes: the options of its module."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.homelab.hybrid.plugins.filter.guest_spec import guest_spec


def test_a_guest_is_started_unless_it_says_otherwise() -> None:
    assert guest_spec({"memory": "1GiB"}, "web") == {"name": "web", "state": "started", "memory": "1GiB"}
    assert guest_spec({"state": "stopped"}, "web")["state"] == "stopped"


def test_permission_is_given_for_the_run() -> None:
    options = guest_spec({}, "web", allow=["adopt"], delete=["rootfs"])
    assert (options["allow"], options["delete"]) == (["adopt"], ["rootfs"])
    assert not {"allow", "delete"} & guest_spec({}, "web").keys()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"allow": ["adopt"]}, "extra variable guest_allow"),
        ({"delete": ["disks"]}, "extra variable guest_delete"),
        ({"name": "other"}, "bears the name of its inventory host"),
        ("memory: 1GiB", "must be a dictionary"),
    ],
)
def test_what_may_not_stand_in_inventory_is_refused(spec: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        guest_spec(spec, "web")


def test_documents_of_cloud_init_become_text() -> None:
    user_data = {"write_files": [{"path": "/etc/motd", "content": "a\nb\n"}], "timezone": "Etc/UTC"}
    spec = {
        "cloud_init": {"user": "admin", "user_data": user_data, "network_config": {"version": 2}, "meta_data": "a: b"}
    }
    made = guest_spec(spec, "web")["cloud_init"]
    assert made["user_data"].startswith("#cloud-config\n")
    assert yaml.safe_load(made["user_data"]) == user_data
    assert list(yaml.safe_load(made["user_data"])) == ["write_files", "timezone"]
    assert yaml.safe_load(made["network_config"]) == {"version": 2}
    assert (made["meta_data"], made["user"]) == ("a: b", "admin")
    assert spec["cloud_init"]["user_data"] is user_data
