# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest of a Home Assistant OS, as the playbooks plan it of what its user writes."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.module_utils._vm.spec import parse

ALPHA: dict[str, t.Any] = {
    "ansible_connection": "local",
    "hypervisor_bridges": [{"name": "br0"}],
    "hypervisor_storage_pools": [{"name": "main", "type": "dir", "path": "/srv/main"}],
}
# With Ansible's own lookups, which are loaded once for a whole process.
PLANNED = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible_collections.homelab.hybrid.plugins.plugin_utils._completed import completed
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import read_guest
hosts = json.load(sys.stdin)
(found,) = completed(["home"], ["alpha"], hosts)
print(json.dumps(read_guest("home", {**hosts["home"], **found["variables"]}, hosts["alpha"])))
"""


def read(**variables: t.Any) -> tuple[dict[str, t.Any], str | None]:
    """The options of the guest, and why it has none."""
    home = {"inventory_hostname": "home", "guest_services": ["home_assistant_os"], **variables}
    hosts = json.dumps({"alpha": ALPHA, "home": home})
    done = subprocess.run((sys.executable, "-c", PLANNED), input=hosts, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options, error = json.loads(done.stdout.splitlines()[-1])
    return options or {}, error


def planned(**variables: t.Any) -> dict[str, t.Any]:
    options, error = read(**variables)
    assert error is None, error
    return options


def test_without_a_word_it_is_the_machine_of_upstream_and_has_no_medium() -> None:
    options = planned()
    spec = parse(options)
    assert options["image"] == "home-assistant-18.2" and "cloud_init" not in options
    assert [item.name for item in spec.wanted("disks")] == ["root"] and spec.get("wait_for") == ("agent",)


def test_its_medium_has_its_network_and_the_keys_of_root() -> None:
    written = {"home_assistant_os_address": "192.0.2.20/24", "home_assistant_os_gateway": "192.0.2.1"}
    keys = {"home_assistant_os_ssh_keys": ["ssh-ed25519 AAAA one ", "ssh-ed25519 BBBB two"]}
    more = {
        "home_assistant_os_dns": ["192.0.2.1", "192.0.2.2"],
        "home_assistant_os_files": {"timesyncd.conf": "[Time]\n"},
    }
    medium = planned(**written, **keys, **more)["cloud_init"]
    files = medium["files"]
    files = json.loads(files) if isinstance(files, str) else files
    assert medium["label"] == "CONFIG" and files["timesyncd.conf"] == "[Time]\n"
    assert files["authorized_keys"] == "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n"
    keyfile = configparser.ConfigParser()
    keyfile.read_string(files["network/my-network"])
    assert dict(keyfile["ipv4"]) == {
        "method": "manual",
        "address1": "192.0.2.20/24,192.0.2.1",
        "dns": "192.0.2.1;192.0.2.2;",
    }
    assert planned(**written, **keys, **more)["cloud_init"] == medium, "the same variables give the same text"


@pytest.mark.parametrize(
    ("written", "saying"),
    [
        ({"home_assistant_os_address": "192.0.2.20"}, "is no address with its prefix length"),
        ({"home_assistant_os_gateway": "192.0.2.1"}, "belong to an address"),
    ],
)
def test_what_makes_no_network_is_refused(written: dict[str, str], saying: str) -> None:
    assert saying in str(read(**written)[1])
