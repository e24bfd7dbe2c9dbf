# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep versions of shares: ``keep_versions.py FILE``, a list of ``{path, folder, hourly, daily, weekly}``.

A version is a copy of the folder that shares all blocks with it, named as shadow_copy2 of Samba looks for it. Of a folder in which nothing
changed there is none. Of those that are there the last of each of the newest hours, days and weeks is kept.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

FORMAT = "@GMT-%Y.%m.%d-%H.%M.%S"
NAME = re.compile(r"@GMT-\d{4}(\.\d\d){2}-\d\d(\.\d\d){2}")
# What is never complete, or a history of its own.
LEFT_OUT = (".recycle",)
PERIODS: t.Mapping[str, t.Callable[[datetime.datetime], t.Any]] = {
    "hourly": lambda when: (when.date(), when.hour),
    "daily": lambda when: when.date(),
    "weekly": lambda when: when.isocalendar()[:2],
}


def expired(names: t.Iterable[str], keep: t.Mapping[str, int]) -> list[str]:
    """Those of *names* that none of the periods keeps."""
    times = {name: datetime.datetime.strptime(name, FORMAT) for name in names}
    kept = set()
    for period, of in PERIODS.items():
        last: dict[t.Any, str] = {}
        for name in sorted(times, reverse=True):
            last.setdefault(of(times[name]), name)
        kept.update(list(last.values())[: keep[period]])
    return sorted(times.keys() - kept)


def versions(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if NAME.fullmatch(entry.name))


def is_left_out(entry: Path, folder: Path) -> bool:
    return entry.name in LEFT_OUT or entry == folder or entry in folder.parents


def has_changed(places: t.Iterable[Path], since: Path) -> bool:
    """Whether anything of *places* is other than when *since* was written."""
    argv = ["find", *map(str, places), "-xdev", "-cnewer", str(since), "-print", "-quit"]
    return bool(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def copy(entry: Path, target: Path) -> None:
    argv = ["cp", "--archive", "--one-file-system", "--reflink=always", "--", str(entry), str(target)]
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    # What is deleted meanwhile is in no version.
    failed = [line for line in done.stderr.splitlines() if not line.endswith(": No such file or directory")]
    if done.returncode and failed:
        raise OSError(failed[0])


def keep(path: Path, folder: Path, wanted: t.Mapping[str, int]) -> None:
    if not path.is_dir():
        raise OSError(f"{path} is not there")
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.glob(".*.new"):
        # Of a run that was killed.
        shutil.rmtree(entry)
    mark, inside = folder / ".begun", [entry for entry in path.iterdir() if not is_left_out(entry, folder)]
    if not mark.exists() or not versions(folder) or has_changed([path, *inside], mark):
        begun = folder / ".begins"
        begun.write_bytes(b"")
        name = datetime.datetime.now(datetime.UTC).strftime(FORMAT)
        making = folder / f".{name}.new"
        making.mkdir(mode=0o700)
        for entry in inside:
            copy(entry, making)
        status = path.stat()
        os.chown(making, status.st_uid, status.st_gid)
        shutil.copystat(path, making)
        if not (folder / name).exists():
            making.rename(folder / name)
        begun.replace(mark)
    for name in expired(versions(folder), wanted):
        shutil.rmtree(folder / name)


def main() -> int:
    status = 0
    for share in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            keep(Path(share["path"]), Path(share["folder"]), share)
        except (OSError, subprocess.CalledProcessError) as exc:
            sys.stderr.write(f"versions of {share['path']}: {exc}\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
