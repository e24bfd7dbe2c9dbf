# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own installer, from the archive: its whole way over the network without a question, and the system that it leaves.

What it takes from a mirror is Debian's, from a folder that is served to it alone.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import debian_mirror, machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again, converge_now, unchanged

VM = KvmVm()
NAME = f"{machines.PREFIX}-debian"
HOST, GUEST = "192.0.2.1", "192.0.2.2"
# A small system on one partition; what is not said is not asked at the priority at which the installer is started.
PRESEED = f"""\
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/disable_autoconfig boolean true
d-i netcfg/get_ipaddress string {GUEST}
d-i netcfg/get_netmask string 255.255.255.0
d-i netcfg/get_gateway string {HOST}
d-i netcfg/get_nameservers string
d-i netcfg/confirm_static boolean true
d-i netcfg/get_hostname string pressed
d-i netcfg/get_domain string example.org
d-i mirror/country string manual
d-i mirror/protocol string http
d-i mirror/http/hostname string {HOST}:PORT
d-i mirror/http/directory string /
d-i mirror/http/proxy string
d-i mirror/suite string {debian_mirror.SUITE}
d-i debian-installer/allow_unauthenticated boolean true
d-i clock-setup/ntp boolean false
d-i time/zone string Etc/UTC
d-i passwd/make-user boolean false
d-i passwd/root-password password pressed-cider
d-i passwd/root-password-again password pressed-cider
d-i partman-auto/disk string /dev/vda
d-i partman-auto/method string regular
d-i partman-auto/expert_recipe string one :: 800 1000 -1 ext4 \\
  $primary{{ }} $bootable{{ }} method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ ext4 }} mountpoint{{ / }} .
d-i partman-basicfilesystems/no_swap boolean false
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i base-installer/install-recommends boolean false
d-i base-installer/kernel/image string {debian_mirror.KERNEL}
d-i base-installer/initramfs-tools/driver-policy select dep
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string /dev/vda
d-i finish-install/reboot_in_progress note
d-i debian-installer/exit/poweroff boolean true
"""


class Surroundings(t.NamedTuple):
    """The installer where QEMU's user can read it, and the port of its mirror."""

    kernel: Path
    initrd: Path
    port: int


@pytest.fixture(scope="module")
def netboot() -> t.Iterator[Surroundings]:
    made = debian_mirror.netboot()
    with machines.surroundings() as pool:
        folder = pool.parent / "netboot"
        folder.mkdir(mode=0o711)
        kernel, initrd = (Path(shutil.copy2(path, folder)) for path in (made.kernel, made.initrd))
        machines.command("ip", "address", "add", f"{HOST}/24", "dev", machines.BRIDGES[0])
        with debian_mirror.served(made.mirror, HOST) as port:
            yield Surroundings(kernel, initrd, port)


def console_until(text: bytes, seconds: float) -> bytes:
    """What the machine writes to its serial port from now on, until *text* is in it."""
    found, end = b"", time.monotonic() + seconds
    port = os.open(machines.virsh("ttyconsole", NAME), os.O_RDONLY | os.O_NOCTTY)
    try:
        while text not in found and time.monotonic() < end:
            if select.select([port], [], [], 1)[0]:
                found += os.read(port, 4096)
    finally:
        os.close(port)
    return found


def test_debian_installs_itself_and_starts_from_its_disk(netboot: Surroundings) -> None:
    params: dict[str, t.Any] = {
        "name": NAME,
        "state": "stopped",
        "memory": "1536MiB",
        "vcpus": 2,
        "disks": [{"name": "root", "pool": machines.POOL, "size": "4GiB", "cache": "unsafe"}],
        "networks": [{"name": "lan", "bridge": machines.BRIDGES[0]}],
        "install": {
            "kernel": str(netboot.kernel),
            "initrd": str(netboot.initrd),
            # What stands behind the dashes, the installer passes on to the system.
            "cmdline": "mitigations=off DEBIAN_FRONTEND=text --- mitigations=off console=ttyS0,115200",
            "answer": "preseed",
            "answer_text": PRESEED.replace("PORT", str(netboot.port)),
            "timeout": 5400,
        },
    }
    run = check_run_again(VM, params)
    assert run.plan.has("install") and machines.state_of(NAME) == "shut off"
    record = json.loads(Path(paths.record_path("guests", NAME)).read_text())
    assert record["install"]["stage"] == "done" and "pressed-cider" not in json.dumps(record)
    assert not Path(paths.installer_folder(NAME)).exists()
    started = converge_now(VM, {**params, "state": "started"})
    assert started.error is None and machines.definition(NAME).find("os/kernel") is None
    assert b"pressed login:" in console_until(b"pressed login:", 1200)
    unchanged(VM, {**params, "state": "started"})
