# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example that is shipped, built for real: a firewall, a NAS and services on one host, asked from a guest behind that firewall, taken away.

The inventory is the users' own folder. Over it lies what this host is: where it is, its card, its disks, where releases come from, two secrets, and
the guest that asks. OPNsense, TrueNAS and the services that Debian has not are stand-ins (``harness``, ``services``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.tests.harness import opnsense_image, service_lab, truenas
from ansible_collections.homelab.hybrid.tests.harness.outside import ADDRESS, DOMAIN, Outside, outside
from ansible_collections.homelab.hybrid.tests.harness.service_guest import Play, Releases
from ansible_collections.homelab.hybrid.tests.harness.service_lab import in_guest, on_host
from ansible_collections.homelab.hybrid.tests.harness.signer import Signer
from ansible_collections.homelab.hybrid.tests.services import adguard_home, immich, jellyfin, paperless_ngx
from ansible_collections.homelab.hybrid.tests.services.scenario import Upstream, Variables

HOMELAB = service_lab.ROOT / "playbooks/inventory/homelab"
LAB = "10.30.0"
GATE, NAS, NAMES, DOOR = f"{LAB}.1", f"{LAB}.20", f"{LAB}.53", f"{LAB}.60"
VISITOR, VISITOR_MAC = "visitor", "52:54:00:10:30:99"
PROGRAMS = ("bind9-dnsutils", "curl", "mosquitto-clients", "traceroute")
AUTHORITY = "/root/authority.crt"
# Where nothing of what the footprint looks at lies.
DISKS = "/var/lib/disks"
UPSTREAMS: dict[str, Upstream] = {
    "adguard": adguard_home.Github(),
    "jellyfin": jellyfin.Team(),
    "immich": immich.Project(),
}


class Homelab:
    """The example with what lies over it in *folder*, on a host that has nothing yet."""

    def __init__(self, folder: Path, world: Outside, variables: t.Mapping[str, Variables]) -> None:
        self.world = world
        self._inventories = [HOMELAB, folder / "hosts.yml"]
        everything = {
            "hybrid_is_disposable": True,
            "lab_outer_card": "eth1",
            "lab_disks": [
                {"name": name, "source": f"{DISKS}/{name}", "format": "raw", "serial": f"LAB-{name.upper()}"}
                for name in ("left", "right")
            ],
            # What a kernel without NFS leaves out the run says; the films are in a folder of the host then.
            # A host of a lab has more room than a machine of tests, whatever that has.
            "hypervisor_overcommit": {"memory": 8, "storage": 8},
            "hypervisor_mounts_without_client": "leave_out",
            "vault_opnsense_secret": "a long secret of a vault",
            "vault_truenas_password": "pressed-cider",
        }
        guests = {name: its for name, its in variables.items() if name != "home"}
        children = {"hypervisors": {"hosts": {"home": variables["home"]}}, "guests": {"hosts": guests}}
        (folder / "hosts.yml").write_text(plain({"all": {"children": children}}), encoding="utf-8")
        # In a file of their own, which alone is stronger than that of the example.
        (folder / "group_vars").mkdir()
        (folder / "group_vars/all.yml").write_text(plain(everything), encoding="utf-8")

    def play(self, name: str, *argv: str) -> Play:
        return service_lab.play(self._inventories, name, *argv)


def plain(variables: Variables) -> str:
    """As YAML without the anchors that it would have as it stands in memory."""
    return yaml.safe_dump(json.loads(json.dumps(variables)))


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Homelab]:
    with contextlib.ExitStack() as ends:
        ends.callback(service_lab.tear_down)
        service_lab.set_up(is_between=True)
        world = ends.enter_context(outside(service_lab.OUTER, f"{LAB}.0/24"))
        signer = Signer(tmp_path)
        ends.callback(signer.stop)
        guests: dict[str, Variables] = {}
        for name, upstream in UPSTREAMS.items():
            releases = Releases(tmp_path / name, service_lab.GATEWAY)
            ends.callback(releases.close)
            guests[name] = upstream.first(releases)
        releases = Releases(tmp_path / "paperless", service_lab.GATEWAY)
        ends.callback(releases.close)
        guests["paperless"] = paperless_ngx.Github().published(releases)
        guests[VISITOR] = {
            "guest_kind": "container",
            "guest_spec": {
                "image": "debian-13",
                "rootfs": {"pool": "guests"},
                # OPNsense gives it its address and its gateway.
                "networks": [{"name": "lan", "bridge": "lab0", "mac": VISITOR_MAC}],
                "dns": {"servers": [NAMES]},
                "autostart": True,
                "wait_for": ["systemd"],
            },
        }
        images = Releases(tmp_path / "images", service_lab.GATEWAY)
        ends.callback(images.close)
        guests["home"] = {
            **service_lab.CONNECTION,
            "hypervisor_images": service_lab.IMAGES,
            "hypervisor_image_catalogue": appliances(images, signer),
        }
        on_host("mkdir", "-p", DISKS, "/srv/media/films")
        for name in ("left", "right"):
            on_host("truncate", "-s", "9G", f"{DISKS}/{name}")
        on_host("sh", "-c", "echo film > /srv/media/films/film.mkv")
        yield Homelab(tmp_path, world, guests)


def appliances(images: Releases, signer: Signer) -> list[Variables]:
    """The entries of the catalogue, of stand-ins."""
    published = opnsense_image.publish(images.folder, signer)
    iso = images.folder / "TrueNAS.iso"
    iso.symlink_to(truenas.medium())
    iso.with_suffix(".iso.sha256").write_text(hashlib.sha256(iso.read_bytes()).hexdigest())
    signature = {"url": f"{images.url}/{published.signature.name}", "of": "content", "key": published.key}
    return [
        {
            "name": "opnsense-26.7",
            "url": f"{images.url}/{published.image.name}",
            "checksum": f"{images.url}/{published.checksums.name}",
            "signature": signature,
        },
        {
            "name": "truenas-25.10",
            "url": f"{images.url}/{iso.name}",
            "checksum": f"sha256:{images.url}/{iso.name}.sha256",
        },
    ]


def visitor(*argv: str) -> str:
    return in_guest(VISITOR, *argv)


def https(where: str, *argv: str) -> str:
    """What is served there, with a certificate of the authority of the lab."""
    return visitor("curl", "-sSf", "--max-time", "30", "--cacert", AUTHORITY, *argv, f"https://{where}")


def secret(guest: str, role: str, login: str) -> str:
    return in_guest(guest, "cat", f"/var/lib/homelab_hybrid/secrets/{role}/{login}")


def resolved(name: str, server: str = NAMES) -> str:
    return visitor("dig", "+short", "+time=5", "+tries=3", name, f"@{server}")


def left() -> set[str]:
    """What there is on the hypervisor that a lab may not leave. The settings of the host and what its own daemons make stay."""
    on_host("python3", "/root/footprint.py", "/root/footprint")
    lines = (service_lab.rootfs() / "root/footprint").read_text().splitlines()
    kinds = ("entry", "libvirt list", "libvirt net", "libvirt pool", "mount /srv", "loop")
    bridges = ("lab0", "wan0")
    return {
        line
        for line in lines
        if (line.startswith(kinds) or any(name in line for name in bridges))
        and "/usr/local/" not in line
        # That of libvirt's package is there once its daemon has run.
        and line != "libvirt net default"
    }


def ask_the_network(world: Outside) -> None:
    """A guest that is told no address gets one of OPNsense, with its gateway, and goes out through it and no other way."""
    leases = in_guest(VISITOR, "sh", "-c", "cat /run/systemd/netif/leases/*")
    assert f"SERVER_ADDRESS={GATE}" in leases and f"ROUTER={GATE}" in leases, leases
    address = visitor("hostname", "-I").split()[0]
    assert 100 <= int(address.rpartition(".")[2]) <= 199, address
    assert visitor("curl", "-sS", "--max-time", "30", f"http://{ADDRESS}/of-the-visitor", "-o", "/dev/null") == ""
    assert world.askers("of-the-visitor") == {address}
    # On a busy machine not every question is answered in time.
    hops = visitor("traceroute", "-n", "-q", "5", "-w", "10", ADDRESS).splitlines()[1:]
    assert [set(re.findall(r"[0-9]+(?:[.][0-9]+){3}", line)) for line in hops] == [{GATE}, {ADDRESS}], hops
    # Names that AdGuard does not know come of the world through OPNsense.
    assert resolved(DOMAIN) == ADDRESS
    assert resolved("truenas.home.arpa") == NAS and resolved("opnsense.home.arpa") == GATE


def ask_the_services() -> None:
    for name, path, says, login in (
        (
            "adguard-home",
            "/control/status",
            "v0.107.79",
            ("--user", f"admin:{secret('adguard', 'adguard_home', 'admin')}"),
        ),
        ("jellyfin", "/health", "Healthy", ()),
        ("paperless", "/accounts/login/", "Paperless-ngx", ()),
        ("immich", "/api/server/ping", "pong", ()),
    ):
        assert resolved(f"{name}.home.arpa") == DOOR, name
        assert says in https(f"{name}.home.arpa{path}", "--resolve", f"{name}.home.arpa:443:{DOOR}", *login), name
    said = visitor("sh", "-c", f"mosquitto_pub -h {LAB}.64 -t a -m b 2>&1 || true")
    assert "not authori" in said, said
    assert in_guest("jellyfin", "cat", "/srv/media/films/film.mkv") == "film"
    refused = in_guest("jellyfin", "sh", "-c", "touch /srv/media/films/mine 2>&1 || true")
    assert "Read-only file system" in refused, refused


def ask_the_appliances() -> None:
    assert "OPNsense" in visitor("curl", "-skSf", "--max-time", "30", f"https://{GATE}/")
    # It speaks nothing but WebSocket.
    assert (
        visitor("curl", "-sk", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", f"https://{NAS}/") == "426"
    )
    heads = [on_host("head", "-c", "5", f"{DISKS}/{name}") for name in ("left", "right")]
    assert heads == ["ZPOOL", "ZPOOL"]


def test_the_example_is_built_answers_a_guest_behind_its_firewall_and_leaves_nothing(lab: Homelab) -> None:
    shutil.copy(service_lab.ROOT / "tests/playbooks/footprint.py", service_lab.rootfs() / "root")
    before = left()
    lab.play("hypervisors").succeeded()
    paperless_ngx.trust(service_lab.rootfs() / "srv/guests/paperless.rootfs", service_lab.GATEWAY)
    lab.play("site").succeeded()
    visitor("apt-get", "-qq", "update")
    visitor("apt-get", "-qqy", "install", "--no-install-recommends", *PROGRAMS)
    visitor(
        "curl",
        "-sSf",
        "--output",
        AUTHORITY,
        "--resolve",
        f"overview.home.arpa:80:{DOOR}",
        "http://overview.home.arpa/authority.crt",
    )
    ask_the_network(lab.world)
    ask_the_services()
    ask_the_appliances()
    shown = lab.play("show").succeeded()
    assert "The lab is answering" in shown.said, shown.printed

    again = lab.play("site").succeeded()
    assert again.changed == 0, again.changes

    lab.play("destroy").succeeded()
    assert left() == before
    opened = [f"/var/lib/homelab_hybrid/{folder}" for folder in ("appliances", "secrets")]
    assert on_host("find", *opened, "-type", "f") == "", "what opened the appliances is forgotten with them"
