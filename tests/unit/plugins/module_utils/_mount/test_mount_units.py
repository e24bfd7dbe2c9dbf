# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of a mount, read by systemd's own program, on whatever host: none of them is started."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._mount.units import (
    credentials_text,
    is_ours,
    name_of,
    options_of,
    read_credentials,
    texts,
)

NFS: dict[str, t.Any] = {"type": "nfs", "source": "10.0.0.5:/tank/media", "options": ("vers=4.2", "ro")}
CIFS: dict[str, t.Any] = {"type": "cifs", "source": "//nas/100% films", "username": "anna", "password": "correct horse"}
SECRETS = "/var/lib/homelab_hybrid/credentials/srv-films"
PATHS = ["/srv/media", "/srv/my-films", "/srv/ä b", "/.hidden/x", "/srv/50%"]


@pytest.mark.parametrize("path", PATHS)
def test_a_unit_has_the_name_that_systemd_gives_to_its_path(path: str) -> None:
    if shutil.which("systemd-escape") is None:
        pytest.skip("this machine has no systemd-escape")
    done = subprocess.run(["systemd-escape", "--path", path], capture_output=True, text=True, check=True)
    assert name_of(path) == done.stdout.strip()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("values", [NFS, CIFS], ids=["nfs", "cifs"])
def test_systemd_takes_the_units(tmp_path: Path, path: str, values: dict[str, t.Any]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    files = []
    for name, text in texts(path, values, SECRETS if values is CIFS else None).items():
        files.append(tmp_path / Path(name).name)
        files[-1].write_text(text)
        assert is_ours(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, files)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if tmp_path.name in line or name_of(path) in line]
    assert told == [] and done.returncode == 0, done.stderr


def test_a_server_that_is_gone_is_an_error_and_nothing_waits_for_it() -> None:
    mount, automount = texts("/srv/media", NFS, None).values()
    assert "Options=soft,timeo=50,retrans=2,retry=0,_netdev,vers=4.2,ro\n" in mount
    for line in ("TimeoutSec=30", "LazyUnmount=yes", "ForceUnmount=yes", "StartLimitIntervalSec=0", "Type=nfs"):
        assert f"{line}\n" in mount
    # Only who asks has it mounted: nothing that a boot waits for pulls it in.
    assert "[Install]" not in mount and "WantedBy=remote-fs.target\n" in automount


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "soft,timeo=50,retrans=2,retry=0,_netdev"),
        (("timeo=100",), "soft,retrans=2,retry=0,_netdev,timeo=100"),
        (("hard",), "timeo=50,retrans=2,retry=0,_netdev,hard"),
        (("_netdev", "softerr"), "timeo=50,retrans=2,retry=0,_netdev,softerr"),
    ],
)
def test_what_is_declared_counts(options: tuple[str, ...], expected: str) -> None:
    assert options_of({**NFS, "options": options}, None) == expected


def test_a_password_is_in_the_file_of_credentials_alone() -> None:
    assert not any("correct horse" in text or "anna" in text for text in texts("/srv/films", CIFS, SECRETS).values())
    assert f"credentials={SECRETS}" in next(iter(texts("/srv/films", CIFS, SECRETS).values()))
    text = credentials_text(CIFS)
    assert text == "username=anna\npassword=correct horse\n"
    assert read_credentials(text) == {"username": "anna", "password": "correct horse"}
    assert credentials_text(NFS) is None


def test_a_percent_sign_is_no_specifier() -> None:
    assert "What=//nas/100%% films\n" in next(iter(texts("/srv/films", CIFS, None).values()))
