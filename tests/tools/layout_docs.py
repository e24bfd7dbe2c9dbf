# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write DOCUMENTATION of the module ``layout``: its own text, and under each list the options of the module of its items.

``layout_docs.py`` writes, ``layout_docs.py --check`` says whether it is stale. The text between the lines DOCUMENTATION and
EXAMPLES of plugins/modules/layout.py is made here; everything else of that file is written by hand.
"""

from __future__ import annotations

import importlib
import re
import sys
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / ".build")]

from unit.tree import MODULES, PACKAGE, PLUGINS, documentation, load

TARGET = PLUGINS / "modules" / "layout.py"
CONSTRAINTS = {
    "mutually_exclusive": "exclude each other",
    "required_together": "are needed together",
    "required_one_of": "are alternatives of which one is needed",
}
HEAD = """
module: layout
short_description: Keep a whole host, its bridges, pools, images and guests
version_added: 0.1.0
description:
  - Converges everything that a hypervisor has in one run, from lists whose items are the options of M(homelab.hybrid.bridge),
    M(homelab.hybrid.storage_pool), M(homelab.hybrid.image), M(homelab.hybrid.kvm_vm) and M(homelab.hybrid.lxc_container). An item
    does what its module would do with these options, no more and no less. What no list names is left as it stands.
  - The host is read once. Everything is planned before anything is touched. Then each item is planned again under its own locks and
    applied, in the order of what it requires, up to O(parallel) at once. Where nothing is to be done no process is started.
  - A failed item stops only what depends on it. The task fails when all others are done, and names what failed and what was skipped.
  - Before anything is applied the whole run is refused where two guests have one address, MAC address or name, two bridges one subnet,
    or two pools one folder; where guests are promised more memory than the host has (O(overcommit.memory)); where new disks do not fit
    their pool (O(overcommit.storage)); and where a bridge, pool or image is required that is not there and that no list makes, or that
    the run stops or takes away. Guests that are there count, listed or not; one whose change is refused counts as it is.
  - A guest that gets an address of one that goes comes after it, and is skipped where that one cannot be taken away.
  - An item whose O(vms[].wait_for) or O(containers[].wait_for) is written is waited for on every run; only an address that is known
    already is not asked for again. An item that waits makes room for the next.
  - The control node shows the plan as a whole and then the steps of each item as they come, also under ansible-runner and AWX. For that
    it rehearses the run first, and only a run that has something to do or to wait for goes on, in the background of the host.
  - The host keeps the code of the run, compiled, below C(/run) until it restarts or the code is not used for a day, and is not sent it
    again. A check writes that too, and nothing else.
  - When the control node is interrupted, or the connection to it breaks, the run goes on. The next run waits for its locks.
  - With C(ignore_unreachable) on the task, a host that cannot be reached is a result with RV(ignore:unreachable_host), and does not end
    the inventory host that carries the task.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._requirements.lxc
options:
  parallel:
    description:
      - How many items are changed at once, 1 to 64. The next one begins while what was changed is looked at once more.
      - Where it is not written, as many as the host has CPUs, at least 2 and at most 8.
    type: int
  prune:
    description:
      - Whether guests are taken away that this collection made and that O(vms) or O(containers) no longer name. They are told in
        RV(ignore:unlisted) where this is false.
      - A list that is not written prunes nothing of its kind; an empty list prunes all of it.
    type: bool
    default: false
  delete:
    description:
      - What O(prune) deletes of a guest, as the option of this name of its module. What is not named is kept, and told in RV(ignore:kept).
      - For what an item with O(vms[].state=absent) deletes, write it in the item.
    type: list
    elements: str
    choices: []
    default: []
  quarantine:
    description:
      - Whether what O(prune) deletes of a guest lies in the quarantine first, as the option of this name of its module.
    type: bool
  overcommit:
    description:
      - How many times what is there may be promised. A run that adds nothing is not refused.
    type: dict
    suboptions:
      memory:
        description:
          - The memory of all guests that are there or will be, running or not, as a factor of the memory of the host. A virtual machine
            counts with its O(vms[].memory_max), a container with its limit, and not at all without one.
          - It is V(1) where it is not written.
        type: float
      storage:
        description:
          - What the run makes in a file system, as a factor of what is free there. Disks are thin, and what is there counts as what it
            takes now. A new disk counts with its full size, one that grows with what it gains, a new root of a container with
            the size of its image.
          - It is V(1) where it is not written.
        type: float
  serve_later:
    description:
      - Guests whose services are only kept after this run. What has to be changed and stands on a mount of the host (C(hypervisor_mounts) of
        the role P(homelab.hybrid.hypervisor#role)) that one of them serves (C(wait_for_guest)) and that does not answer, is left as it is
        and told in RV(ignore:resources) as C(deferred), with what depends on it; it does not fail.
      - Where the run itself makes that guest, the answer is not waited for.
      - With C(--check) nothing is deferred. The plan is that of the run and of the one that comes after the services.
    type: list
    elements: str
    default: []
  facts:
    description:
      - Whether what the modules tell of each item is returned too.
    type: bool
    default: false
seealso:
  - module: homelab.hybrid.bridge
  - module: homelab.hybrid.storage_pool
  - module: homelab.hybrid.image
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
  - module: homelab.hybrid.host_info
"""


class Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: t.Any) -> bool:
        return True


def rendered() -> str:
    layout = importlib.import_module(f"{PACKAGE}.plugins.module_utils._layout.kinds")
    told = load(HEAD)
    own = told["options"]
    own["delete"]["choices"] = layout.ARGUMENTS["delete"]["choices"]
    told["options"] = {**{kind.list: described(kind) for kind in layout.KINDS}, **own}
    return yaml.dump(told, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


def described(kind: t.Any) -> dict[str, t.Any]:
    key, module = kind.list, kind.module
    what = key.replace("_", " ").replace("vms", "virtual machines")
    (path,) = [path for path in MODULES if path.stem == module]
    text = [f"The {what} of the host. An item has the options of M(homelab.hybrid.{module})."]
    for rule, groups in kind.constraints.items():
        text += [
            f"Of an item, {' and '.join(f'O({key}[].{name})' for name in group)} {CONSTRAINTS[rule]}."
            for group in groups
        ]
    return {
        "description": text,
        "type": "list",
        "elements": "dict",
        "suboptions": moved(documentation(path)["options"], f"{key}[]."),
    }


def moved(value: t.Any, prefix: str) -> t.Any:
    """The documentation of a module's options where they are those of an item: references lead to the item's own."""
    if isinstance(value, dict):
        return {key: moved(item, prefix) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, prefix) for item in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\bO\((?!ignore:|homelab\.)", f"O({prefix}", value)
    return re.sub(r"\bRV\((?!ignore:|homelab\.)", "RV(ignore:", value)


def main() -> int:
    source = TARGET.read_text(encoding="utf-8")
    begin, end = 'DOCUMENTATION = r"""\n', '"""\n\nEXAMPLES'
    head, dummy, rest = source.partition(begin)
    tail = rest[rest.index(end) :]
    wanted = f"{head}{begin}{rendered()}{tail}"
    if wanted == source:
        return 0
    if "--check" in sys.argv:
        print("plugins/modules/layout.py is stale: run make docs", file=sys.stderr)
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
