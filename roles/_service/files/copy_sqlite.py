# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy databases of SQLite that are in use: FOLDER DATABASE... One that is not there (yet) is no error."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path

# Its program writes meanwhile, and may hold it for a moment.
WAIT_SECONDS = 60


def main(folder: Path, databases: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for database in databases:
        if not database.exists():
            continue
        copy = folder / database.name
        new = copy.with_name(copy.name + ".new")
        new.unlink(missing_ok=True)
        source = sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=WAIT_SECONDS)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(new)) as target:
            source.backup(target)
        os.replace(new, copy)


main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
