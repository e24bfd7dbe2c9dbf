# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TrueNAS from its ISO to its shares, by the role: what stands in for it starts by UEFI, sees its disks as it would, and is as strict.

What the role made is judged by pytruenas, a client of others.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from pytruenas import TrueNASClient
from pytruenas.auth import APIKeyAuth, BasicAuth

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._layout.run import converge_layout
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import truenas
from ansible_collections.homelab.hybrid.tests.harness.kill import Child
from ansible_collections.homelab.hybrid.tests.harness.upstream import serving

PLAYS_IN_A_MINUTE = 8
ROOT = Path(__file__).resolve().parents[2]
PREFIX = "hltn"
NAME, POOL, BRIDGE, IMAGE = f"{PREFIX}-nas", f"{PREFIX}-pool", f"{PREFIX}br0", f"{PREFIX}-truenas"
NETWORK, PASSWORD = "10.93.69", "pressed-cider"
RECORD = Path(paths.record_path("appliances", NAME))
LOGIN = {"username": "truenas_admin", "password": PASSWORD}
# The first is of a serial that only the role's own list names.
SERIALS = ("WD-A1", "WD-B2", "WD-C3")
Variables = dict[str, t.Any]


def virsh(*argv: str, check: bool = True) -> str:
    done = subprocess.run(("virsh", "-q", "-c", "qemu:///system", *argv), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def converge(**lists: t.Any) -> None:
    outcome = converge_layout(lists, dry_run=False)
    assert outcome.error is None, outcome.error


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """A pool, a bridge with addresses, the medium as an image that was fetched, and disks of the host with something on one."""
    folder = Path("/srv") / PREFIX
    tear_down(folder)
    folder.mkdir(parents=True)
    web = tmp_path_factory.mktemp("upstream")
    iso = truenas.medium()
    (web / "TrueNAS.iso").symlink_to(iso)
    # As upstream has it: a digest, and no name.
    (web / "TrueNAS.iso.sha256").write_text(hashlib.sha256(iso.read_bytes()).hexdigest())
    try:
        with serving(web) as upstream:
            image = {
                "name": IMAGE,
                "kind": "iso",
                "url": f"{upstream.url}/TrueNAS.iso",
                "checksum": f"sha256:{upstream.url}/TrueNAS.iso.sha256",
            }
            dhcp = {"start": f"{NETWORK}.100", "end": f"{NETWORK}.199"}
            converge(
                bridges=[{"name": BRIDGE, "mode": "isolated", "address": f"{NETWORK}.1/24", "dhcp": dhcp}],
                storage_pools=[{"name": POOL, "type": "dir", "path": str(folder / "pool")}],
                images=[image],
            )
        for serial in SERIALS:
            subprocess.run(("truncate", "-s", "9G", str(folder / serial)), check=True)
        with open(folder / SERIALS[2], "r+b") as disk:
            disk.write(b"something of somebody")
        yield folder
    finally:
        tear_down(folder)


def tear_down(folder: Path) -> None:
    virsh("destroy", NAME, check=False)
    converge(
        vms=[{"name": NAME, "state": "absent", "delete": ["disks", "nvram"]}],
        images=[{"name": IMAGE, "state": "absent"}],
        bridges=[{"name": BRIDGE, "state": "absent"}],
        storage_pools=[{"name": POOL, "state": "absent"}],
    )
    RECORD.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def spec(folder: Path, **more: t.Any) -> Variables:
    """The guest as its user writes it."""
    data = [
        {"name": f"data{number}", "source": str(folder / serial), "format": "raw", "serial": serial}
        for number, serial in enumerate(SERIALS)
    ]
    return {
        "name": NAME,
        "state": "started",
        "memory": "1GiB",
        "vcpus": 2,
        "firmware": {"type": "uefi", "secure_boot": False},
        "serial": True,
        "disks": [{"name": "boot", "pool": POOL, "size": "9GiB", "serial": "truenas-boot"}, *data],
        "networks": [{"name": "lan", "bridge": BRIDGE, "ip": f"{NETWORK}.20/24"}],
        "shutdown_timeout": 0,
        "force_stop": True,
        **more,
    }


PLAY = [
    {
        "name": "TrueNAS",
        "hosts": NAME,
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "homelab.hybrid.truenas", "tasks_from": "guest"},
                "name": "Guest",
                "tags": ["made"],
            },
            {
                "name": "Machine",
                "homelab.hybrid.kvm_vm": {},
                "args": "{{ machine | combine(guest_appliance, recursive=true) }}",
                "delegate_to": "alpha",
                "tags": ["made"],
            },
            {
                "ansible.builtin.include_role": {"name": "homelab.hybrid.truenas"},
                "name": "Role",
                "tags": ["asked"],
                "when": "asked | default(true)",
            },
            {
                "ansible.builtin.include_role": {"name": "homelab.hybrid.truenas", "tasks_from": "check"},
                "name": "Check",
                "when": "checked | default(false)",
            },
            {
                "ansible.builtin.include_role": {"name": "homelab.hybrid.truenas", "tasks_from": "update"},
                "name": "Update",
                "when": "updated | default(false)",
            },
            {
                "ansible.builtin.debug": {"msg": "CHECKS {{ service_checks | to_json }}"},
                "name": "Say",
                "when": "checked | default(false)",
            },
        ],
    }
]


class Nas:
    """The inventory, and runs of the role."""

    def __init__(self, work: Path, folder: Path) -> None:
        self.work = work
        self.variables: Variables = {
            "guest_hypervisor": "alpha",
            "machine": spec(folder),
            "truenas_password": PASSWORD,
            "truenas_image": IMAGE,
            "truenas_image_from_catalogue": False,
            "truenas_address": f"{NETWORK}.20",
            "truenas_wait_seconds": 300,
        }
        self.plays: list[float] = []

    def wait_for_a_login(self) -> None:
        """Nobody may log in more than 20 times in a minute, and a run does so twice where its key is no good."""
        recent = self.plays[-PLAYS_IN_A_MINUTE:]
        if len(recent) == PLAYS_IN_A_MINUTE:
            time.sleep(max(0.0, recent[0] + 61 - time.monotonic()))
        self.plays.append(time.monotonic())

    def play(self, *argv: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        self.wait_for_a_login()
        hosts = {
            "alpha": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"},
            NAME: {**self.variables, **variables},
        }
        inventory, playbook = self.work / "hosts.yml", self.work / "play.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        playbook.write_text(yaml.safe_dump(PLAY))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INJECT_FACT_VARS": "false",
        }
        command = [str(ROOT / ".build/venv/bin/ansible-playbook"), "-i", str(inventory), str(playbook), *argv]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert PASSWORD not in done.stdout + done.stderr
        return done

    def done(self, *argv: str, **variables: t.Any) -> int:
        """How many tasks changed something."""
        done = self.play(*argv, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        recap = done.stdout.partition("PLAY RECAP")[2]
        return sum(int(number) for number in re.findall(r"changed=(\d+)", recap))

    def refused(self, saying: str, **variables: t.Any) -> None:
        for argv in (("--check",), ()):
            done = self.play(*argv, **variables)
            told = re.sub(r"\s+", " ", done.stdout + done.stderr)
            assert done.returncode == 2 and saying in told, told


@pytest.fixture(scope="module")
def nas(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Nas:
    return Nas(tmp_path_factory.mktemp("control"), lab)


def judge(credentials: t.Any = None) -> t.Any:
    """A client that others wrote."""
    key = APIKeyAuth(json.loads(RECORD.read_text())["key"], "truenas_admin") if credentials is None else credentials
    return TrueNASClient(f"wss://{NETWORK}.20/api/current", credentials=key, verify=False)


def head(folder: Path, serial: str) -> bytes:
    with open(folder / serial, "rb") as disk:
        return disk.read(4096)


def in_time(ask: t.Callable[[], t.Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not ask():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def test_a_run_that_is_killed_is_gone_on_with_and_the_data_disks_are_out_of_sight(lab: Path, nas: Nas) -> None:
    answer = json.dumps({"authentication": LOGIN})
    params = spec(lab, install={"media": IMAGE, "answer": "truenas", "answer_text": answer, "timeout": 900})
    child = Child(KvmVm(), params)
    progress = Path(paths.installer_folder(NAME)) / "progress"
    try:
        assert in_time(progress.exists, 300), child.process.poll()
    finally:
        child.kill()
    seen = re.findall(r"<source file='([^']*)'", virsh("dumpxml", NAME))
    assert (
        not [path for path in seen if Path(path).name in SERIALS]
        and len(re.findall("<disk ", virsh("dumpxml", NAME, "--inactive"))) == 4
    )
    for name in ("answer.json", "key"):
        assert stat.S_IMODE((progress.parent / name).stat().st_mode) == 0o600
    console = (progress.parent / "console.log").read_text()
    assert console.count("asked adopt") == 1 and "asked install" in console
    # The next run waits on, lets it go off, and starts what it installed.
    assert nas.done("--check", asked=False) == 1
    assert nas.done(asked=False) == 1
    assert not progress.parent.exists() and virsh("domstate", NAME) == "running"
    assert nas.done(asked=False) == 0


ITEMS: Variables = {
    "truenas_pools": [{"name": "tank", "topology": {"data": [{"type": "MIRROR", "disks": ["WD-A1", "WD-B2"]}]}}],
    "truenas_datasets": [
        {"name": "tank/media", "compression": "ZSTD", "quota": "2GiB"},
        {"name": "tank/media/films", "atime": True},
    ],
    "truenas_users": [{"username": "alice", "full_name": "Alice", "password": "another-cider"}],
    "truenas_smb_shares": [{"name": "media", "path": "/mnt/tank/media", "comment": "Films"}],
    "truenas_nfs_shares": [{"path": "/mnt/tank/media/films", "networks": ["10.93.69.0/24"], "ro": True}],
    "truenas_services": {"cifs": True, "nfs": True},
}


def test_pools_datasets_shares_and_users_become_as_they_are_written(lab: Path, nas: Nas) -> None:
    before = [head(lab, serial) for serial in SERIALS]
    assert nas.done("--check", "--diff", **ITEMS) == 1
    assert [head(lab, serial) for serial in SERIALS] == before and not RECORD.exists()
    assert nas.done(**ITEMS) == 1
    assert stat.S_IMODE(RECORD.stat().st_mode) == 0o600 and "cider" not in RECORD.read_text()
    assert all(head(lab, serial).startswith(b"ZPOOL") for serial in SERIALS[:2]) and head(lab, SERIALS[2]) == before[2]
    api = judge().api
    assert [pool["name"] for pool in api.pool.query()] == ["tank"]
    datasets = {its["id"]: its for its in api.pool.dataset.query()}
    assert (
        datasets["tank/media"]["quota"]["parsed"] == 2 << 30 and datasets["tank/media/films"]["atime"]["value"] == "ON"
    )
    assert [(its["name"], its["comment"]) for its in api.sharing.smb.query()] == [("media", "Films")]
    assert api.sharing.nfs.query()[0]["networks"] == ["10.93.69.0/24"]
    assert {its["service"]: (its["enable"], its["state"]) for its in api.service.query()} == dict.fromkeys(
        ("cifs", "nfs"), (True, "RUNNING")
    )
    assert judge_user("alice", "another-cider")
    # With the key alone, and without the password of the user: it was given.
    assert nas.done(**{**ITEMS, "truenas_password": "forgotten-cider"}) == 0
    assert len(api.api_key.query()) == 1


def judge_user(name: str, password: str) -> bool:
    return [pool["name"] for pool in judge(BasicAuth(name, password)).api.pool.query()] == ["tank"]


def test_what_was_not_written_is_left_alone_and_what_was_is_mended(nas: Nas) -> None:
    api = judge().api
    api.pool.dataset.update("tank/media", {"comments": "of the pages", "quota": 4 << 30})
    api.sharing.smb.update(1, {"comment": "of the pages", "readonly": True})
    assert nas.done(**ITEMS) == 1
    dataset = next(its for its in api.pool.dataset.query() if its["id"] == "tank/media")
    assert (dataset["comments"]["value"], dataset["quota"]["parsed"]) == ("of the pages", 2 << 30)
    assert (api.sharing.smb.query()[0]["comment"], api.sharing.smb.query()[0]["readonly"]) == ("Films", True)
    changed = {**ITEMS, "truenas_users": [{**ITEMS["truenas_users"][0], "password": "pressed-again-cider"}]}
    assert nas.done(**changed) == 1 and nas.done(**changed) == 0
    assert judge_user("alice", "pressed-again-cider")
    assert nas.done(**ITEMS) == 1


@pytest.mark.parametrize(
    ("pool", "saying"),
    [
        (
            {"name": "second", "topology": {"data": [{"type": "STRIPE", "disks": ["WD-C3"]}]}},
            "(serial WD-C3) has partitions",
        ),
        ({"name": "second", "topology": {"data": [{"type": "STRIPE", "disks": ["WD-A1"]}]}}, "is in the pool tank"),
        (
            {"name": "tank", "topology": {"data": [{"type": "STRIPE", "disks": ["WD-A1"]}]}},
            "A pool that is there is left as it is",
        ),
        (
            {"name": "second", "topology": {"data": [{"type": "STRIPE", "disks": ["truenas-boot"]}]}},
            "is in the pool boot-pool",
        ),
        (
            {"name": "second", "topology": {"data": [{"type": "STRIPE", "disks": ["WD-Z9"]}]}},
            "no disk has the serial WD-Z9",
        ),
    ],
)
def test_no_disk_is_overwritten(lab: Path, nas: Nas, pool: Variables, saying: str) -> None:
    before = [head(lab, serial) for serial in SERIALS]
    nas.refused(saying, truenas_pools=[pool])
    assert [head(lab, serial) for serial in SERIALS] == before


def test_a_stranger_gets_neither_key_nor_password(nas: Nas) -> None:
    nas.refused("Nothing was said to it", **ITEMS, truenas_certificate="ab" * 32)
    done = nas.play(checked=True, asked=False)
    assert '"ok": true' in done.stdout.replace('\\"', '"'), done.stdout


def test_a_key_that_was_revoked_is_made_anew(nas: Nas) -> None:
    record = json.loads(RECORD.read_text())
    spoilt = {**record, "key": "1-of-another"}
    RECORD.write_text(json.dumps(spoilt))
    assert nas.done(**ITEMS) == 0
    assert json.loads(RECORD.read_text())["key"] != spoilt["key"] and len(judge().api.api_key.query()) == 1


def version() -> str:
    return str(judge().api.system.info()["version"])


def test_an_update_goes_through_and_a_broken_one_comes_back(lab: Path, nas: Nas) -> None:
    before = [head(lab, serial) for serial in SERIALS]
    assert nas.done(updated=True, asked=False) == 0
    judge().api.tests.offer("25.10.8")
    assert nas.done("--check", updated=True, asked=False) > 0 and version() == "25.10.7"
    assert nas.done(updated=True, asked=False) == 3 and version() == "25.10.8"
    judge().api.tests.offer("25.10.9-broken")
    done = nas.play(updated=True, asked=False, truenas_wait_seconds=120)
    assert done.returncode == 2 and "TrueNAS is back at 25.10.8" in re.sub(r"\s+", " ", done.stdout), done.stdout
    assert nas.done(**ITEMS) == 0 and version() == "25.10.8"
    assert [head(lab, serial) for serial in SERIALS] == before
