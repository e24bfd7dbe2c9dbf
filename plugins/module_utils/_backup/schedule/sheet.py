# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What belongs on paper: all that a person needs who has lost a host, and has one of its repositories."""

from __future__ import annotations

import typing as t

from ..._core import paths
from .spec import REST, S3, SFTP, address_of

Values = t.Mapping[str, t.Any]
_INVENTORY = "hypervisor_backup_repositories of the inventory"
_BLANK = "_" * 40


def sheet_of(host: str, name: str, values: Values, jobs: t.Mapping[str, Values], password: str | None = None) -> str:
    """The sheet of the repository *name* of *host*, with its *password* only where that is given. No other secret is on it."""
    place = address_of({key: value for key, value in values.items() if key not in ("username", "login_password")})
    lines = [
        f"RECOVERY SHEET of the host {host}, backup repository {name}",
        "",
        f"Repository  {place}",
        f"Password    {password or _BLANK}",
        f"            It is password of {name} in {_INVENTORY},",
        f"            and on the host in {paths.repository_file(name, 'password')}.",
        "            Without it nobody reads the backups.",
        *_login(name, values),
        *_jobs(name, jobs),
        "",
        "The whole host, on a fresh Debian that has its name and that Ansible reaches:",
        f"  ansible-playbook -i INVENTORY homelab.hybrid.rebuild --limit {host} --check",
        f"  ansible-playbook -i INVENTORY homelab.hybrid.rebuild --limit {host}",
        f"  (under another name: -e rebuild_host={host})",
        "",
        "One guest, without Ansible, on any Linux that has restic:",
        f"  restic -r {place} snapshots --host {host}",
        f"  restic -r {place} restore latest --host {host} --tag guest=NAME --target /tmp/NAME",
        "  rootfs is a container; a virtual machine is a raw file for each disk, and domain.xml.",
    ]
    return "\n".join(lines) + "\n"


def _login(name: str, values: Values) -> t.Iterator[str]:
    """Where what lies that opens the way to the repository, beside its password."""
    kind = values["type"]
    if kind == SFTP:
        yield f"Way to it   ssh to {values['host']}, with the key of root of {values.get('user') or 'root'} there"
    elif kind == REST and values.get("username"):
        yield f"Way to it   as {values['username']}, login_password of {name} in {_INVENTORY}"
        yield "            (restic: rest:http://USER:PASSWORD@...)"
    elif kind == S3:
        yield f"Way to it   the key {values['access_key']}, secret_key of {name} in {_INVENTORY}"
        yield "            (restic: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"


def _jobs(name: str, jobs: t.Mapping[str, Values]) -> t.Iterator[str]:
    for job, values in sorted(jobs.items()):
        if values.get("repository") == name:
            named = [*(values.get("guests") or ()), *(f"those with the tag {tag}" for tag in values.get("tags") or ())]
            yield f"Holds       {', '.join(named) or 'all guests'} (job {job}, {values.get('schedule')})"
