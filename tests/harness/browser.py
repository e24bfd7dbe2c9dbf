# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser without a screen, Chromium, that looks at pages of a lab."""

from __future__ import annotations

import dataclasses
import subprocess
import typing as t
from pathlib import Path

import lxml.html

# Of the setting preferredColorScheme in blink.
SCHEMES = {"dark": 0, "light": 1}


@dataclasses.dataclass(frozen=True)
class Browser:
    """Its profile lies in *folder*. *names* are the names that it knows, each with an address."""

    folder: Path
    names: t.Mapping[str, str]

    def page(self, url: str) -> lxml.html.HtmlElement:
        """What stands in the page once it is loaded."""
        return lxml.html.fromstring(self._run(url, "--dump-dom"))

    def picture(self, url: str, name: str, *, scheme: str = "light", width: int = 1200, height: int = 1400) -> Path:
        """How it looks."""
        path = self.folder / f"{name}.png"
        look = (f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--window-size={width},{height}")
        self._run(url, f"--screenshot={path}", "--hide-scrollbars", *look)
        return path

    def _run(self, url: str, *argv: str) -> str:
        rules = ", ".join(f"MAP {name} {address}" for name, address in self.names.items())
        # Root has no sandbox, and nobody has certified a lab. /dev/shm of a cell is small.
        always = (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"),
            *("--disable-background-networking", "--ignore-certificate-errors", f"--host-resolver-rules={rules}"),
        )
        argv = ("chromium", *always, f"--user-data-dir={self.folder / 'profile'}", *argv, url)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout
