#!/usr/bin/python
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bridge
short_description: Keep a bridge that virtual machines and containers are plugged into
version_added: 0.1.0
description:
  - Makes, changes and removes a bridge with address, DHCP, DNS and network address translation for the guests on it, or with
    O(mode=ports) a plain bridge that plugs the guests into the network of the host's own links.
  - Except with O(mode=ports) the bridge is carried by a libvirt network that bears its name. A network that somebody made by hand is
    found by the name of its bridge, and changed in place; what this module has no option for stays as it is. Firewall rules and the
    forwarding of packets come and go with the network.
  - With O(mode=ports) the bridge is changed with iproute2 while it is up, and written where the host keeps its network, so that it is
    there after a reboot. That is C(systemd-networkd) or C(ifupdown), with files in C(/etc/systemd/network), or
    C(/etc/network/interfaces) and what it sources. A bridge that is defined there by hand is changed in place. Comments, order and what
    this module has no option for stay as they are.
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - homelab.hybrid._attributes
  - homelab.hybrid._requirements
  - homelab.hybrid._requirements.libvirt
  - homelab.hybrid._plan
options:
  name:
    description:
      - The name of the bridge as Linux shows it. 1 to 15 letters, digits, C(_), C(.) and C(-), the first a letter or digit.
      - 'B(In short:) Allowed: 1 to 15 letters, digits, ''_'', ''.'' and ''-'', as Linux names its links.'
    type: str
    required: true
  state:
    description:
      - V(present) makes the bridge or changes it, and leaves a bridge that is there started or stopped as it is. A new bridge is started.
      - V(started) and V(stopped) also say whether it is up. Stopping is refused while running guests are plugged in, and with O(mode=ports).
      - V(absent) takes the bridge away. It is refused while it is the bridge of any guest, running or not.
      - Stopping it and taking it away are refused too while a link is plugged in that belongs to no guest and is none of O(ports).
      - With O(mode=ports) only a bridge that this module made goes. Its ports get back the MTU that they had.
      - With the last bridge that this module made, C(net.ipv4.ip_forward) and
        C(net.ipv6.conf.all.forwarding) become what they were before the first one, unless another bridge
        came since then, C(sysctl.d) has it on, or firewall rules of others translate addresses.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  mode:
    description:
      - How guests reach the network of the host. A new bridge has mode V(nat) unless another is written.
      - V(nat) gives them the address of the host for what they send.
      - V(routed) lets them send with their own addresses. The router of the network beyond must know the way back to them.
      - V(isolated) lets them reach each other and the host, and nothing else. DHCP tells them no gateway, and names outside of O(dns) are not
        found unless O(dns.forwarders) has servers to ask.
      - V(ports) plugs them into the network that O(ports) lead to, as if they were machines beside this one.
      - Where it is not written, a bridge that is there keeps its mode. V(ports) cannot become one of the others, nor they V(ports).
      - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: fixed once it stands. A new one has V(nat).'
    type: str
    choices: [nat, routed, isolated, ports]
  address:
    description:
      - The IPv4 address of the bridge with the length of its prefix, such as V(10.20.0.1/24). This or O(address6) is needed to make a
        bridge, except with O(mode=isolated).
      - Without it there is no DHCP, and no DNS unless there is O(address6). V(none), or C(unset=[address]), takes it off an isolated bridge.
      - With O(mode=ports) it is the address of this host, V(dhcp) where a server gives it, or V(none). Where the bridge has
        several fixed ones already, the one that is written takes the place of the first.
      - Refused where the subnet overlaps with that of another link of the host.
      - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing. Allowed: an IPv4 address
        with the length of its prefix, /8 to /30, such as 10.20.0.1/24, dhcp or none.'
    type: str
  address6:
    description:
      - The IPv6 address of the bridge with the length of its prefix, such as V(fd00:20::1/64), or V(none).
      - V(auto) is the first address of a private subnet of its own (C(fd), RFC 4193). It is drawn once from the host and the name of the
        bridge, and stays. Where the bridge has an IPv6 address already, that one stays.
      - Guests get addresses by themselves where the prefix is C(/64). The bridge announces it (SLAAC), and with O(mode=nat) and
        O(mode=routed) itself as their router. With another length they need addresses that are written.
      - With O(mode=routed) it lies in a prefix that the router of the network beyond sends to this host.
      - Refused with O(mode=nat) and O(mode=routed) while a router tells this host its own IPv6 routes and C(net.ipv6.conf.LINK.accept_ra)
        is not C(2). The kernel would drop them as soon as it forwards. Where systemd-networkd keeps the link it sets that to C(0), and
        C(net.ipv6.conf.all.accept_ra) is to be C(2) in its place.
      - With O(mode=ports) it is the address of this host, V(dhcp), or V(slaac), and not V(auto). With V(slaac) the host gives itself an address of
        what a router announces, and takes its way out from there, also while it forwards for other bridges (C(IPv6AcceptRA=yes) of systemd-networkd,
        C(inet6 auto) with C(accept_ra 2) of ifupdown). A fixed address that is written later stands beside it.
      - Where nothing is written there, the kernel and systemd-networkd decide. The kernel takes announcements unless it forwards, and newer versions of
        C(systemd-networkd) take none on bridges. A bridge that takes over a card which has its IPv6 from a router gets V(slaac).
      - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing. Allowed: an IPv6 address
        with the length of its prefix, such as fd00:20::1/64, auto, slaac, dhcp or none.'
    type: str
  nat6:
    description:
      - Whether what guests send by IPv6 gets the address of the host, with O(mode=nat). It does once O(address6) is written, unless this says
        otherwise. Without it the router of the network beyond must know the way back to them.
      - 'B(In short:) by a restart of the bridge. C(unset) sets it to no.'
    type: bool
  dhcp:
    description:
      - The addresses that guests are given. Changes while guests are running reach them with their next request.
      - C(unset=[dhcp]) takes it off as a whole.
      - 'B(In short:) live. C(unset) sets it to nothing.'
    type: dict
    suboptions:
      start:
        description:
          - The first address of the range. Needed together with O(dhcp.end).
          - Where a network made by hand has several ranges, this is the first of them.
          - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
        type: str
      end:
        description:
          - The last address of the range.
          - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
        type: str
      hosts:
        description:
          - Guests that always get the same address. Entries that are not listed stay, and are named in RV(unmanaged), unless O(exact) has
            V(dhcp.hosts).
          - 'B(In short:) live.'
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The host name of the guest, without a domain. An entry of another name with the same MAC address is renamed.
              - 'B(In short:) live. Allowed: a host name of 1 to 63 letters, digits and ''-'', the first a letter, without a domain.'
            type: str
            required: true
          mac:
            description:
              - The MAC address of the guest. Needed unless the entry goes.
              - 'B(In short:) live. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
            type: str
          ip:
            description:
              - Its address, in the subnet of the bridge. Needed unless the entry goes.
              - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
            type: str
          state:
            description:
              - V(absent) takes the entry off.
            type: str
            choices: [present, absent]
            default: present
  dns:
    description:
      - The name server on the address of the bridge. It knows the names of guests that got their address by DHCP.
    type: dict
    suboptions:
      domain:
        description:
          - The domain of the guests, such as V(lab.internal). Questions about it are never passed on.
          - 'B(In short:) by a restart of the bridge. C(unset) sets it to nothing. Allowed: a DNS name such as lab.internal.'
        type: str
      hosts:
        description:
          - Further names. Entries that are not listed stay, and are named in RV(unmanaged), unless O(exact) has V(dns.hosts).
          - 'B(In short:) live.'
        type: list
        elements: dict
        suboptions:
          name:
            description:
              - The name.
            type: str
            required: true
          ip:
            description:
              - Its IPv4 address. A name has the addresses that are written here, and no others; one of them is needed unless the entry goes.
              - 'B(In short:) live. Allowed: an IPv4 address, such as 10.20.0.10.'
            type: str
          ip6:
            description:
              - Its IPv6 address.
              - 'B(In short:) live. Allowed: an IPv6 address that others reach too, such as fd00:20::10.'
            type: str
          state:
            description:
              - V(absent) takes the entry off.
            type: str
            choices: [present, absent]
            default: present
      forwarders:
        description:
          - The addresses of the servers that all other questions are passed on to, in their order. Without them it is those of the host, or nobody
            with O(mode=isolated).
          - 'B(In short:) by a restart of the bridge. C(unset) sets it to nothing. Allowed: addresses of DNS servers, such as 192.0.2.53.'
        type: list
        elements: str
  ports:
    description:
      - The links that are plugged into the bridge, with O(mode=ports). They are network cards, bonds, VLANs and others that this host has.
      - A name alone stands for an item that has nothing else, C(ports=[eno1]).
      - Links that are not listed stay, and are named in RV(unmanaged), unless O(exact) has V(ports). The links of guests are never listed.
      - A link that is plugged in must hang on nothing else. It may have addresses of its own where it is the only port of a new bridge and
        C(systemd-networkd) gives it all of them. The bridge takes over its addresses, DHCP with the lease, gateways, routes and
        MAC address then, as far as nothing else is written. That is confirmed, see the notes.
      - Any other new port that has addresses, or carries the ssh connection to this host or its default route, is refused.
      - 'B(In short:) live.'
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The name of the link.
        type: str
        required: true
      pvid:
        description:
          - The VLAN of what comes without a tag, 1 to 4094, or V(0) to drop it. Needs O(vlan_aware). V(1) unless it is written.
          - 'B(In short:) live. C(unset) sets it to V(1). Allowed: 0 to 4094.'
        type: int
      vids:
        description:
          - The VLANs that pass with a tag, as numbers and ranges such as V(30-39). Compared as a whole.
          - 'B(In short:) live. C(unset) sets it to nothing. Allowed: VLANs from 1 to 4094 and ranges of them, such as 20 and 30-39.'
        type: list
        elements: str
      state:
        description:
          - V(absent) takes the link off the bridge.
        type: str
        choices: [present, absent]
        default: present
  gateway:
    description:
      - The IPv4 router that everything else goes through, in the subnet of O(address). With O(mode=ports).
      - Refused while the default route of this host goes through another link.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv4 address, such as 10.20.0.10.'
    type: str
  gateway6:
    description:
      - The IPv6 router that everything else goes through. With O(mode=ports).
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: an IPv6 address, such as fd00:20::1 or fe80::1.'
    type: str
  mac:
    description:
      - The MAC address of the bridge, with O(mode=ports). Without it the kernel takes that of a port, or networkd one of its own.
      - 'B(In short:) live. C(unset) sets it to nothing. Allowed: a unicast MAC address such as 52:54:00:12:34:56.'
    type: str
  stp:
    description:
      - Whether the bridge takes part in the spanning tree protocol, with O(mode=ports). A new bridge does not.
      - 'B(In short:) live. C(unset) sets it to no.'
    type: bool
  vlan_aware:
    description:
      - Whether the bridge keeps VLANs apart, with O(mode=ports). Refused where the kernel cannot.
      - It is not taken off while guests are in VLANs of the bridge.
      - 'B(In short:) live. C(unset) sets it to no.'
    type: bool
  mtu:
    description:
      - The largest packet that the bridge takes, 576 to 65535 bytes. The links of guests that are plugged in keep what they have.
      - With O(mode=ports) the ports get it too, and what they had before when it is taken off.
      - 'B(In short:) with nat, routed, isolated: by a restart of the bridge, with ports: live. C(unset) sets it to nothing. Allowed: 576 to 65535.'
    type: int
  autostart:
    description:
      - Whether the bridge is started with the host. A new bridge is, unless this says otherwise. One with O(mode=ports) always is.
      - 'B(In short:) with nat, routed, isolated: live, with ports: on is live, off is refused. A new one has V(true).'
    type: bool
  confirm_timeout:
    description:
      - How many seconds a change that can cut off this host has to be made and confirmed, see the notes. V(60) unless it is written.
        Switches that run the spanning tree protocol let nothing through for the first 30 of them.
      - 'B(In short:) Allowed: 10 to 3600.'
    type: int
  verify:
    description:
      - Addresses that must answer to ping from this host after a change that can cut it off. Otherwise it is taken back.
      - 'B(In short:) Allowed: addresses that answer to ping, such as 192.0.2.1.'
    type: list
    elements: str
  exact:
    description:
      - The lists that are complete. What is there and not listed is taken off.
    type: list
    elements: str
    choices: [dhcp.hosts, dns.hosts, ports]
    default: []
notes:
  - libvirt takes a change of O(mode), O(address), O(dns.domain), O(dns.forwarders) and O(mtu) only when it starts the network. The module then
    restarts it, which takes a moment, and plugs in again what hung on the bridge, with the flags of each port. Such a change is shown with
    C(how=restart). Everything else is changed while guests are running.
  - A bridge with O(mode=ports) is never restarted, and needs no libvirt. A bridge that libvirt carries is not restarted, stopped or taken
    away while it carries the ssh connection to this host or its default route.
  - While a bridge with O(mode=ports) carries these, a change of its addresses, gateways, O(mtu), O(mac), O(stp), O(vlan_aware) or of a port
    that it has can cut off the host. Such a change is shown with C(how=confirmed), and is taken back unless it is confirmed. Before
    the first change the host saves what it is, starts a clock of O(confirm_timeout), and makes the change in a unit of its own.
    Then it looks itself whether its links have a carrier, its gateways answer, and O(verify) does. Last the control node confirms over
    a new connection, to the new address where that changes. If any of this fails, or the run, the control node or the connection is lost,
    or the host restarts, the host becomes what it was before, and the task fails with the reason.
    While such a change is under way, another one is refused.
  - That is so with C(systemd-networkd) and with C(ifupdown), and in M(homelab.hybrid.layout) too. In the background (C(async)) such a change
    is refused.
  - C(ifupdown) makes bridges with the package C(bridge-utils). The module asks for it where it is missing.
  - Links that C(NetworkManager) or C(netplan) owns are refused. So are files that this module cannot edit without guessing, such as those
    with drop-ins, or a file of C(systemd-networkd) that is about more links than the one that changes. The refusal names the file.
seealso:
  - module: homelab.hybrid.kvm_vm
  - module: homelab.hybrid.lxc_container
"""

EXAMPLES = r"""
- name: Turn the only network card into a bridge, which takes over its addresses or its lease
  homelab.hybrid.bridge:
    name: vmbr0
    mode: ports
    ports:
      - {name: eno1}

- name: Keep a bridge for all guests
  homelab.hybrid.bridge:
    name: lab0
    address: 10.20.0.1/24
    dhcp:
      start: 10.20.0.100
      end: 10.20.0.199
    dns:
      domain: lab.internal

- name: Give one guest always the same address, and a name to the bridge itself
  homelab.hybrid.bridge:
    name: lab0
    dhcp:
      hosts:
        - {name: adguard, mac: "52:54:00:20:00:05", ip: 10.20.0.5}
    dns:
      hosts:
        - {name: gateway.lab.internal, ip: 10.20.0.1}

- name: Leave no other fixed address than these
  homelab.hybrid.bridge:
    name: lab0
    dhcp:
      hosts:
        - {name: adguard, mac: "52:54:00:20:00:05", ip: 10.20.0.5}
    exact: [dhcp.hosts]

- name: Ask the host's own name servers again
  homelab.hybrid.bridge:
    name: lab0
    unset: [dns.forwarders]

- name: Keep a bridge on which guests reach nobody but each other
  homelab.hybrid.bridge:
    name: backend
    mode: isolated

- name: Keep a bridge whose guests are seen with their own addresses
  homelab.hybrid.bridge:
    name: dmz0
    mode: routed
    address: 10.30.0.1/24

- name: Plug guests into the network behind a card of the host
  homelab.hybrid.bridge:
    name: vmbr0
    mode: ports
    ports:
      - {name: enp3s0}
    address: 192.0.2.10/24
    mtu: 9000

- name: Keep VLANs apart, and let a bond carry three of them
  homelab.hybrid.bridge:
    name: trunk
    mode: ports
    vlan_aware: true
    ports:
      - {name: bond0, pvid: 10, vids: [20, 30-31]}

- name: Take the bridge away
  homelab.hybrid.bridge:
    name: lab0
    state: absent
"""

RETURN = r"""
plan:
  description: What the run does, or with C(--check) would do, in the order of its steps.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The option, as it is written.
      type: str
      returned: always
    before:
      description: Its value before.
      type: raw
      returned: always
    after:
      description: Its value after.
      type: raw
      returned: always
    how:
      description:
        - V(live), V(offline) while the bridge is stopped, V(restart) when its network is restarted, or V(refused).
        - V(confirmed) for what is taken back unless it is confirmed.
      type: str
      returned: always
    permit:
      description: What would permit it. Nothing permits what this module refuses.
      type: str
      returned: when the change is refused
    done:
      description: Whether it stands. Always false with C(--check).
      type: bool
      returned: always
  sample: [{path: dhcp.end, before: 10.20.0.199, after: 10.20.0.220, how: live, done: true}]
restart_required:
  description: The options that only a restart brings into force. Always empty for a bridge, which is restarted at once.
  returned: always
  type: list
  elements: str
kept:
  description: What O(state=absent) left on the host. Always empty for a bridge.
  returned: always
  type: list
  elements: str
unmanaged:
  description: The entries of a declared list that are there and not declared.
  returned: always
  type: list
  elements: str
  sample: ["dhcp.hosts[printer]"]
assumed:
  description: What does not exist yet and was taken as given. Only with C(--check).
  returned: always
  type: list
  elements: str
switch:
  description: How a change ended that could cut off the host.
  returned: when there was one
  type: dict
  contains:
    id:
      description: The name of this change.
      type: str
      returned: always
    state:
      description: V(confirmed), V(rolled_back), or V(lost) where the host did not answer any more.
      type: str
      returned: always
    began:
      description: When it began, in UTC.
      type: str
      returned: always
    ends:
      description: When it was to be taken back, in UTC.
      type: str
      returned: always
    reason:
      description: Why it was taken back.
      type: str
      returned: when it was
    left:
      description: What could not be brought back, as commands of iproute2.
      type: list
      elements: str
      returned: when there is any
  sample: {id: 0f3a9b6c51d2e478, state: confirmed, began: "2026-01-07T20:15:00Z", ends: "2026-01-07T20:16:00Z"}
bridge:
  description: The bridge as it is after the run, or with C(--check) as it is now.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    state:
      description: V(started), V(stopped) or V(absent).
      type: str
      returned: always
    mode:
      description: Its mode. A network made by hand can also be V(open).
      type: str
      returned: always
    address:
      description: Its address with the length of the prefix.
      type: str
      returned: always
    dhcp:
      description: The first and the last address of the range as C(start) and C(end), and the fixed ones as C(hosts).
      type: dict
      returned: unless it has ports
    dns:
      description: The C(domain), the further names as C(hosts), and the C(forwarders).
      type: dict
      returned: unless it has ports
    address6:
      description: Its IPv6 address with the length of the prefix.
      type: str
      returned: with O(mode=ports)
    gateway:
      description: The IPv4 router.
      type: str
      returned: with O(mode=ports)
    gateway6:
      description: The IPv6 router.
      type: str
      returned: with O(mode=ports)
    stp:
      description: Whether it takes part in the spanning tree protocol.
      type: bool
      returned: with O(mode=ports)
    vlan_aware:
      description: Whether it keeps VLANs apart.
      type: bool
      returned: with O(mode=ports)
    backend:
      description: What keeps it, V(systemd-networkd) or V(ifupdown).
      type: str
      returned: with O(mode=ports)
    mtu:
      description: The largest packet, where one is set.
      type: int
      returned: always
    autostart:
      description: Whether it starts with the host.
      type: bool
      returned: always
    mac:
      description: Its MAC address, while it is started.
      type: str
      returned: always
    network:
      description: The libvirt network that carries it.
      type: str
      returned: unless it has ports
    ports:
      description: The links that are plugged in.
      type: list
      elements: str
      returned: always
    users:
      description: The guests that have it as a bridge.
      type: list
      elements: str
      returned: always
"""

from ..module_utils._bridge.resource import Bridge
from ..module_utils._bridge.spec import ARGUMENTS, CONSTRAINTS
from ..module_utils._host.snapshot import Host
from ..module_utils._run.module import run


def main() -> None:
    run(Bridge(), ARGUMENTS, host=Host, libraries=("libvirt",), **CONSTRAINTS)


if __name__ == "__main__":
    main()
