# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `site` costs over ssh when nothing is to be done, beside a ping of the same host: a Debian with systemd and two guests."""

from __future__ import annotations

import functools
import json
import typing as t

import lab

from ansible_collections.homelab.hybrid.tests.harness import debian_images, nested, tiny_root

HOST, IMAGE, KEY = f"{lab.PREFIX}-ct-host", f"{lab.PREFIX}-host", lab.FOLDER / "key"
ADDRESS = "10.91.42.10"
ROUNDS = 5
HYPERVISOR: lab.Params = {
    "ansible_host": ADDRESS,
    "ansible_user": "root",
    "ansible_ssh_private_key_file": str(KEY),
    "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null",
    "hypervisor_bridges": [{"name": "lab0", "mode": "nat", "address": "10.93.63.1/24"}],
    "hypervisor_storage_pools": [{"name": "lab", "path": "/srv/lab", "warn_free": "1GiB"}],
    "hypervisor_images": [{"name": "tiny", "kind": "container", "path": "/srv/tiny.tar.zst"}],
}
LAN = {"name": "lan", "bridge": "lab0"}
GUESTS: dict[str, lab.Params] = {
    "sandbox": {
        "guest_kind": "vm",
        "guest_spec": {
            "memory": "64MiB",
            "disks": [{"name": "root", "pool": "lab", "size": "16MiB"}],
            "networks": [LAN],
            "state": "stopped",
        },
    },
    "proxy": {
        "guest_kind": "container",
        "guest_spec": {
            "image": "tiny",
            "rootfs": {"pool": "lab"},
            "networks": [{**LAN, "ip": "10.93.63.10/24", "gateway": "10.93.63.1"}],
        },
    },
}
SITE: list[lab.Params] = [{"name": "Site", "ansible.builtin.import_playbook": "homelab.hybrid.site"}]
PING: list[lab.Params] = [
    {"hosts": "hypervisors", "gather_facts": False, "tasks": [{"name": "Ping", "ansible.builtin.ping": {}}]}
]


def host(**options: t.Any) -> lab.Params:
    lan = {"name": "lan", "bridge": lab.BRIDGE, "ip": f"{ADDRESS}/22", "gateway": "10.91.40.1"}
    return {
        "name": HOST,
        "image": IMAGE,
        "unprivileged": False,
        "rootfs": {"pool": lab.POOL},
        "networks": [lan],
        "ssh_keys": [KEY.with_suffix(".pub").read_text().strip()],
        **options,
    }


def make_host() -> None:
    lab.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(KEY))
    archive = debian_images.container_root("bookworm", nested.packages("12"))
    image = {"name": IMAGE, "kind": "container", "path": str(archive)}
    lab.converge({"images": [image], "containers": [host()]})
    tiny_root.build(lab.FOLDER / "pool" / f"{HOST}.rootfs" / "srv" / "tiny.tar.zst")
    nested.allow_guests(HOST)
    lab.converge({"containers": [host(state="started", wait_for=["systemd"])]})


def rows() -> t.Iterator[tuple[str, str, str]]:
    make_host()
    guests = {name: {"guest_hypervisor": "alpha", **variables} for name, variables in GUESTS.items()}
    children = {"hypervisors": {"hosts": {"alpha": HYPERVISOR}}, "guests": {"hosts": guests}}
    inventory = lab.FOLDER / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"children": children}}))
    run = functools.partial(lab.seconds, inventory=str(inventory))
    run(SITE, changes=True)
    ping, site = lab.medians_of(functools.partial(run, PING), functools.partial(run, SITE), rounds=ROUNDS)
    lab.remove_guests()
    what = f"nothing to do over ssh, a host with systemd and {len(GUESTS)} guests"
    yield f"{what}: a playbook with one `ping`", f"{ping:.2f} s", "1.0"
    yield f"{what}: `site`", f"{site:.2f} s", f"{site / ping:.1f} (aim: 4.0)"
