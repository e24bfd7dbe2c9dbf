# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest of whose inventory only the services are written."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from unit.tree import ROLES, files

from ansible_collections.homelab.hybrid.plugins.plugin_utils._advice import guest_advice
from ansible_collections.homelab.hybrid.plugins.plugin_utils._completed import completed
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import options_of, read_guest
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_services import services_of
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_warnings import guest_warnings
from ansible_collections.homelab.hybrid.plugins.plugin_utils._host_options import host_options
from ansible_collections.homelab.hybrid.plugins.plugin_utils._profiles import ARGUMENTS
from ansible_collections.homelab.hybrid.plugins.plugin_utils._recommended import kind_of

MakeRole = t.Callable[..., None]
HOST: dict[str, t.Any] = {
    "inventory_hostname": "alpha",
    "ansible_connection": "local",
    "hypervisor_bridges": [{"name": "br0", "state": "absent"}, {"name": "br1", "mode": "ports"}, {"name": "br2"}],
    "hypervisor_storage_pools": [{"name": "main", "path": "/srv"}, {"name": "second", "path": "/srv2"}],
}
GUEST: dict[str, t.Any] = {"guest_kind": "container", "guest_hypervisor": "alpha", "guest_services": ["unbound"]}


def options(host: dict[str, t.Any] | None = None, **variables: t.Any) -> dict[str, t.Any]:
    return options_of("dns", {**GUEST, **variables}, HOST if host is None else host)


def test_a_name_of_a_service_is_a_whole_guest() -> None:
    assert options() == {
        "name": "dns",
        "state": "started",
        "description": "DNS resolver (unbound)",
        "autostart": True,
        "wait_for": ["ip", "systemd"],
        "memory": "256MiB",
        "vcpus": 1,
        "image": "debian-13",
        "rootfs": {"pool": "main"},
        "networks": [{"name": "lan", "bridge": "br1"}],
    }
    assert read_guest("dns", GUEST, HOST)[1] is None


SERVICES = [
    role.name
    for role in ROLES
    if any(f"__{role.name}_service:" in path.read_text() for path in files(role / "vars", "main.yml"))
]


@pytest.mark.parametrize(
    ("variables", "features"),
    [({}, {"docker": True}), ({"board_method": "image"}, {"docker": True}), ({"board_method": "package"}, None)],
)
def test_what_is_recommended_may_depend_on_a_variable_of_the_role(
    a_role: MakeRole, variables: dict[str, t.Any], features: t.Any
) -> None:
    declared = "guest: {spec: {memory: 1GiB}, by: {board_method: {image: {features: {docker: true}}}}}"
    a_role("board", declared, {"board_method": "image"})
    found = options(guest_services=["my.lab.board"], **variables)
    assert (found["memory"], found.get("features")) == ("1GiB", features)


@pytest.mark.parametrize(
    ("port", "found"),
    [
        (
            "/dev/serial/by-id/usb-stick-if00",
            [{"name": "zigbee", "type": "serial", "id": "usb-stick-if00", "gid": "20"}],
        ),
        ("/dev/ttyUSB0", None),
        ("tcp://192.0.2.5:6638", None),
        (None, None),
    ],
)
def test_a_container_is_given_the_serial_port_that_its_service_names_by_what_it_is(
    a_role: MakeRole, port: str | None, found: t.Any
) -> None:
    a_role("board", "guest: {spec: {memory: 1GiB}, serial: {board_port: {name: zigbee, gid: '20'}}}")
    variables = {"guest_services": ["my.lab.board"], "board_port": port}
    assert options(**variables).get("devices") == found
    read = options_of("dns", {**GUEST, **variables, "guest_kind": "vm"}, HOST)
    assert "devices" not in read and read["memory"] == "1GiB"


@pytest.mark.parametrize(
    ("variables", "kind"), [({}, "container"), ({"board_shares": True}, "vm"), ({"board_shares": False}, "container")]
)
def test_the_kind_of_guest_may_depend_on_a_variable_of_the_role(
    a_role: MakeRole, variables: dict[str, t.Any], kind: str
) -> None:
    a_role("board", "guest: {kind: container, kind_by: {board_shares: {'True': vm}}}", {"board_shares": False})
    assert kind_of(services_of("web", {"guest_services": ["my.lab.board"], **variables})) == kind


@pytest.mark.parametrize("kind", ["container", "vm"])
@pytest.mark.parametrize("name", SERVICES)
def test_what_every_role_recommends_is_a_guest(name: str, kind: str) -> None:
    is_appliance = any(service.is_appliance for service in services_of("web", {"guest_services": [name]}))
    error = read_guest("web", {**GUEST, "guest_kind": kind, "guest_services": [name], "guest_appliance": {}}, HOST)[1]
    assert (error is None) == (kind == "vm" or not is_appliance), error


@pytest.mark.parametrize("name", SERVICES)
def test_every_role_recommends_options_that_its_kind_of_guest_has(name: str) -> None:
    """What another kind does not have is left out, so that a word that no kind has would be left out unseen."""
    (service,) = services_of("web", {"guest_services": [name]})
    assert not service.guest["spec"].keys() - ARGUMENTS[service.guest["kind"]].keys()


def test_what_the_inventory_says_goes_before_what_is_recommended() -> None:
    found = options(
        guest_profile_catalog={"p": {"memory": "1GiB", "vcpus": 2, "rootfs": {"pool": "second"}}},
        guest_profiles=["p"],
        guest_spec={
            "vcpus": 3,
            "autostart": None,
            "networks": [{"name": "dmz", "ip": "10.0.0.5/24"}],
            "image": "mine",
        },
    )
    assert (found["memory"], found["vcpus"], found["rootfs"]) == ("1GiB", 3, {"pool": "second"})
    assert found["networks"] == [{"name": "dmz", "ip": "10.0.0.5/24", "bridge": "br1"}]
    assert (found["autostart"], found["image"]) == (None, "mine")


def test_cores_of_the_inventory_take_the_place_of_recommended_processors() -> None:
    found = options(guest_spec={"cpu": {"cores": 2}})
    assert found["cpu"] == {"cores": 2} and "vcpus" not in found


@pytest.mark.parametrize(
    ("mode", "spec", "servers"),
    [
        ("nat", {}, ["10.9.0.1"]),
        ("routed", {"dns": {"search": ["lab.home.arpa"]}}, ["10.9.0.1"]),
        ("nat", {"dns": {"servers": ["192.0.2.53"]}}, ["192.0.2.53"]),
        ("nat", {"dns": {"servers": None}}, None),
        ("isolated", {}, None),
        ("ports", {}, None),
    ],
)
def test_a_guest_asks_its_bridge_where_that_answers(mode: str, spec: dict[str, t.Any], servers: t.Any) -> None:
    host = {**HOST, "hypervisor_bridges": [{"name": "nat0", "mode": mode, "address": "10.9.0.1/24"}]}
    assert options(host, guest_spec=spec).get("dns", {}).get("servers") == servers


def test_what_null_takes_away_stays_away() -> None:
    assert options(guest_spec={"networks": None})["networks"] is None


def test_a_host_says_what_its_guests_have_by_default() -> None:
    host = {
        **HOST,
        "hypervisor_default_bridge": "br2",
        "hypervisor_default_pool": "second",
        "hypervisor_default_image": "debian-12",
        "hypervisor_images": [{"name": "mine", "kind": "container"}],
    }
    found = options(host)
    assert (found["networks"][0]["bridge"], found["rootfs"]["pool"], found["image"]) == ("br2", "second", "debian-12")
    del host["hypervisor_default_image"]
    assert options(host)["image"] == "mine"


def test_a_host_without_a_bridge_is_told_of_before_anything_is_made() -> None:
    with pytest.raises(AnsibleFilterError, match=r"dns: networks\[lan\] names no bridge, and its hypervisor has no"):
        options({"hypervisor_storage_pools": [{"name": "main"}]})


def test_several_services_share_a_guest(a_role: MakeRole) -> None:
    a_role(
        "films",
        "guest: {kind: container, spec: {memory: 1.5GiB, vcpus: 4, rootfs: {size: 8GiB}, features: {nesting: true},"
        " mounts: [{name: media, source: /srv/m, path: /m}]}}",
    )
    a_role(
        "photos",
        "guest: {spec: {memory: 512MiB, vcpus: 2, rootfs: {size: 4GiB}, features: {nesting: false, fuse: true},"
        " mounts: [{name: media, readonly: true}, {name: own, source: /srv/o, path: /o}]}}",
    )
    found = options(guest_services=["my.lab.films", "my.lab.photos", "unbound"])
    assert (found["memory"], found["vcpus"]) == ("2304MiB", 4)
    assert found["rootfs"] == {"pool": "main"}, "a folder cannot limit a root"
    pools = {"hypervisor_storage_pools": [{"name": "fast", "type": "btrfs"}]}
    assert options({**HOST, **pools}, guest_services=["my.lab.films", "my.lab.photos"])["rootfs"] == {
        "pool": "fast",
        "size": "12GiB",
    }
    assert found["features"] == {"nesting": True, "fuse": True}
    assert [mount["name"] for mount in found["mounts"]] == ["media", "own"]
    assert found["description"] == "films, photos, DNS resolver (unbound)"


@pytest.mark.parametrize(
    ("apps", "memory", "size", "vcpus"),
    [
        ([], "2GiB", "16GiB", 2),
        ([{"name": "wiki", "port": 80}, {"name": "blog", "port": 81}], "2GiB", "16GiB", 2),
        ([{"name": "vault", "preset": "vaultwarden"}], "512MiB", "6GiB", 1),
        (
            [{"name": "vault", "preset": "vaultwarden"}, {"name": "kuma", "preset": "uptime_kuma"}],
            "1536MiB",
            "14GiB",
            1,
        ),
        ([{"name": "vault", "preset": "vaultwarden"}, {"name": "wiki", "port": 80}], "2560MiB", "22GiB", 2),
        ([{"name": "vault", "preset": "vaultwarden", "state": "absent"}], "2GiB", "22GiB", 2),
        (
            [{"name": "kuma", "preset": "uptime_kuma"}, {"name": "vault", "preset": "vaultwarden", "state": "absent"}],
            *("1GiB", "14GiB", 1),
        ),
    ],
)
def test_presets_of_applications_recommend_the_guest_of_all_of_them(
    apps: list[dict[str, t.Any]], memory: str, size: str, vcpus: int
) -> None:
    host = {**HOST, "hypervisor_storage_pools": [{"name": "fast", "type": "btrfs"}]}
    found = options(host, guest_services=["compose_app"], compose_app_apps=apps)
    assert (found["memory"], found["rootfs"]["size"], found["vcpus"]) == (memory, size, vcpus)
    assert found["features"] == {"docker": True}


def test_a_preset_that_there_is_not_is_refused_before_there_is_a_guest() -> None:
    with pytest.raises(AnsibleFilterError, match=r"there is no preset vaultwarten\. There are forgejo, nextcloud"):
        options(guest_services=["compose_app"], compose_app_apps=[{"name": "vault", "preset": "vaultwarten"}])


def test_a_container_of_a_service_becomes_a_machine_where_the_inventory_says_so(a_role: MakeRole) -> None:
    a_role("films", "guest: {spec: {memory: 1GiB, rootfs: {size: 8GiB}, features: {nesting: true}}}")
    found = options(guest_kind="vm", guest_services=["my.lab.films"])
    assert found["disks"] == [{"name": "root", "size": "8GiB", "pool": "main"}]
    assert found["image"] == "debian-13-vm" and "rootfs" not in found and "features" not in found
    assert read_guest("dns", {**GUEST, "guest_kind": "vm", "guest_services": ["my.lab.films"]}, HOST)[1] is None


def test_a_guest_without_services_is_what_the_inventory_says_and_nothing_else() -> None:
    variables = {"guest_kind": "container", "guest_hypervisor": "alpha", "guest_spec": {"memory": "1GiB"}}
    assert options_of("web", variables, HOST) == {"memory": "1GiB", "name": "web", "state": "started"}


def test_a_missing_image_of_debian_is_a_part_of_the_plan() -> None:
    hostvars = {"alpha": HOST, "dns": GUEST, "web": {**GUEST, "guest_services": None}}
    image = {"name": "debian-13", "kind": "container", "build": {"suite": "trixie"}}
    assert host_options(HOST, "images", ["dns", "web"], hostvars) == [image]
    assert host_options(HOST, "images", ["web"], hostvars) == []
    own = {"name": "debian-13", "kind": "container", "url": "https://example.org/debian.tar.xz"}
    assert host_options({**HOST, "hypervisor_images": [own]}, "images", ["dns"], hostvars) == [own]
    assert guest_warnings("dns", GUEST, {**HOST, "hypervisor_images": []}) == []


def test_what_an_inventory_leaves_open_follows_from_the_rest() -> None:
    hostvars = {"alpha": HOST, "dns": {"guest_services": ["unbound"]}, "plain": {}, "odd": {"guest_services": ["x"]}}
    dns, plain, odd = completed(["dns", "plain", "odd"], ["alpha"], hostvars)
    assert dns == {
        "name": "dns",
        "is_secret": False,
        "variables": {
            "guest_hypervisor": "alpha",
            "guest_kind": "container",
            "ansible_connection": "homelab.hybrid.lxc",
            "ansible_hypervisor": {"ansible_connection": "local"},
            "ansible_python_interpreter": "/usr/bin/python3",
        },
    }
    assert plain["variables"] == odd["variables"] == {"guest_hypervisor": "alpha"}
    assert completed(["plain"], ["alpha", "beta"], hostvars) == [], "of two hypervisors none is the only one"


@pytest.mark.parametrize(
    "own", [{"ansible_connection": "ssh"}, {"ansible_host": "10.0.0.5"}], ids=["a connection", "an address"]
)
def test_a_guest_with_a_way_of_its_own_keeps_it(own: dict[str, str]) -> None:
    assert completed(["dns"], ["alpha"], {"alpha": HOST, "dns": {**GUEST, **own}}) == []


def test_windows_is_reached_through_its_agent_with_its_own_shell() -> None:
    desk = {"guest_kind": "vm", "guest_spec": {"os_variant": "windows"}}
    hostvars = {"alpha": HOST, "desk": desk, "own": {**desk, "ansible_shell_type": "cmd"}, "unix": {"guest_kind": "vm"}}
    found, own, unix = (each["variables"] for each in completed(["desk", "own", "unix"], ["alpha"], hostvars))
    assert (found["ansible_connection"], found["ansible_shell_type"]) == ("homelab.hybrid.qemu_ga", "powershell")
    assert "ansible_python_interpreter" not in found and "ansible_shell_type" not in own
    assert unix == {"guest_hypervisor": "alpha"}
    by_ssh = {"alpha": HOST, "desk": {**desk, "ansible_host": "10.0.0.5"}}
    (found,) = completed(["desk"], ["alpha"], by_ssh)
    assert found["variables"] == {"guest_hypervisor": "alpha", "ansible_shell_type": "powershell"}


@pytest.mark.parametrize(
    ("more", "shell"),
    [
        ({"guest_profiles": ["desk"]}, "powershell"),
        ({"guest_profiles": ["desk"], "guest_spec": {"os_variant": "linux"}}, None),
        ({"guest_profiles": ["desk", "unix"]}, None),
        ({"guest_profiles": ["none"], "guest_spec": {"os_variant": "windows"}}, "powershell"),
    ],
    ids=["of a profile", "of the guest itself", "of a later profile", "where a profile is missing"],
)
def test_a_profile_may_say_that_it_is_windows(more: dict[str, t.Any], shell: str | None) -> None:
    catalog = {"desk": {"os_variant": "windows", "memory": "4GiB"}, "unix": {"os_variant": "freebsd"}}
    guest = {"guest_kind": "vm", "guest_profile_catalog": catalog, **more}
    (found,) = completed(["desk"], ["alpha"], {"alpha": HOST, "desk": guest})
    assert found["variables"].get("ansible_shell_type") == shell
    assert ("ansible_connection" in found["variables"]) == (shell is not None)


def test_a_password_of_the_hypervisor_is_known_to_be_secret() -> None:
    hostvars = {"alpha": {**HOST, "ansible_become_password": "correct horse"}, "dns": GUEST}
    assert completed(["dns"], ["alpha"], hostvars)[0]["is_secret"]


def test_the_kind_that_a_service_needs_is_advised(a_role: MakeRole) -> None:
    a_role("desk", "title: Desk\nguest: {kind: vm, needs: [own_kernel], spec: {memory: 1GiB}}")
    a_role("plain_desk", "title: Desk\nguest: {kind: vm, spec: {memory: 1GiB}}")
    for role, why in (("desk", "it needs a kernel of its own"), ("plain_desk", "Desk is recommended in a virtual")):
        variables = {**GUEST, "guest_services": [f"my.lab.{role}"]}
        (advice,) = guest_advice(["dns"], {"alpha": HOST, "dns": variables})
        assert advice["better"] == "virtual machine" and advice["why"].startswith(why)
        assert guest_advice(["dns"], {"alpha": HOST, "dns": {**variables, "guest_kind": "vm"}}) == []
    assert (
        completed(["dns"], ["alpha"], {"alpha": HOST, "dns": {"guest_services": ["unbound", "my.lab.desk"]}})[0][
            "variables"
        ]["guest_kind"]
        == "vm"
    )
