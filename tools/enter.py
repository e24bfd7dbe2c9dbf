# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open a shell in a container, or ssh or the serial console of a virtual machine, from the inventory alone."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys

from ansible import constants

from ansible_collections.homelab.hybrid.plugins.plugin_utils._enter import QUESTION, VIAS, CannotEnter, command

DEMO = "playbooks/inventory/demo"


def own_inventory() -> list[str]:
    """The inventory where none is named: none to name where the settings of Ansible have one, else that of the demo."""
    return [] if constants.config.get_config_value_and_origin("DEFAULT_HOST_LIST")[1] != "default" else [DEMO]


def ask(inventory: list[str], guest: str) -> dict[str, object]:
    """What the inventory says of *guest*, its templates resolved.

    :raises CannotEnter:
    """
    sources = [word for source in inventory for word in ("-i", source)]
    question = json.dumps({"msg": QUESTION})
    argv = ["ansible", *sources, guest, "-m", "ansible.builtin.debug", "-a", question]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    host, arrow, answer = done.stdout.partition(" | SUCCESS => ")
    if not arrow or "\n" in host:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise CannotEnter(f"the inventory cannot be asked for {guest}: {' '.join(said) or 'no such host'}")
    try:
        return dict(json.loads(answer)["msg"])
    except ValueError as exc:
        raise CannotEnter(f"{guest} is more than one host. Name one") from exc


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("guest", help="the guest, as the inventory calls it")
    parser.add_argument("-i", "--inventory", action="append", default=[], help="an inventory; as that of ansible")
    parser.add_argument(
        "--via", choices=VIAS, default="auto", help="how: what fits the guest, unless this says otherwise"
    )
    parser.add_argument("--show", action="store_true", help="print the command and start nothing")
    options = parser.parse_args()
    try:
        argv = command(
            ask(options.inventory or own_inventory(), options.guest), options.via, os.environ.get("TERM", "linux")
        )
    except CannotEnter as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    if options.show:
        sys.stdout.write(shlex.join(argv) + "\n")
        return 0
    if options.via == "console" or " console " in shlex.join(argv):
        sys.stderr.write("the console; it is left with Ctrl+] (that of a container with Ctrl+a q)\n")
    return os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
