# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine of ``ordinary_vm`` as a host that the control node reaches: by a port of the loopback address."""

from __future__ import annotations

import contextlib
import shutil
import typing as t
from pathlib import Path

import yaml

from ansible_collections.homelab.hybrid.tests.harness import ordinary_vm
from ansible_collections.homelab.hybrid.tests.harness.wired_host import COLLECTION, WiredHost

# What the role hypervisor installs: the machine of `make ordinary`, whose image and snapshot are built once for all.
_ROLE = yaml.safe_load((COLLECTION / "roles/hypervisor/vars/main.yml").read_text())
PACKAGES = [
    *_ROLE["__hypervisor_packages_common"],
    *_ROLE["__hypervisor_packages_of_release"]["13"],
    *_ROLE["__hypervisor_packages_of_architecture"]["x86_64"],
]


class OrdinaryHost(WiredHost):
    """The host whose machine *start* brings up in a folder; it returns the port."""

    def __init__(self, folder: Path, start: t.Callable[[Path], int]) -> None:
        super().__init__(folder)
        self.machine = folder / "machine"
        self.key = self.machine / "key"
        self.address = "127.0.0.1"
        self.port = start(self.machine)

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path, start: t.Callable[[Path], int]) -> t.Iterator[t.Self]:
        """The host for as long as it is used."""
        try:
            yield cls(folder, start)
        finally:
            ordinary_vm.stop(folder / "machine")
            shutil.rmtree(folder / "machine", ignore_errors=True)

    def ask(self, command: str) -> str:
        # Under emulation libvirt alone can take minutes.
        return ordinary_vm.ssh(self.machine, self.port, command, timeout=600).stdout.strip()
