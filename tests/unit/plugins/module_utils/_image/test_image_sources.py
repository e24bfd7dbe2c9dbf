# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._core.errors import ObserveError
from ansible_collections.homelab.hybrid.plugins.module_utils._image import sources
from ansible_collections.homelab.hybrid.plugins.module_utils._image.sources import Source

DEB822 = """\
# made by an installer
Types: deb deb-src
# snapshot of the day
URIs: http://mirror.example.net/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.net/debian-security
 http://security.example.org/
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://backports.example.org/debian
Suites: bookworm-backports
Components: main

Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main
"""
LIST = """\
# deb http://cdrom.example.org bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/docker.gpg ] https://vendor.example.org/linux/debian bookworm stable
deb http://near.example.org/debian/ bookworm main non-free-firmware  # the near one
deb-src http://near.example.org/debian/ bookworm main
deb http://security.example.org/debian-security bookworm-security main
deb http://incomplete.example.org bookworm
"""
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def debian(*suites, uri="http://mirror.example.net/debian", components=("main",), signed_by=None):
    return Source((uri,), suites, components, signed_by)


def line(suite, uri="http://mirror.example.net/debian"):
    return f"deb [signed-by={KEYRING}] {uri} {suite} main"


def test_deb822_entries_that_are_binary():
    security = ("http://mirror.example.net/debian-security", "http://security.example.org/")
    assert sources.parse_deb822(DEB822) == [
        Source(("http://mirror.example.net/debian",), ("bookworm", "bookworm-updates"), ("main", "contrib"), KEYRING),
        Source(security, ("bookworm-security",), ("main",), None),
        Source(("http://backports.example.org/debian",), ("bookworm-backports",), ("main",), None, is_enabled=False),
    ]


def test_one_line_entries_that_are_binary_and_complete():
    assert sources.parse_list(LIST) == [
        Source(
            ("https://vendor.example.org/linux/debian",), ("bookworm",), ("stable",), "/usr/share/keyrings/docker.gpg"
        ),
        Source(("http://near.example.org/debian/",), ("bookworm",), ("main", "non-free-firmware")),
        Source(("http://security.example.org/debian-security",), ("bookworm-security",), ("main",)),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "Types: deb", "no field", " folded: nothing"])
def test_text_that_holds_no_entry(text):
    assert sources.parse_list(text) == []
    assert sources.parse_deb822(text) in ([], [Source((), (), (), None)])


def test_both_files_are_read_in_the_order_of_apt(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example.org/debian bookworm main\n")
    (tmp_path / "sources.list.d" / "a.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "b.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "c.list.disabled").write_text(LIST)
    found = [source.uris[0] for source in sources.host_sources(str(tmp_path))]
    assert found[0] == "http://first.example.org/debian"
    assert len(found) == 1 + 3 + 3


@pytest.mark.parametrize(
    ("configured", "suite", "expected"),
    [
        ([debian("bookworm")], "bookworm", [line("bookworm")]),
        ([debian("bookworm")], "trixie", [line("trixie")]),
        ([debian("stable", "stable-updates")], "trixie", [line("trixie"), line("trixie-updates")]),
        (
            [debian("bookworm", "bookworm-updates"), debian("bookworm-security", uri="https://sec.example.org/s")],
            "trixie",
            [line("trixie"), line("trixie-updates"), line("trixie-security", "https://sec.example.org/s")],
        ),
        (
            [debian("bookworm", uri="http://near.example.org/d"), debian("bookworm")],
            "bookworm",
            [line("bookworm", "http://near.example.org/d")],
        ),
        (
            [
                debian("bookworm", uri="https://vendor.example.org/", signed_by="/etc/apt/keyrings/vendor.gpg"),
                debian("bookworm"),
            ],
            "bookworm",
            [line("bookworm")],
        ),
        (
            [debian("bookworm-pgdg", "bookworm-backports", uri="http://x.example.org/"), debian("bookworm")],
            "bookworm",
            [line("bookworm")],
        ),
        (
            [debian("bookworm", components=("stable",), uri="http://x.example.org/"), debian("bookworm")],
            "bookworm",
            [line("bookworm")],
        ),
        (
            [Source(("file:/srv/mirror", "http://mirror.example.net/debian"), ("bookworm",), ("main",))],
            "bookworm",
            [line("bookworm")],
        ),
    ],
)
def test_the_hosts_mirrors_carry_the_suite_that_is_asked_for(configured, suite, expected):
    assert sources.archive_lines(configured, suite) == expected


def test_an_entry_that_names_debians_keyring_goes_before_one_that_names_none():
    configured = [debian("bookworm", uri="http://vendor.example.org/"), debian("bookworm", signed_by=KEYRING)]
    assert sources.archive_lines(configured, "bookworm") == [line("bookworm")]


UBUNTU = """\
Enabled: no
Types: deb
URIs: http://near.example.org/ubuntu
Suites: jammy jammy-updates jammy-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def test_a_mirror_of_ubuntu_stands_beside_those_of_the_host_and_need_not_be_enabled():
    configured = [debian("bookworm", signed_by=KEYRING), *sources.parse_deb822(UBUNTU)]
    keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    assert sources.archive_lines(configured, "noble") == [
        f"deb [signed-by={keyring}] http://near.example.org/ubuntu {suite} main universe"
        for suite in ("noble", "noble-updates", "noble-security")
    ]
    assert sources.archive_lines(configured, "bookworm") == [line("bookworm")]


@pytest.mark.parametrize("signed_by", [None, KEYRING, "/usr/share/keyrings/vendor.gpg"])
def test_an_entry_is_ubuntus_where_it_names_its_keyring(signed_by):
    configured = [debian("noble", signed_by=signed_by), debian("bookworm")]
    with pytest.raises(ObserveError, match=r"no http or https mirror of Ubuntu's archive .* 'Enabled: no'"):
        sources.archive_lines(configured, "noble")


def test_a_disabled_entry_is_no_mirror_of_debian():
    disabled = sources.parse_deb822(DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb"))
    with pytest.raises(ObserveError, match="no http or https mirror of Debian's"):
        sources.archive_lines(disabled, "bookworm")


def test_the_mirrors_of_a_cloud_image_stand_in_a_list(tmp_path):
    listed = tmp_path / "debian.list"
    listed.write_text("# near\nhttp://near.example.org/debian priority:1\nhttp://far.example.org/debian\n")
    configured = [debian("bookworm", uri=f"mirror+file://{listed}")]
    assert sources.archive_lines(configured, "bookworm") == [line("bookworm", "http://near.example.org/debian")]


@pytest.mark.parametrize(
    "configured", [[], [debian("bookworm", uri="cdrom:[Debian]/")], [debian("bookworm-updates")], [debian("noble")]]
)
def test_a_host_without_a_mirror_is_told_so(configured):
    with pytest.raises(ObserveError, match="no http or https mirror"):
        sources.archive_lines(configured, "bookworm")


def test_settings_that_mean_something_elsewhere_are_kept(monkeypatch):
    dump = (
        'APT::Architecture "amd64";\nAcquire::http::Proxy "http://cache.example.org:3142";\nAcquire::https::Verify-Peer "true";\n'
        'Acquire::http::Proxy-Auto-Detect "/usr/bin/auto-apt-proxy";\nAcquire::Check-Valid-Until "false";\nAcquire::http "";\n'
        'Acquire::https::CaInfo "/etc/ssl/mirror.pem";\nAcquire::IndexTargets::deb "";\n'
    )
    monkeypatch.setattr(sources.command, "run", lambda argv: dump)
    assert sources.apt_settings() == [
        'Acquire::http::Proxy "http://cache.example.org:3142";',
        'Acquire::https::Verify-Peer "true";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_only_certificates_are_taken_along(tmp_path):
    (tmp_path / "company").mkdir()
    for name in ("company/root.crt", "own.crt", "README"):
        (tmp_path / name).write_text("")
    assert sources.local_authorities(str(tmp_path)) == [str(tmp_path / "company/root.crt"), str(tmp_path / "own.crt")]
    assert sources.local_authorities(str(tmp_path / "none")) == []
