# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role of a user's own whose program comes as an archive: what is not what was published is refused before anything is installed."""

from __future__ import annotations

import hashlib
import io
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import debian_archive

PORT = 8090
PROGRAM = """\
#!/usr/bin/python3
import http.server, os
os.stat("/usr/bin/{needs}")
class Bell(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{says}")
http.server.HTTPServer(("0.0.0.0", {port}), Bell).serve_forever()
"""
SERVICE = """\
__bell_service:
  title: Bell
  description: Says which bell it is
  packages: "{{ ['homelab-rope'] + bell_packages | default([]) }}"
  version: "{{ bell_version }}"
  archive:
    url: "{{ bell_url }}/bell-{{ bell_version }}.tar.gz"
    checksum: "{{ bell_checksum }}"
    strip: 1
    fetched_by: "{{ bell_fetched_by }}"
  user: bell
  unit: {name: bell.service, command: /opt/bell/current/bell}
  listens: [{port: 8090}]
  check: {url: "http://127.0.0.1:8090/", regex: "^bell", attempts: 10}
"""
MAIN = """\
- name: Bell
  ansible.builtin.include_role:
    name: homelab.hybrid._service
  vars:
    __service_declaration: "{{ __bell_service }}"
"""
# Fetches a release by each of the lists, and says which were refused.
LISTS = """\
- name: Each list
  ansible.builtin.include_tasks: list.yml
  loop: "{{ bell_lists }}"
  loop_control: {loop_var: bell_checksum}
- name: Say which were refused
  ansible.builtin.debug:
    msg: "refused: {{ bell_refused | default([]) | length }} of {{ bell_lists | length }}"
"""
LIST = """\
- name: One
  block:
    - name: Fetch it
      ansible.builtin.include_role:
        name: homelab.hybrid._service
        tasks_from: archive
      vars:
        __service_declaration: "{{ __bell_service }}"
  rescue:
    - name: Refused
      ansible.builtin.set_fact:
        bell_refused: "{{ bell_refused | default([]) + [ansible_failed_result.msg] }}"
"""


class Bells:
    """A publisher of releases, and the lists of checksums beside them."""

    def __init__(self, releases: guest.Releases) -> None:
        self.releases = releases

    def publish(self, version: str, says: str = "", needs: str = "homelab-rope") -> Path:
        archive = self.releases.folder / f"bell-{version}.tar.gz"
        content = PROGRAM.format(says=says or f"bell {version}", needs=needs, port=PORT).encode()
        with tarfile.open(archive, "w:gz") as tar:
            member = tarfile.TarInfo(f"bell-{version}/bell")
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        return archive

    def lists(self, archive: Path) -> list[str]:
        """What `checksum` says of each kind of list that publishers have."""
        name, content = archive.name, archive.read_bytes()
        sha256, sha512 = hashlib.sha256(content).hexdigest(), hashlib.sha512(content).hexdigest()
        other = "0" * 64
        kinds = {
            # coreutils: Debian, Ubuntu
            "SHA256SUMS": f"{other}  bell-0.tar.gz\n{sha256}  {name}\n",
            "SHA256SUMS.binary": f"{other} *bell-0.tar.gz\n{sha256} *{name}\n",
            "SHA512SUMS": f"{sha512}  {name}\n",
            # made of `./*.tar.gz`: AdGuard Home
            "checksums.txt": f"{other}  ./bell-0.tar.gz\n{sha256}  ./{name}\n",
            # BSD: OPNsense, FreeBSD, Fedora
            "CHECKSUM.SHA256": f"SHA256 (bell-0.tar.gz) = {other}\nSHA256 ({name}) = {sha256}\n",
            # one file for each archive: Alpine, and TrueNAS without a name
            f"{name}.sha512": f"{sha512}  {name}\n",
            f"{name}.sha256": f"{sha256}\n",
        }
        for list_name, text in kinds.items():
            (self.releases.folder / list_name).write_text(text, encoding="utf-8")
        words = {each: "sha512" if "512" in each else "sha256" for each in kinds}
        return [f"{word}:{self.releases.url}/{each}" for each, word in words.items()]


@pytest.fixture(autouse=True)
def _guest() -> t.Iterator[None]:
    try:
        guest.set_up("releases.img")
        guest.inside("apt-get", "-qq", "update")
        guest.inside("apt-get", "-qqy", "install", "nftables")
        debian_archive.use_alone(guest.rootfs())
        debian_archive.publish(guest.rootfs(), "homelab-rope", "1", {"usr/bin/homelab-rope": "#!/bin/sh\n"})
        guest.inside("apt-get", "-qq", "update")
        yield
    finally:
        guest.tear_down()


@pytest.fixture(params=[("guest", guest.GATEWAY), ("control_node", "127.0.0.1")], ids=["guest", "control_node"])
def bells(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Bells]:
    """What is served at a loopback address the guest has no way to."""
    releases = guest.Releases(tmp_path / "releases", request.param[1])
    try:
        yield Bells(releases)
    finally:
        releases.close()


@pytest.fixture
def lab(bells: Bells, request: pytest.FixtureRequest, tmp_path: Path) -> guest.Lab:
    role = tmp_path / "ansible_collections/my/home/roles/bell"
    files = {"vars/main.yml": SERVICE, "tasks/main.yml": MAIN, "tasks/lists.yml": LISTS, "tasks/list.yml": LIST}
    for path, text in files.items():
        (role / path).parent.mkdir(parents=True, exist_ok=True)
        (role / path).write_text(text, encoding="utf-8")
    fetched_by = request.node.callspec.params["bells"][0]
    variables = {"bell_version": "1", "bell_url": bells.releases.url, "bell_fetched_by": fetched_by}
    return guest.Lab(tmp_path, "my.home.bell", variables)


def turn(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)


def installed() -> str:
    files = "find /opt /etc/systemd/system /var/lib/homelab_hybrid /var/cache/homelab_hybrid -printf '%p %s\\n' | sort"
    return guest.inside("dpkg-query", "--show") + guest.inside("sh", "-c", files, check=False)


def is_reached(url: str) -> bool:
    probe = "import sys, urllib.request\nurllib.request.urlopen(sys.argv[1], timeout=10)\n"
    return guest.status("python3", "-c", probe, url) == 0


def test_a_release_is_what_was_published(bells: Bells, lab: guest.Lab, request: pytest.FixtureRequest) -> None:
    archive = bells.publish("1")
    if request.node.callspec.id == "control_node":
        assert not is_reached(bells.releases.url), "the guest has no way to it"
    checksum = bells.lists(archive)[0]
    published = archive.read_bytes()
    fresh = installed()
    turn(archive)
    refused = lab.entry("main", bell_checksum=checksum).failed()
    assert "checksum" in refused.said, refused.printed[-4000:]
    left = {line for line in installed().splitlines() if not line.startswith("/var/cache/homelab_hybrid")}
    assert left == set(fresh.splitlines()), "refused before anything is installed, packages too"

    archive.write_bytes(published)
    lab.entry("main", bell_checksum=checksum).succeeded()
    assert "bell 1" in guest.run("curl", "-sS", f"http://{guest.ADDRESS}:{PORT}/")
    assert guest.status("test", "-x", "/usr/bin/homelab-rope") == 0
    assert lab.entry("main", bell_checksum=checksum).succeeded().changed == 0
    assert guest.inside("find", "/var/cache/homelab_hybrid", "-type", "f") == "", "what was fetched is gone"


def said() -> str:
    return guest.run("curl", "-sS", f"http://{guest.ADDRESS}:{PORT}/")


@pytest.mark.parametrize("bells", [("guest", guest.GATEWAY)], ids=["guest"], indirect=True)
def test_packages_that_a_new_release_needs_come_and_go_back_with_it(bells: Bells, lab: guest.Lab) -> None:
    lab.entry("main", bell_checksum=bells.lists(bells.publish("1"))[0]).succeeded()
    wants = {"bell_version": "2", "bell_packages": ["homelab-chain"]}
    checksum = bells.lists(bells.publish("2", says="silence", needs="homelab-chain"))[0]
    refused = lab.entry("main", **wants, bell_checksum=checksum).failed()
    assert "Unable to locate package homelab-chain" in refused.said, refused.printed[-4000:]
    assert said() == "bell 1" and guest.inside("nft", "list", "tables") == "", "refused before the guest is closed"

    debian_archive.publish(guest.rootfs(), "homelab-chain", "1", {"usr/bin/homelab-chain": "#!/bin/sh\n"})
    failed = lab.entry("main", **wants, bell_checksum=checksum).failed()
    assert "went back" in failed.said, failed.printed[-4000:]
    assert said() == "bell 1" and guest.status("test", "-e", "/usr/bin/homelab-chain") != 0

    wants["bell_version"] = "3"
    checksum = bells.lists(bells.publish("3", needs="homelab-chain"))[0]
    lab.entry("main", **wants, bell_checksum=checksum).succeeded()
    assert said() == "bell 3" and lab.entry("main", **wants, bell_checksum=checksum).succeeded().changed == 0


@pytest.mark.parametrize("bells", [("guest", guest.GATEWAY)], ids=["guest"], indirect=True)
def test_each_kind_of_list_tells_the_checksum(bells: Bells, lab: guest.Lab) -> None:
    archive = bells.publish("1")
    lists = bells.lists(archive)
    assert f"refused: 0 of {len(lists)}" in lab.entry("lists", bell_lists=lists).succeeded().said
    # Of what is there already nothing is fetched.
    guest.inside("rm", "-r", "/var/cache/homelab_hybrid")
    turn(archive)
    told = lab.entry("lists", bell_lists=lists).succeeded()
    assert f"refused: {len(lists)} of {len(lists)}" in told.said
    # No list was passed over: each has a name and a digest for it.
    assert told.printed.count("did not match") >= len(lists), told.printed[-4000:]
