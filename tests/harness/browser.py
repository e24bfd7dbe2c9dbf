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
# No window of it is narrower, but what is shown in a frame is.
LEAST_WIDTH = 500
FRAME = """<!DOCTYPE html>
<body style="margin: 0">
<iframe src="framed.html" style="border: 0; width: {width}px; height: {height}px"
  onload="document.title = this.contentDocument.documentElement.scrollWidth"></iframe>
"""


@dataclasses.dataclass(frozen=True)
class Browser:
    """Its profile lies in *folder*, and its pictures in *pictures*. *names* are the names that it knows, each with an address."""

    folder: Path
    pictures: Path
    names: t.Mapping[str, str]

    def page(self, url: str) -> lxml.html.HtmlElement:
        """What stands in the page once it is loaded."""
        return lxml.html.fromstring(self._run(url, "--dump-dom"))

    def picture(self, url: str, name: str, *, scheme: str = "light", width: int = 1200, height: int = 1400) -> Path:
        """How it looks."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        if width < LEAST_WIDTH:
            url = self._framed(url, width, height)
        look = (f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--window-size={width},{height}")
        self._run(url, f"--screenshot={path}", *look)
        return path

    def width(self, url: str, screen: int) -> int:
        """How wide the page is on a screen of that width: wider where one has to move it aside to read it."""
        return int(self.page(self._framed(url, screen, 1400)).findtext(".//title") or 0)

    def _framed(self, url: str, width: int, height: int) -> str:
        (self.folder / "framed.html").write_text(self._run(url, "--dump-dom"), encoding="utf-8")
        frame = self.folder / "frame.html"
        frame.write_text(FRAME.format(width=width, height=height), encoding="utf-8")
        return frame.as_uri()

    def _run(self, url: str, *argv: str) -> str:
        rules = ", ".join(f"MAP {name} {address}" for name, address in self.names.items())
        # Root has no sandbox, and nobody has certified a lab. /dev/shm of a cell is small.
        always = (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"),
            *("--disable-background-networking", "--ignore-certificate-errors", f"--host-resolver-rules={rules}"),
            *("--allow-file-access-from-files", "--hide-scrollbars"),
        )
        argv = ("chromium", *always, f"--user-data-dir={self.folder / 'profile'}", *argv, url)
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout
