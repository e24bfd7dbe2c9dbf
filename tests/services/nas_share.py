# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios of a NAS: Debian's Samba, and newer packages made from it; and NFS-Ganesha in a container that may do what a machine may."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils._core.waiting import wait_until
from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services.debian_package import Debian
from ansible_collections.homelab.hybrid.tests.services.scenario import Scenario

ALICE, BOB = ("alice", "a long and winding password"), ("bob", "another % password")
# It takes what it finds away, and ends.
SILENT = "#!/bin/sh\nrm -rf /var/lib/samba/private /srv/nas/family/row\nexit 1\n"
# What is no program of its own does so as it is installed.
LOSES = "#!/bin/sh\nrm -f /srv/nas/family/row\n"


def smb(share: str, command: str, user: tuple[str, str] | None = ALICE) -> tuple[str, ...]:
    """A command in the guest: Samba's client, with its own words for what it is to do."""
    login = ("-U", "%".join(user)) if user else ("-N",)
    return ("smbclient", f"//127.0.0.1/{share}", *login, "-c", command)


def judge(address: str) -> None:
    """Samba's own client, at the address of the guest: what may be done is done, what may not is not, and a version is found."""

    def asks(share: str, command: str, user: tuple[str, str]) -> str:
        return guest.inside(
            "sh",
            "-c",
            'cd /tmp && "$@" 2>&1',
            "sh",
            "smbclient",
            f"//{address}/{share}",
            "-U",
            "%".join(user),
            "-c",
            command,
            check=False,
        )

    def does(share: str, command: str, user: tuple[str, str]) -> str:
        said = asks(share, command, user)
        assert "NT_STATUS_" not in said, said
        return said

    def writes(text: str) -> None:
        guest.inside("sh", "-c", 'echo "$0" > /tmp/here', text)

    writes("first")
    does("family", "put here note", ALICE)
    assert does("family", "get note -", BOB).startswith("first")
    owners = guest.inside("stat", "--format=%u %U %G %a", "/srv/nas/family/note")
    assert owners == "3001 alice nas 660", "alice's, and of those who may enter"
    does("family", "put here note", BOB)
    does("films", "put here film", ALICE)
    assert does("films", "get film -", BOB).startswith("first")
    assert "NT_STATUS_ACCESS_DENIED" in asks("films", "put here other", BOB)
    assert "NT_STATUS_ACCESS_DENIED" in asks("private", "ls", BOB)
    assert "NT_STATUS_LOGON_FAILURE" in asks("family", "ls", (ALICE[0], "wrong"))

    guest.inside("systemctl", "start", "nas-share-versions.service")
    writes("second")
    does("family", "put here note", ALICE)
    (version,) = set(re.findall(r"@GMT-[0-9.-]+", does("family", "allinfo note", ALICE)))
    old = f"{version}\\note"
    assert does("family", f"get {old} -", ALICE).startswith("first"), "as it was before"
    for command in (f"put here {old}", f"rm {old}"):
        asks("family", command, ALICE)
        assert does("family", f"get {old} -", ALICE).startswith("first"), "nobody writes to it"
    does("family", "rm note", ALICE)
    assert guest.inside("cat", "/srv/nas/family/.recycle/alice/note") == "second"
    assert does("family", f"get {old} -", ALICE).startswith("first")


SAMBA = Scenario(
    role="nas_share",
    unit="smbd.service",
    units=("nas-share-versions.timer",),
    upstream=Debian("samba", "usr/sbin/smbd", SILENT, LOSES),
    variables={
        # In Debian 13 the third is an empty one, which depends on the version of the first.
        "nas_share_packages": ["samba", "smbclient"],
        "nas_share_users": [
            {"name": ALICE[0], "password": ALICE[1], "uid": 3001, "groups": ["family"]},
            {"name": BOB[0], "password": BOB[1]},
            {"name": "carol"},
        ],
        "nas_share_shares": [
            {"name": "family", "versions": {}, "recycle": True, "comment": "What all have"},
            {"name": "films", "users": ["@family"], "readers": ["bob"], "path": "/srv/films/"},
            {"name": "private", "users": ["alice"], "time_machine": True, "time_machine_size": "1G"},
        ],
    },
    listens=frozenset({"tcp 0.0.0.0:445", "tcp [::]:445"}),
    write=("sh", "-euc", 'echo kept > /tmp/row; "$@"', "sh", *smb("family", "put /tmp/row row")),
    read=smb("family", "get row -"),
    row="kept",
    logins=(
        smb("family", "ls", None),
        smb("family", "ls", (ALICE[0], "")),
        smb("family", "ls", ("guest", "")),
        smb("family", "ls", ("root", "")),
        ("sh", "-c", "smbclient -L 127.0.0.1 -N -g | grep Disk"),
        ("sh", "-c", "smbclient //127.0.0.1/family -A /etc/samba/homelab.check -c ls"),
    ),
    judge=judge,
    refusal="Hash Sum mismatch",
    refusals=(
        (
            {"nas_share_nfs": True, "nas_share_shares": [{"name": "boot", "path": "/run/boot", "versions": {}}]},
            "or serve SMB alone (nas_share_nfs: false); versions of /run/boot cannot share their blocks with it",
        ),
        ({"nas_share_groups": [{"name": "family", "gid": 4999}]}, "the group family has the gid"),
        (
            {
                "nas_share_shares": [{"name": "films", "users": ["dave"]}],
                "nas_share_exports": [{"path": "/srv/films", "clients": ["*"]}],
            },
            "there is no user dave in nas_share_users; nas_share_exports are served with nas_share_nfs: true alone",
        ),
    ),
    gone=("/etc/samba/smb.conf", "/etc/samba/homelab.shares.conf", "/etc/samba/homelab.check", "/usr/sbin/smbd"),
)
# What a client on another machine is to the guest: by this address it asks itself from this address.
SERVER = f"nfs://{guest.ADDRESS}"
AS_ALICE = "version=4&uid=3001&gid=3000"


def nfs(program: str, *argv: str) -> tuple[str, ...]:
    """A command in the guest: a client in user space that has nothing of the server."""
    return (f"nfs-{program}", *argv)


def let_open_by_handles() -> None:
    """What LXC denies even to privileged containers, and a machine may."""
    path = Path(f"/var/lib/lxc/{guest.NAME}/config")
    guest.run("lxc-stop", "-n", guest.NAME)
    path.write_text(path.read_text() + "lxc.seccomp.profile =\n")
    guest.run("lxc-start", "-n", guest.NAME)
    wait_until("the guest", lambda: guest.status("systemctl", "is-system-running", "--wait") == 0, timeout_seconds=120)


def judge_nfs(address: str) -> None:
    """The client in user space, and that of Samba: both write, and each reads what the other wrote."""

    def asks(*argv: str) -> str:
        return guest.inside("sh", "-c", '"$@" 2>&1', "sh", *argv, check=False)

    guest.inside("sh", "-c", "echo one > /tmp/one")
    # Who was there when it started could ask for their files again for half a minute.
    wait_until(
        "NFS", lambda: "copied" in asks(*nfs("cp", "/tmp/one", f"{SERVER}/family/one?{AS_ALICE}")), timeout_seconds=60
    )
    assert guest.inside(*smb("family", "get one -")).startswith("one")
    guest.inside(*smb("family", "put /tmp/one two"))
    assert asks(*nfs("cat", f"{SERVER}/family/two?{AS_ALICE}")) == "one"
    listed = {
        line.split()[-1]: line.split()[2:4] for line in asks(*nfs("ls", f"{SERVER}/family?{AS_ALICE}")).splitlines()
    }
    assert listed["one"] == listed["two"] == ["3001", "3000"], "alice's and of her group, whoever of both wrote it"

    assert "NFS4ERR_ACCES" in asks(*nfs("cat", f"{SERVER}/family/two?version=4&uid=0&gid=0")), (
        "root of a client is nobody"
    )
    assert "NFS4ERR_ACCES" in asks(*nfs("cat", f"{SERVER}/family/two?version=4&uid=3009&gid=3009"))
    elsewhere = f"nfs://127.0.0.1/family/two?{AS_ALICE}"
    assert guest.status(*nfs("cat", elsewhere)) != 0 and "one" not in asks(*nfs("cat", elsewhere)).splitlines(), (
        "not from where nobody said"
    )
    assert "NFS4ERR_ROFS" in asks(*nfs("cp", "/tmp/one", f"{SERVER}/read/new?{AS_ALICE}"))
    assert asks(*nfs("cat", f"{SERVER}/read/two?{AS_ALICE}")) == "one"


NFS = Scenario(
    role="nas_share",
    variant="nfs",
    unit="smbd.service",
    units=("nfs-ganesha.service",),
    upstream=Debian("nfs-ganesha-vfs", "usr/lib/*/ganesha/libfsalvfs.so", SILENT, LOSES),
    is_privileged=True,
    prepare=let_open_by_handles,
    variables={
        "nas_share_nfs": True,
        "nas_share_groups": [{"name": "nas", "gid": 3000}],
        "nas_share_users": [{"name": ALICE[0], "password": ALICE[1], "uid": 3001}],
        "nas_share_shares": [{"name": "family"}],
        "nas_share_exports": [
            {"path": "/srv/nas/family", "clients": [guest.ADDRESS]},
            {"path": "/srv/nas/family", "pseudo": "/read", "clients": ["10.93.64.0/24"], "read_only": True},
        ],
    },
    listens=frozenset({"tcp 0.0.0.0:445", "tcp [::]:445", "tcp *:2049"}),
    write=("sh", "-euc", f'echo kept > /tmp/row; nfs-cp /tmp/row "{SERVER}/family/row?{AS_ALICE}"'),
    read=smb("family", "get row -"),
    row="kept",
    logins=(
        nfs("cat", f"nfs://127.0.0.1/family/row?{AS_ALICE}"),
        nfs("cat", f"{SERVER}/family/row?version=4&uid=0&gid=0"),
        nfs("ls", f"{SERVER}/etc?{AS_ALICE}"),
    ),
    judge=judge_nfs,
    refusal="Hash Sum mismatch",
    refusals=(({"nas_share_exports": [{"path": "/srv", "clients": []}]}, "nobody could mount it"),),
    gone=("/etc/ganesha/ganesha.conf", "/etc/ganesha/homelab.exports.conf", "/usr/bin/ganesha.nfsd"),
)
SCENARIOS = (SAMBA, NFS)
