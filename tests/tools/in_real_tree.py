# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test on a copy of the work tree: in_real_tree.py sanity|integration [ARGUMENT...].

ansible-test refuses a tree that is reached through a symbolic link, hides the environment from pip, and fetches
pip's bootstrap script from a host of its own. So it gets a real tree, a home with the pip settings that hold here,
and a bootstrap script that installs a wheel which pip itself downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pip_settings

ROOT = Path(__file__).resolve().parents[2]
# One folder for each verb: both may run at the same time.
BUILD = ROOT / ".build" / "ansible-test" / sys.argv[1]
HOME = BUILD / "home"

BOOTSTRAP = """\
import glob
import os
import sys

wheel = glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pip-{version}-*.whl"))[0]
sys.path.insert(0, wheel)
from pip._internal.cli.main import main

sys.exit(main(["install", "--no-index", "--disable-pip-version-check", wheel]))
"""


def copy_tree() -> Path:
    tree = BUILD / "ansible_collections" / "homelab" / "hybrid"
    tree.mkdir(parents=True, exist_ok=True)
    # What ansible-test made in the copy (tests/output) is ignored by git, hence neither copied nor deleted.
    command = ["rsync", "-a", "--delete", "--filter=:- .gitignore", "--exclude=/.git", "--exclude=/.build"]
    subprocess.run([*command, f"{ROOT}/", f"{tree}/"], check=True)
    # ansible-test asks git for the files; the work tree's own git would say that it ignores all of .build.
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    return tree


def pip_version() -> str:
    """The pip that this ansible-test puts into its virtual environments."""
    found = importlib.util.find_spec("ansible_test")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("ansible-test is not installed beside this Python")
    source = Path(next(iter(found.submodule_search_locations)), "_internal", "python_requirements.py")
    match = re.search(r"default_packages = dict\(\s*pip='([0-9.]+)'", source.read_text(encoding="utf-8"))
    if match is None:
        raise SystemExit(f"{source} does not say which pip it installs")
    return match.group(1)


def write_pip_settings() -> None:
    """What the environment and the files of this machine say about pip, as one file in the new home."""
    path = HOME / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as handle:
        pip_settings.read().write(handle)


def prepare_bootstrap() -> None:
    version = pip_version()
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob(f"pip-{version}-*.whl")):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(cache), f"pip=={version}"],
            check=True,
        )
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    script.write_text(BOOTSTRAP.replace("{version}", version), encoding="utf-8")


def main() -> int:
    tree = copy_tree()
    write_pip_settings()
    prepare_bootstrap()
    environment = {**os.environ, "HOME": str(HOME), "ANSIBLE_HOME": str(HOME / ".ansible")}
    environment.pop("ANSIBLE_COLLECTIONS_PATH", None)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    verb, *arguments = sys.argv[1:]
    command = [str(Path(sys.executable).with_name("ansible-test")), verb, "--local", "--python", python, *arguments]
    return subprocess.run(command, cwd=tree, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
