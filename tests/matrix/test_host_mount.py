# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host cannot mount is refused before anything is written; one that can is a story of ``make appliances``."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.converge import Outcome, converge
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.observe import has_client
from ansible_collections.homelab.hybrid.plugins.module_utils._mount.resource import HostMount

MOUNT: dict[str, t.Any] = {"path": "/srv/hlmt-media", "type": "nfs", "source": "nas:/tank", "wait_for_guest": "nas"}


def run(*, dry_run: bool = False, **options: t.Any) -> Outcome:
    return converge(HostMount(), {**MOUNT, **options}, host=Host(), dry_run=dry_run)


def written() -> list[str]:
    places = ("/etc/systemd/system", "/var/lib/homelab_hybrid", "/srv")
    return sorted(str(path) for place in places for path in Path(place).rglob("*hlmt*"))


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("type_", "source"), [("nfs", "nas:/tank"), ("cifs", "//nas/films")])
def test_a_kernel_without_the_client_is_refused(type_: str, source: str, dry_run: bool) -> None:
    if has_client(type_):
        pytest.skip(f"the kernel of this host can mount {type_}")
    outcome = run(dry_run=dry_run, type=type_, source=source)
    assert outcome.error is not None and f"no client of {type_}" in outcome.error.message
    assert not outcome.changed and written() == []
    left_out = run(dry_run=dry_run, type=type_, source=source, without_client="leave_out")
    assert left_out.error is None and not left_out.changed and written() == []
    assert [warning.endswith("It is left out") for warning in left_out.plan.warnings] == [True]


def test_the_kernel_is_asked_and_nothing_is_loaded() -> None:
    known = Path("/proc/filesystems").read_text().split()
    folder = Path("/lib/modules") / os.uname().release
    modules = [path.name.partition(".")[0] for path in folder.rglob("*.ko*")] if folder.exists() else []
    builtin = folder / "modules.builtin"
    modules += (
        [line.rpartition("/")[2].partition(".")[0] for line in builtin.read_text().split()] if builtin.exists() else []
    )
    for type_, names in (("nfs", ("nfs", "nfs4")), ("cifs", ("cifs", "smb3"))):
        assert has_client(type_) is (bool({*names} & {*known}) or type_ in modules)
    assert Path("/proc/filesystems").read_text().split() == known


def test_what_is_not_there_is_taken_away_without_a_word() -> None:
    outcome = converge(HostMount(), {"path": MOUNT["path"], "state": "absent"}, host=Host(), dry_run=False)
    assert outcome.error is None and not outcome.changed
