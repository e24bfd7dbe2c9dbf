# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own package of a service as its upstream, and newer packages made from it."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import service_guest as guest
from ansible_collections.homelab.hybrid.tests.services import debian_archive
from ansible_collections.homelab.hybrid.tests.services.scenario import Variables


@dataclasses.dataclass(frozen=True)
class Debian:
    """Nothing is pinned: a newer version is what the archive has when an update is asked for. One that is *silent* has that for its *program*."""

    package: str
    program: str
    is_silent: str
    loses: str = ""
    entry: str = "update"

    def first(self, releases: guest.Releases) -> Variables:
        return {}

    def turned(self, releases: guest.Releases) -> Variables:
        debian_archive.turn(guest.rootfs(), self.package, self.publish("+test1"))
        return {}

    def silent(self, releases: guest.Releases) -> Variables:
        self.publish("+test2", self.is_silent)
        return {}

    def publish(self, suffix: str, program: str | None = None) -> str:
        """A newer version of Debian's package, with its program or with *program* instead."""
        # Debian's own is fetched once: later it is not the newest any more.
        fetch = f"mkdir -p /srv/debian && cd /srv/debian && {{ test -e *.deb || apt-get -qq download {self.package}; }}"
        guest.inside("sh", "-c", fetch)
        (found,) = (guest.rootfs() / "srv/debian").glob(f"{self.package}_*.deb")
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name)
            subprocess.run(["dpkg-deb", "-R", str(found), name], check=True)
            control = tree / "DEBIAN" / "control"
            fields = dict(
                line.split(": ", 1) for line in control.read_text().splitlines() if line[0] != " " and ": " in line
            )
            version = fields["Version"] + suffix
            control.write_text(control.read_text().replace(f"Version: {fields['Version']}", f"Version: {version}"))
            if program:
                (file,) = tree.glob(self.program)
                file.write_text(program)
                if self.loses and not (tree / "DEBIAN/postinst").exists():
                    debian_archive.write_control(tree, control.read_text(), self.loses)
            debian_archive.build(guest.rootfs(), tree, self.package, version)
        return version
