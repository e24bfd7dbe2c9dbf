# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An upstream that signs what it publishes, with keys that are made for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _output(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


class Signer:
    """A key of GnuPG's and one of OpenSSL's, made for the test."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "gnupg"
        self.home.mkdir(mode=0o700)
        self.private = folder / "private.pem"
        self.gpg("--passphrase", "", "--quick-gen-key", "Upstream <up@example.org>", "ed25519", "sign", "never")
        self.key = self.gpg("--armor", "--export")
        _output("openssl", "genrsa", "-out", self.private, "2048")
        self.pem = _output("openssl", "rsa", "-in", self.private, "-pubout")

    def gpg(self, *argv: str | Path) -> str:
        return _output("gpg", "--homedir", self.home, "--batch", "--yes", "--quiet", *argv)

    def stop(self) -> None:
        _output("gpgconf", "--homedir", self.home, "--kill", "all")
