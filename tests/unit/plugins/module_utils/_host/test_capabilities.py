# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt tells of a host's machines."""

from __future__ import annotations

from ansible_collections.homelab.hybrid.plugins.module_utils._host.capabilities import Capabilities

TOLD = """<domainCapabilities>
  <cpu>
    <mode name='host-passthrough' supported='no'/>
    <mode name='host-model' supported='yes'>
      <model fallback='forbid'>EPYC</model><vendor>AMD</vendor>
      <feature policy='require' name='ss'/><feature policy='disable' name='vme'/>
    </mode>
    <mode name='custom' supported='yes'>
      <model usable='yes' vendor='Intel'>Nehalem</model><model usable='no' vendor='Intel'>Haswell</model><model>odd</model>
    </mode>
  </cpu>
  <devices><graphics supported='yes'><enum name='type'><value>vnc</value></enum></graphics></devices>
</domainCapabilities>"""


def test_what_is_offered_is_read_and_what_is_not_told_is_unknown():
    offers = Capabilities(TOLD)
    assert offers.offered("devices/graphics", "type") == ("vnc",)
    assert offers.offered("devices/video", "modelType") is None
    assert offers.has_cpu_mode("host-model") and not offers.has_cpu_mode("host-passthrough")
    assert not offers.has_cpu_mode("maximum")
    assert offers.cpu_models == {"Nehalem": "yes", "Haswell": "no", "odd": "unknown"}
    assert offers.host_model == ("EPYC", {"ss": "require", "vme": "disable"})
    assert Capabilities("<domainCapabilities/>").host_model == ("", {})
