# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's inventory becomes: the options of its module."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.homelab.hybrid.plugins.filter.guest_spec import guest_spec


def test_a_guest_is_started_unless_it_says_otherwise() -> None:
    assert guest_spec({"memory": "1GiB"}, "web") == {"name": "web", "state": "started", "memory": "1GiB"}
    assert guest_spec({"state": "stopped"}, "web")["state"] == "stopped"


def test_permission_is_given_for_the_run() -> None:
    options = guest_spec({}, "web", allow=["adopt"], delete=["rootfs"])
    assert guest_spec({}, "web", allow="adopt,replace_disk", delete=" rootfs ", kind="container") == options
    assert (options["allow"], options["delete"]) == (["adopt"], ["rootfs"])
    assert not {"allow", "delete"} & guest_spec({}, "web").keys()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"allow": ["adopt"]}, r"""Give it as -e '{"guest_allow": \["adopt"\]}'"""),
        ({"delete": ["disks"]}, r"""Give it as -e '{"guest_delete": \["disks"\]}'"""),
        ({"name": "other"}, "bears the name of its inventory host"),
        ("memory: 1GiB", "must be a dictionary"),
        ({"cloud_init": {"user_data": ["a"]}}, "cloud_init.user_data is a list"),
    ],
)
def test_what_may_not_stand_in_inventory_is_refused(spec: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        guest_spec(spec, "web")


@pytest.mark.parametrize(("written", "form"), [("memory=1GiB", "str"), ("7", "int"), ("1.5", "float"), ("[1]", "list")])
def test_a_wrong_form_is_named_as_a_person_calls_it(written: str, form: str) -> None:
    """Ansible marks what it reads from a file with types of its own."""
    with pytest.raises(AnsibleFilterError, match=f"guest_spec of web: {form} is given"):
        guest_spec(DataLoader().load(f"guest_spec: {written}")["guest_spec"], "web")


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


CATALOG = {
    "small": {"memory": "512MiB", "vcpus": 1, "tags": ["small"], "networks": [{"name": "lan", "bridge": "br0"}]},
    "media": {"memory": "2GiB", "onboot": True, "mounts": [{"name": "films", "source": "/srv/films", "mp": "/films"}]},
    "nothing": None,
}


def merged(spec: t.Any, *profiles: str, kind: str | None = "container", **catalog: t.Any) -> dict[str, t.Any]:
    options = guest_spec(spec, "web", profiles=profiles, catalog={**CATALOG, **catalog}, kind=kind)
    return {key: value for key, value in options.items() if key not in ("name", "state")}


def test_profiles_are_merged_in_their_order_and_the_guest_over_them() -> None:
    assert merged({}, "small", "media")["memory"] == "2GiB"
    assert merged({}, "media", "small")["memory"] == "512MiB"
    assert merged({"memory": "4GiB"}, "small", "media")["memory"] == "4GiB"
    assert guest_spec(None, "web", profiles=["small", "nothing"], catalog=CATALOG)["vcpus"] == 1


def test_a_state_may_come_from_a_profile() -> None:
    assert guest_spec({}, "web", profiles=["spare"], catalog={"spare": {"state": "stopped"}})["state"] == "stopped"


def test_a_state_that_is_taken_away_is_that_of_a_guest_without_one() -> None:
    catalog = {"spare": {"state": "stopped"}}
    assert guest_spec({"state": None}, "web", profiles=["spare"], catalog=catalog)["state"] == "started"


def test_items_are_merged_by_name_and_new_ones_follow() -> None:
    own = {"networks": [{"name": "dmz", "bridge": "br1"}, {"name": "lan", "ip": "10.20.0.5/24"}]}
    assert merged(own, "small")["networks"] == [
        {"name": "lan", "bridge": "br0", "ip": "10.20.0.5/24"},
        {"name": "dmz", "bridge": "br1"},
    ]
    assert merged({"networks": [{"name": "lan", "state": "absent"}]}, "small")["networks"][0]["state"] == "absent"


def test_disks_are_merged_by_name() -> None:
    base = {"disks": [{"name": "root", "pool": "main", "size": "8GiB"}]}
    own = {"disks": [{"name": "root", "size": "20GiB"}]}
    assert merged(own, "base", kind="vm", base=base)["disks"] == [{"name": "root", "pool": "main", "size": "20GiB"}]


def test_plain_lists_are_replaced() -> None:
    assert merged({"tags": ["web"]}, "small")["tags"] == ["web"]


def test_dictionaries_are_merged_key_by_key() -> None:
    base = {"cloud_init": {"user": "admin", "user_data": {"timezone": "Etc/UTC", "packages": ["a"]}}}
    made = merged({"cloud_init": {"user_data": {"packages": ["b"]}}}, "base", kind="vm", base=base)["cloud_init"]
    assert made["user"] == "admin"
    assert yaml.safe_load(made["user_data"]) == {"timezone": "Etc/UTC", "packages": ["b"]}


def test_the_startup_of_the_inventory_is_laid_over_that_of_the_options() -> None:
    catalog = {"early": {"startup": {"order": 1, "up_delay": 5}}}

    def startup(own: t.Any, given: t.Any) -> t.Any:
        return guest_spec(own, "web", profiles=["early"], catalog=catalog, startup=given).get("startup")

    assert startup({}, None) == startup({}, {}) == {"order": 1, "up_delay": 5}
    assert startup({"startup": {"order": 2}}, {"order": 3}) == {"order": 3, "up_delay": 5}
    assert startup({}, {"up_delay": None}) == {"order": 1, "up_delay": None}
    assert "startup" not in guest_spec({}, "web", startup={})
    with pytest.raises(AnsibleFilterError, match="guest_startup of web: int is given"):
        startup({}, 3)


def test_null_takes_away_what_a_profile_says() -> None:
    assert merged({"memory": None, "networks": None}, "small") == {
        "memory": None,
        "networks": None,
        "vcpus": 1,
        "tags": ["small"],
    }


@pytest.mark.parametrize("kind", ["container", None])
def test_an_option_is_one_by_all_its_names(kind: str | None) -> None:
    assert merged({"autostart": False}, "media", kind=kind)["autostart"] is False
    own = {"start_on_boot": False, "mounts": [{"name": "films", "path": "/media"}]}
    made = merged(own, "media", kind=kind)
    assert made["mounts"] == [{"name": "films", "source": "/srv/films", "path": "/media"}]
    assert made["autostart"] is False
    assert "onboot" not in made


def test_the_number_of_cpus_is_one_option_by_both_its_names() -> None:
    assert merged({"cpu": {"limit": 1.5}}, "small")["cpu"] == {"cores": 1, "limit": 1.5}
    made = merged({"vcpus": 4}, "pinned", pinned={"cpu": {"cores": 2, "weight": 50}})
    assert made == {"cpu": {"cores": 4, "weight": 50}}
    made = merged({"vcpus": None}, "pinned", pinned={"cpu": {"cores": 2, "weight": 50}})
    assert made == {"cpu": {"cores": None, "weight": 50}}, "null takes it away by both its names"
    both = merged({"vcpus": 4, "cpu": {"cores": 2}}, "small")
    assert {"vcpus", "cpu"} <= both.keys(), "the module refuses what one place says twice"


@pytest.mark.parametrize(
    ("spec", "profiles", "catalog", "said"),
    [
        ({}, ["meda"], {}, "guest_profiles of web: there is no profile 'meda'.* are: media, nothing, small"),
        ({}, "small", {}, "guest_profiles of web: must be a list of names, not 'small'"),
        ({}, ["odd"], {"odd": "1GiB"}, "guest_profile_catalog.odd.: str is given"),
        (
            {},
            ["odd"],
            {"odd": {"allow": ["adopt"]}},
            "guest_profile_catalog.odd.: allow: permission is given for a run",
        ),
        (
            {},
            ["odd"],
            {"odd": {"delete": ["rootfs"]}},
            "guest_profile_catalog.odd.: delete: permission is given for a run",
        ),
        ({}, ["odd"], {"odd": {"name": "web"}}, "guest_profile_catalog.odd.: name is 'web'"),
        ({"networks": [{"bridge": "br1"}]}, ["small"], {}, "guest_spec of web.networks: item 1 has no name"),
        ({"mounts": [{"name": "a"}, {"name": "a"}]}, [], {}, "the name 'a' is there twice"),
        ({"autostart": True, "onboot": False}, [], {}, "autostart is there twice, also by another of its names"),
    ],
)
def test_what_cannot_be_merged_is_refused(spec: t.Any, profiles: t.Any, catalog: t.Any, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        guest_spec(spec, "web", profiles=profiles, catalog={**CATALOG, **catalog})


def test_an_empty_catalog_says_so() -> None:
    with pytest.raises(AnsibleFilterError, match="are: none"):
        guest_spec({}, "web", profiles=["small"])


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="must be vm or container"):
        guest_spec({}, "web", kind="jail")


def test_the_words_of_a_run_reach_the_guests_that_they_are_for() -> None:
    words = {"allow": ["adopt", "replace_disk"], "delete": ["disks", "rootfs", "all"]}
    container, vm = (guest_spec({}, "web", kind=kind, **words) for kind in ("container", "vm"))
    assert (container["allow"], container["delete"]) == (["adopt"], ["rootfs", "all"])
    assert (vm["allow"], vm["delete"]) == (["adopt", "replace_disk"], ["disks", "all"])
