# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
from __future__ import annotations

import functools

from ansible_collections.homelab.hybrid.plugins.module_utils._host import libvirt, lxc
from ansible_collections.homelab.hybrid.plugins.module_utils._host.snapshot import Host, vlan_users

CONFIG = """\
# lxc.rootfs.path = dir:/old
lxc.rootfs.path = dir:/srv/pool/web.rootfs
lxc.mount.entry = /srv/my\\040music media none bind,create=dir 0 0
lxc.mount.entry = tmpfs tmp tmpfs size=10m 0 0
"""


def test_a_container_stands_on_its_root_and_on_what_is_bound_into_it():
    assert lxc.Container("web", CONFIG).sources == ["/srv/pool/web.rootfs", "/srv/my music"]


def test_a_container_runs_when_its_monitor_listens():
    lines = [
        "Num RefCount Protocol Flags Type St Inode Path\n",
        "0000: 00000002 00000000 00010000 0001 01 12345 @/var/lib/lxc/web/command\n",
        "0000: 00000002 00000000 00010000 0001 01 12346 @/other/db/command\n",
        "0000: 00000002 00000000 00010000 0001 01 12347 /run/systemd/notify\n",
    ]
    assert lxc.running_names(lines) == {"web"}


def test_a_disk_stands_on_a_file_or_a_device_and_a_network_disk_on_neither():
    xml = """<domain><devices>
      <disk type='file'><source file='/srv/pool/a.qcow2'/></disk>
      <disk type='block'><source dev='/dev/vg/b'/></disk>
      <disk type='network'><source protocol='rbd' name='pool/c'/></disk>
      <disk type='file' device='cdrom'/>
    </devices></domain>"""
    assert libvirt.Definition(xml).disk_sources == ["/srv/pool/a.qcow2", "/dev/vg/b"]


def test_a_guest_is_in_a_vlan_of_the_bridge_of_that_interface():
    config = (
        "lxc.net.0.link = br0\nlxc.net.1.link = br1\nlxc.net.1.veth.vlan.id = 10\n"
        "lxc.net.2.link = br2\nlxc.net.2.veth.vlan.tagged.id = 20\nlxc.net.3.link = br3\nlxc.net.3.veth.vlan.id = none\n"
    )
    xml = """<domain><devices>
      <interface type='bridge'><source bridge='br0'/></interface>
      <interface type='bridge'><source bridge='br1'/><vlan><tag id='10'/></vlan></interface>
    </devices></domain>"""
    nas = libvirt.Definition(xml, is_running=True)
    assert lxc.Container("web", config).vlan_bridges == {"br1", "br2"}
    assert lxc.Container("web", config).bridges == {"br0", "br1", "br2", "br3"}
    assert (nas.nic_sources(), nas.nic_sources(in_vlan=True)) == ({"br0", "br1"}, {"br1"})
    host = Host()
    host.__dict__.update(containers={"web": lxc.Container("web", config)}, definitions={"nas": nas})
    assert [vlan_users(host, name) for name in ("br0", "br1", "br2")] == [[], ["nas", "web"], ["web"]]


def test_what_is_derived_of_a_look_is_made_once_and_forgotten_with_it():
    made = []

    def names(host: Host) -> list[str]:
        made.append(1)
        return sorted(host.containers)

    host = Host()
    host.__dict__["containers"] = {"web": lxc.Container("web", CONFIG)}
    assert host.derived(names) is host.derived(names) and made == [1]
    host.drop()
    host.__dict__["containers"] = {}
    assert host.derived(names) == [] and made == [1, 1]


def test_a_new_look_forgets_every_area_but_the_connection_and_what_is_expected():
    areas = {name for name, value in vars(Host).items() if isinstance(value, functools.cached_property)}
    host = Host()
    host.__dict__.update(dict.fromkeys(areas))
    host.drop()
    assert areas - set(host.__dict__) >= {
        "pools",
        "domains",
        "containers",
        "links",
        "_definitions",
        "_derived",
        "_missing",
    }
    assert set(host.__dict__) == {"connection", *(name for name in areas if name.startswith("expected_"))}
