# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write into the documentation of private modules the options that users know as variables of the role hypervisor, as its spec tells them.

``private_docs.py`` writes, ``private_docs.py --check`` says what is stale. All else of these modules is written by hand.
"""

from __future__ import annotations

import re
import sys
import textwrap
import typing as t
from pathlib import Path

import yaml
from layout_docs import Dumper

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "roles" / "hypervisor" / "meta" / "argument_specs.yml"
# By module its options that are variables of the role.
VARIABLES = {
    "_host_backup": {
        "repositories": "hypervisor_backup_repositories",
        "jobs": "hypervisor_backup_jobs",
        "replications": "hypervisor_replication_jobs",
    },
    "_host_notify": {"targets": "hypervisor_notify"},
}
BEGIN, END = 'DOCUMENTATION = r"""\n', '"""\n'


def described(option: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the documentation of a module has of an option of a role."""
    told = {("suboptions" if key == "options" else key): value for key, value in option.items() if key != "default"}
    if "suboptions" in told:
        told["suboptions"] = {key: described(each) for key, each in told["suboptions"].items()}
        if "state" in told["suboptions"]:
            told["suboptions"]["state"]["default"] = "present"
    return told


def written(text: str, options: t.Mapping[str, t.Any]) -> str:
    """*text*, a module, with these *options* in its documentation.

    :raises ValueError: where it has no such option.
    """
    head, begin, rest = text.partition(BEGIN)
    body, end, tail = rest.partition(END)
    for name, option in options.items():
        block = yaml.dump({name: described(option)}, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
        # Up to the next option, or the next part of the documentation.
        body, count = re.subn(
            rf"^  {name}:\n(?:    .*\n)+", lambda dummy, its=block: textwrap.indent(its, "  "), body, flags=re.MULTILINE
        )
        if count != 1:
            raise ValueError(f"{name} is {count} times an option")
    return head + begin + body + end + tail


def main() -> int:
    known = yaml.safe_load(SPEC.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    status = 0
    for module, variables in VARIABLES.items():
        path = ROOT / "plugins" / "modules" / f"{module}.py"
        text = path.read_text(encoding="utf-8")
        wanted = written(text, {option: known[variable] for option, variable in variables.items()})
        if wanted == text:
            continue
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale: run make docs", file=sys.stderr)
            status = 1
        else:
            path.write_text(wanted, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
