# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own installer, from the archive: it finds the answer that it was given, and obeys it without a question.

As far as it comes without a mirror that has its components (udebs), which the mirrors of a test host need not have.
"""

from __future__ import annotations

import json
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core import paths
from ansible_collections.homelab.hybrid.plugins.module_utils._vm.resource import KvmVm
from ansible_collections.homelab.hybrid.tests.harness import machines
from ansible_collections.homelab.hybrid.tests.harness.cases import check_run_again

VM = KvmVm()
NAME = f"{machines.PREFIX}-debian"
TOLD = "the answer was read by Debian"
# What it would ask first, and a command that tells that nothing was asked.
PRESEED = f"""\
d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i passwd/root-password password pressed-cider
d-i preseed/early_command string echo "{TOLD}" > /dev/ttyS0; sync; poweroff -f
"""


@pytest.fixture(scope="module")
def netboot(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """The kernel and the initial RAM disk of the installer, where QEMU's user can read them."""
    release = re.search(r"VERSION_ID=\"(\d+)\"", Path("/etc/os-release").read_text())
    assert release is not None
    work = tmp_path_factory.mktemp("netboot")
    package = f"debian-installer-{release[1]}-netboot-amd64"
    machines.command(
        "sh",
        "-c",
        f"cd {work} && apt-get -q -o APT::Sandbox::User=root download {package} && dpkg-deb -x {package}*.deb .",
    )
    with machines.surroundings() as pool:
        folder = pool.parent / "netboot"
        folder.mkdir(mode=0o711)
        for name in ("linux", "initrd.gz"):
            (found,) = work.rglob(f"text/debian-installer/amd64/{name}")
            shutil.copyfile(found, folder / name)
        yield folder


def test_the_installer_of_debian_finds_its_answer(netboot: Path) -> None:
    params = {
        "name": NAME,
        "state": "stopped",
        "memory": "1536MiB",
        "vcpus": 2,
        "disks": [{"name": "root", "pool": machines.POOL, "size": "1GiB"}],
        "install": {
            "kernel": str(netboot / "linux"),
            "initrd": str(netboot / "initrd.gz"),
            "cmdline": "mitigations=off DEBIAN_FRONTEND=text",
            "answer": "preseed",
            "answer_text": PRESEED,
            "done_when": "serial",
            "pattern": TOLD,
            "timeout": 1200,
        },
    }
    run = check_run_again(VM, params)
    assert run.plan.has("install") and machines.state_of(NAME) == "shut off"
    record = json.loads(Path(paths.record_path("guests", NAME)).read_text())
    assert record["install"]["stage"] == "done" and "pressed-cider" not in json.dumps(record)
    assert not Path(paths.installer_folder(NAME)).exists()
