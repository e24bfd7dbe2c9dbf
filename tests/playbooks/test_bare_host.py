# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site on a Debian on which nothing is installed but Python: first a check with the whole plan, then for real.

The host is a system container of this one, privileged, so that it can be a hypervisor.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.homelab.hybrid.plugins.module_utils._core.plan import UNKNOWN
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.tests.harness import debian_images, nested, tiny_root
from ansible_collections.homelab.hybrid.tests.harness.service_guest import Releases

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hlbd"
HOST, POOL, BRIDGE, IMAGE = f"{PREFIX}-host", f"{PREFIX}-pool", f"{PREFIX}br0", f"{PREFIX}-bare"
FOLDER = Path("/srv") / PREFIX
ROOTFS = FOLDER / "pool" / f"{HOST}.rootfs"
GATEWAY, ADDRESS = "10.93.62.1", "10.93.62.10"
ALPHA: dict[str, t.Any] = {
    "ansible_connection": "homelab.hybrid.lxc",
    "ansible_lxc_name": HOST,
    "ansible_hypervisor_transport": "local",
    "ansible_python_interpreter": "/usr/bin/python3",
    "hypervisor_bridges": [
        {
            "name": "lab0",
            "mode": "nat",
            "address": "10.93.63.1/24",
            "dhcp": {"start": "10.93.63.100", "end": "10.93.63.199"},
            "dns": {"domain": "lab.home.arpa"},
        }
    ],
    "hypervisor_storage_pools": [{"name": "lab", "path": "/srv/lab", "warn_free": "1GiB"}],
    "hypervisor_images": [{"name": "tiny", "kind": "container", "path": "/srv/tiny.tar.zst"}],
}
LAN = {"name": "lan", "bridge": "lab0"}
GUESTS: dict[str, dict[str, t.Any]] = {
    "sandbox": {
        "guest_kind": "vm",
        "guest_spec": {
            "description": "A machine without an operating system",
            "memory": "64MiB",
            "disks": [{"name": "root", "pool": "lab", "size": "16MiB"}],
            "networks": [LAN],
            "autostart": True,
            "force_stop": True,
            "shutdown_timeout": 1,
        },
    },
    "proxy": {
        "guest_kind": "container",
        "guest_spec": {
            "image": "tiny",
            "rootfs": {"pool": "lab"},
            "networks": [{**LAN, "ip": "10.93.63.10/24", "gateway": "10.93.63.1"}],
            "tags": ["demo"],
        },
    },
}
Lines = list[dict[str, t.Any]]


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout.strip()


def inside(*argv: str, check: bool = True) -> str:
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    return run("lxc-attach", "-n", HOST, "--clear-env", "-v", path, "--", *argv, check=check)


def state() -> str:
    return run("lxc-info", "-n", HOST, "-s", "-H", check=False)


def converge(**lists: t.Any) -> None:
    outcome = converge_layout(lists, dry_run=False)
    assert outcome.error is None, outcome.error


def host(**options: t.Any) -> dict[str, t.Any]:
    lan = {"name": "lan", "bridge": BRIDGE, "ip": f"{ADDRESS}/24", "gateway": GATEWAY}
    whole = {"image": IMAGE, "unprivileged": False, "rootfs": {"pool": POOL}, "networks": [lan]}
    return {"name": HOST, **whole, "dns": {"servers": [GATEWAY]}, **options}


@pytest.fixture(scope="module", autouse=True)
def _host() -> t.Iterator[None]:
    """A bare Debian that runs, and can reach the archive as this host does."""
    tear_down()
    try:
        set_up()
        start()
        yield
    finally:
        tear_down()


def set_up() -> None:
    """The bare Debian, which does not run yet."""
    archive = debian_images.bare_root("bookworm", ("python3",))
    converge(
        bridges=[{"name": BRIDGE, "mode": "nat", "address": f"{GATEWAY}/24"}],
        storage_pools=[{"name": POOL, "path": str(FOLDER / "pool")}],
        images=[{"name": IMAGE, "kind": "container", "path": str(archive)}],
        containers=[host()],
    )
    tiny_root.build(ROOTFS / "srv" / "tiny.tar.zst")
    nested.allow_guests(HOST)


def start() -> None:
    converge(containers=[host(state="started", wait_for=["systemd"])])


def tear_down() -> None:
    run("lxc-stop", "-n", HOST, "-k", check=False)
    gone = {"state": "absent"}
    converge(
        containers=[{**gone, "name": HOST, "delete": ["rootfs"]}],
        images=[{**gone, "name": IMAGE}],
        storage_pools=[{**gone, "name": POOL, "allow": ["delete_data"]}],
        bridges=[{**gone, "name": BRIDGE}],
    )
    shutil.rmtree(FOLDER, ignore_errors=True)


class Site:
    """An inventory in *folder*; *beneath* it may lie another one."""

    def __init__(self, folder: Path, inventory: t.Mapping[str, t.Any] | None = None, *beneath: Path) -> None:
        self.folder = folder
        self.inventories = [*beneath, folder / "hosts.yml"]
        guests = {name: {"guest_hypervisor": "alpha", **variables} for name, variables in GUESTS.items()}
        children = {"hypervisors": {"hosts": {"alpha": ALPHA}}, "guests": {"hosts": guests}}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": inventory or {"children": children}}))

    def play(self, name: str, *argv: str, fails: bool = False) -> Lines:
        lines = self.folder / "results"
        lines.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "harness" / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "result_lines",
            "RESULT_LINES": str(lines),
        }
        command = [str(ROOT / ".build/venv/bin/ansible-playbook")]
        for inventory in self.inventories:
            command += ["-i", str(inventory)]
        done = subprocess.run(
            [*command, f"homelab.hybrid.{name}", *argv], capture_output=True, text=True, env=environment, check=False
        )
        assert bool(done.returncode) == fails, done.stdout[-8000:] + done.stderr
        return [json.loads(line) for line in lines.read_text().splitlines()]


def changed(lines: Lines) -> list[str]:
    return [f"{line['host']}: {line['task']}" for line in lines if line["result"].get("changed")]


def plan(lines: Lines) -> dict[str, dict[str, t.Any]]:
    """What the layout of the host planned, by path."""
    (layout,) = [line["result"] for line in lines if line["action"] == "homelab.hybrid.layout"]
    return {change["path"]: change for change in layout["plan"]}


def same(checked: t.Any, real: t.Any) -> bool:
    """Whether two values are equal, where what is known after apply alone equals everything."""
    if UNKNOWN.text in (checked, real):
        return True
    if isinstance(checked, dict) and isinstance(real, dict):
        return checked.keys() == real.keys() and all(same(checked[key], real[key]) for key in checked)
    if isinstance(checked, list) and isinstance(real, list):
        return len(checked) == len(real) and all(map(same, checked, real))
    return bool(checked == real)


def packages() -> set[str]:
    shown = inside("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n")
    return {line.split(" ")[1] for line in shown.splitlines() if line.startswith("installed ")}


def fingerprint() -> str:
    """Everything below the folders that hold what a host is, and what runs."""
    find = "find /etc /usr /srv /var/lib -xdev -newercc /srv/tiny.tar.zst -type f -printf '%p %s %C@\\n' | sort"
    return inside("sh", "-c", find) + inside("ls", "/sys/class/net")


# What the example leaves to its user: where it is, its card, its disks, and two secrets.
HOMELAB = ROOT / "playbooks/inventory/homelab"
CARD, DISKS = "outer0", ("left", "right")
HOME: dict[str, t.Any] = {
    "children": {"hypervisors": {"hosts": {"home": {key: ALPHA[key] for key in ALPHA if key.startswith("ansible_")}}}}
}
OWN: dict[str, t.Any] = {
    "lab_outer_card": CARD,
    "lab_disks": [
        {"name": name, "source": f"/root/{name}", "format": "raw", "serial": f"EXAMPLE-{name.upper()}"}
        for name in DISKS
    ],
    # A host of a lab has more room than a machine of tests, whatever that has.
    "hypervisor_overcommit": {"memory": 8, "storage": 8},
    # The kernel of this machine, which is that of the host as well, may have no client of NFS.
    "hypervisor_mounts_without_client": "leave_out",
    "vault_opnsense_secret": "a long secret of a vault",
    "vault_truenas_password": "pressed-cider",
}


# What is asked of an image before it is fetched: how large it is, its signature, its list.
OPNSENSE, TRUENAS = (
    "releases/26.7/OPNsense-26.7-nano-amd64.img",
    "TrueNAS-SCALE-Goldeye/25.10.7/TrueNAS-SCALE-25.10.7.iso",
)
MIRRORS = ("pkg.opnsense.org", "download.truenas.com")


@pytest.fixture
def mirror(tmp_path: Path) -> t.Iterator[str]:
    """A mirror of what the example fetches, at the bridge of the host."""
    served = Releases(tmp_path / "mirror", GATEWAY)
    digest = f"{'0' * 64}\n"
    for name in (f"{OPNSENSE}.bz2", f"{OPNSENSE}.sig", TRUENAS, f"{TRUENAS}.sha256"):
        path = served.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)
    yield served.url
    served.close()


def test_the_whole_example_is_planned_without_the_internet(tmp_path: Path, mirror: str) -> None:
    """Firewall, NAS and services, by the inventory that is shipped, on a host that has none of it and reaches a mirror alone."""
    own = {**OWN, "hypervisor_image_mirrors": [{"name": name, "url": f"{mirror}/"} for name in MIRRORS]}
    # In a file of their own, which alone is stronger than that of the example.
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(yaml.safe_dump(own))
    site = Site(tmp_path, HOME, HOMELAB)
    inside("ip", "link", "add", CARD, "type", "veth", "peer", "name", "far0")
    for name in DISKS:
        inside("truncate", "-s", "9G", f"/root/{name}")
    inside("ip", "rule", "add", "pref", "1", "to", GATEWAY, "lookup", "main")
    inside("ip", "rule", "add", "pref", "2", "prohibit")
    try:
        was = packages(), fingerprint()
        planned = plan(site.play("site", "--check", "--diff"))
        assert (packages(), fingerprint()) == was
    finally:
        for number in ("1", "2"):
            inside("ip", "rule", "del", "pref", number)
        inside("ip", "link", "del", CARD)
    guests = {
        name for path in planned if (name := path.partition("[")[2].partition("]")[0]) and path.endswith("].state")
    }
    assert {"opnsense", "truenas", "adguard", "proxy", "mqtt", "paperless", "jellyfin", "immich"} <= guests, planned


def test_a_check_of_a_bare_host_is_what_the_run_does(tmp_path: Path) -> None:
    site = Site(tmp_path)
    before = packages()
    assert not before & {"libvirt-daemon-system", "lxc", "python3-apt", "python3-libvirt", "python3-lxc"}
    was = fingerprint()

    checked = site.play("site", "--check", "--diff")
    assert packages() == before
    assert fingerprint() == was, "a check writes nothing"

    real = site.play("site")
    would, did = plan(checked), plan(real)
    assert would.keys() == did.keys()
    differing = {
        path: (would[path], did[path])
        for path in would
        if not all(same(would[path][side], did[path][side]) for side in ("before", "after"))
    }
    assert not differing
    assert {
        "bridges[lab0].state",
        "storage_pools[lab].state",
        "vms[sandbox].state",
        "containers[proxy].state",
    } <= did.keys()
    assert all(change["done"] for change in did.values())
    shown = next(line["result"]["msg"] for line in checked if line["task"].endswith("Show what would be installed"))
    assert set(shown.split()) <= packages() - before
    of_guests = {
        name for name in GUESTS for line in (*checked, *real) if line["host"] == name and line["result"].get("changed")
    }
    assert of_guests == set(GUESTS), "each guest shows its own change"

    assert inside("virsh", "-q", "-c", "qemu:///system", "domstate", "sandbox") == "running"
    assert inside("lxc-info", "-n", "proxy", "-s", "-H") == "RUNNING"
    assert inside("ls", "/sys/class/net/lab0/bridge")

    again = site.play("site")
    assert changed(again) == []
    assert changed(site.play("site", "--check")) == []


def test_a_host_is_powered_off_after_its_guests(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert changed(site.play("report")) == []
    extra = ("-e", '{"host_poweroff": true}')
    assert any(
        "would be powered off" in str(line["result"].get("msg")) for line in site.play("shutdown", "--check", *extra)
    )
    assert state() == "RUNNING"
    lines = site.play("shutdown", *extra)
    stopped = [line["result"]["plan"] for line in lines if line["action"] == "homelab.hybrid.layout"]
    assert [change["path"] for step in stopped for change in step] == ["vms[sandbox].state", "containers[proxy].state"]
    deadline = time.monotonic() + 180
    while state() != "STOPPED" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert state() == "STOPPED"
