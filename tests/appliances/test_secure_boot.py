# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 on an image that was built for UEFI: with secure boot and a TPM, which its kernel sees, and by BIOS on the older machine."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._image.resource import Image
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent import Agent
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.agent_session import connect
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import debian_images, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now

VM = KvmVm()
IMAGE = f"{machines.PREFIX}-uefi"
NAME = f"{machines.PREFIX}-secure"
COMMON: dict[str, t.Any] = {
    "name": NAME,
    "state": "started",
    "memory": "1GiB",
    "vcpus": 2,
    "disks": [{"name": "root", "pool": machines.POOL, "image": IMAGE}],
    "wait_for": ["agent"],
    "wait_timeout": 1800,
}
# Of the kernel's own log and files: the first four bytes of a variable are its attributes.
ASK = """
echo uefi=$(test -d /sys/firmware/efi && echo yes || echo no)
echo secure=$(od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c 2> /dev/null | tr -d ' ')
echo log=$(dmesg | grep -c 'Secure boot enabled')
echo tpm=$(cat /sys/class/tpm/tpm0/tpm_version_major 2> /dev/null)
echo node=$(ls /dev/tpmrm0 2> /dev/null)
"""


@pytest.fixture(scope="module")
def image() -> t.Iterator[None]:
    with machines.surroundings():
        made = converge_now(Image(), {"name": IMAGE, "kind": "vm", "path": str(debian_images.uefi_disk("trixie"))})
        assert made.error is None, made.error
        try:
            yield
        finally:
            machines.remove_machines()
            converge_now(Image(), {"name": IMAGE, "state": "absent"})


def said() -> dict[str, str]:
    done = Agent(connect(NAME, 120)).run("/bin/sh", ["-c", ASK])
    assert done.rc == 0, done.stderr
    told = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    print(told)
    return told


def take_away() -> None:
    words = ["disks", "nvram", "seed", "tpm"]
    gone = {"name": NAME, "state": "absent", "delete": words, "shutdown_timeout": 1, "force_stop": True}
    outcome = converge_now(VM, gone)
    assert outcome.error is None and not outcome.plan.kept


def test_debian_starts_with_secure_boot_and_sees_its_tpm(image: None) -> None:
    check_run_again(VM, {**COMMON, "firmware": {"secure_boot": True}, "tpm": {"version": "2.0"}})
    assert said() == {"uefi": "yes", "secure": "1", "log": "1", "tpm": "2", "node": "/dev/tpmrm0"}
    take_away()


def test_the_same_image_starts_by_bios_on_the_older_machine_with_the_addresses_of_its_seed(image: None) -> None:
    bridge, address, address6 = machines.BRIDGES[0], "192.0.2.5", "fd00:91:9::5"
    for cidr in ("192.0.2.1/24", "fd00:91:9::1/64"):
        machines.command("ip", "address", "add", cidr, "dev", bridge, *(["nodad"] if ":" in cidr else []))
    card = {
        "name": "lan",
        "bridge": bridge,
        "ip": f"{address}/24",
        "gateway": "192.0.2.1",
        "ip6": f"{address6}/64",
        "gateway6": "fd00:91:9::1",
        "dns": ["192.0.2.53"],
    }
    seed = {"networks": [card], "cloud_init": {"user": "admin"}, "wait_for": ["agent", "ip"]}
    run = check_run_again(VM, {**COMMON, "machine": "pc", **seed})
    assert {address, address6} <= set(run.facts["guest"]["addresses"])
    assert said() == {"uefi": "no", "secure": "", "log": "0", "tpm": "", "node": ""}
    ways = Agent(connect(NAME, 120)).run(
        "/bin/sh", ["-c", "ip route; ip -6 route; cat /etc/resolv.conf; resolvectl dns; true"]
    )
    for word in ("default via 192.0.2.1 ", "default via fd00:91:9::1 ", "192.0.2.53"):
        assert word in ways.stdout.decode(), ways
    take_away()
