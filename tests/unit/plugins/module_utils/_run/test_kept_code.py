# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.homelab.hybrid.plugins.module_utils import _core, _run

CORE = Path(_core.__path__[0])
RUN = Path(_run.__path__[0])
PACKAGE = "ansible_collections.homelab.hybrid.plugins.module_utils"
KEPT = "import sys\ndef main():\n    sys.modules['__main__'].{does}()\n"
# What a module does that has this file alone with it.
ALONE = f"""
import os, shutil, sys
from {PACKAGE}._core import paths
from {PACKAGE}._run import kept_code
paths.CODE, place = sys.argv[1:]
def leave():
    kept_code.keep({{kept_code.VARIABLE: place}})
def vanish():
    shutil.rmtree(place)
    leave()
kept_code.run("_layout.entry", {{kept_code.VARIABLE: place}})
leave()
"""


def run_alone(folder: Path, *, kept: str | None) -> Path:
    """Run an archive that has only this file, where the host keeps code that does *kept*. Returns where code is kept."""
    place = folder / "code" / "0f"
    if kept is not None:
        (place / "_layout").mkdir(parents=True)
        (place / "_layout" / "entry.py").write_text(KEPT.format(does=kept))
    archive = folder / "module.zip"
    with zipfile.ZipFile(archive, "w") as target:
        parts = PACKAGE.split(".")
        for end in range(1, len(parts) + 1):
            target.writestr("/".join([*parts[:end], "__init__.py"]), "")
        for file in (RUN / "kept_code.py", CORE / "paths.py"):
            target.writestr("/".join([*parts, file.parent.name, "__init__.py"]), "")
            target.write(file, "/".join([*parts, file.parent.name, file.name]))
    script = f"import sys; sys.path.insert(0, {str(archive)!r})\n{ALONE}"
    subprocess.run([sys.executable, "-c", script, str(place.parent), str(place)], check=True)
    return place


def test_an_archive_is_kept(tmp_path: Path) -> None:
    place = run_alone(tmp_path, kept=None)
    assert (place / "_run" / "kept_code.py").exists()


def test_kept_code_that_vanishes_while_it_runs_is_not_replaced_by_a_part_of_it(tmp_path: Path) -> None:
    assert not run_alone(tmp_path, kept="vanish").exists()
