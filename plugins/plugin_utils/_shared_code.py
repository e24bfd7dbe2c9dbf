# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""What the code of a module is, as a number: a host that keeps code of that number need not be sent it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible.release import __version__ as ansible_version

PLUGINS = Path(__file__).resolve().parents[1]


def digest(module: str, plugins: Path = PLUGINS, ansible: str = ansible_version) -> str:
    """A hexadecimal number of all that is sent with *module* (``layout``): its file, all shared code, what is in them, and *ansible*'s version."""
    found = hashlib.sha256(f"{ansible}\n".encode())
    for path in (plugins / "modules" / f"{module}.py", *sorted((plugins / "module_utils").rglob("*.py"))):
        content = path.read_bytes()
        found.update(f"{path.relative_to(plugins)} {len(content)}\n".encode() + content)
    return found.hexdigest()[:32]
