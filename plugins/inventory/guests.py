# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: The virtual machines and containers of many hypervisors
version_added: 0.1.0
description:
  - Asks hypervisors for their virtual machines and containers, many at a time and each with one execution, and makes inventory hosts of them.
  - Nothing is installed on a hypervisor for this but libvirt, LXC and Debian's packages C(python3-libvirt), C(python3-lxc) and C(python3-lxml).
  - Each guest gets the facts that M(homelab.hybrid.guest_info) returns as variables (C(guest_state), C(guest_tags), C(guest_addresses)), and in
    any case C(guest_hypervisor), C(guest_kind) and the variables of its connection.
  - One with Windows gets C(ansible_shell_type=powershell), whichever way it is reached.
  - The fact C(startup) is left out where it would be C(guest_startup), which is a variable that an inventory declares.
  - The guests are in the groups C(guests), C(vms) or C(containers), and C(hypervisor_NAME). The hypervisors are in the group C(hypervisors).
  - The hypervisors and how they are reached may be templates, such as a lookup of a password.
  - Uses a YAML configuration file whose name ends with C(guests.yml) or C(guests.yaml) after a dot or a slash, such as C(lab.guests.yml),
    or with C(homelab_guests.yml).
author:
  - homelab.hybrid contributors (@homelab)
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
requirements:
  - C(ssh) on the control node, unless the hypervisor is the control node
  - on the hypervisors either root or C(sudo), with O(become_password) where it asks for a password
notes:
  - With O(cache=true) and a cache plugin that keeps files, such as P(ansible.builtin.jsonfile#cache) with O(cache_connection), a hypervisor is asked
    when what it told is older than O(cache_timeout). What it told last is kept for the time when it does not answer.
  - The names and facts of guests come from the hypervisors and are never taken for templates.
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [homelab.hybrid.guests]
  hypervisors:
    description:
      - The hypervisors. Each is a name, or a dictionary with the key C(name) and some of C(host), C(port), C(user), C(private_key_file),
        C(ssh_executable), C(ssh_args), C(ssh_common_args), C(ssh_extra_args), C(become_password), and C(connection), which is C(ssh) or C(local).
      - C(host) is the address where it is another than the name.
      - C(local) and C(localhost) as a name are the control node itself.
    type: list
    elements: raw
    required: true
  user:
    description: The user on the hypervisors that have no C(user) of their own.
    type: str
  port:
    description: The port of the SSH servers of the hypervisors that have no C(port) of their own.
    type: int
  private_key_file:
    description: The private key for the hypervisors that have no C(private_key_file) of their own.
    type: str
  ssh_args:
    description: Arguments of C(ssh) for the hypervisors that have no C(ssh_args) of their own.
    type: str
    env:
      - name: ANSIBLE_SSH_ARGS
    ini:
      - section: ssh_connection
        key: ssh_args
  ssh_common_args:
    description:
      - Further arguments of C(ssh) for the hypervisors that have no C(ssh_common_args) of their own.
      - A jump host is said here, as C(-o ProxyJump=jump.example.org), or in the settings that playbooks read.
    type: str
    env:
      - name: ANSIBLE_SSH_COMMON_ARGS
    ini:
      - section: ssh_connection
        key: ssh_common_args
  ssh_extra_args:
    description: Arguments of C(ssh) after all others, for the hypervisors that have no C(ssh_extra_args) of their own.
    type: str
    env:
      - name: ANSIBLE_SSH_EXTRA_ARGS
    ini:
      - section: ssh_connection
        key: ssh_extra_args
  become_password:
    description:
      - The password that C(sudo) asks for on the hypervisors that have no C(become_password) of their own.
      - The hypervisors and their guests get it as C(ansible_become_password) among their connection variables.
    type: str
  host_key_checking:
    description: Whether the keys of the hypervisors must be known.
    type: bool
    default: true
    env:
      - name: ANSIBLE_HOST_KEY_CHECKING
    ini:
      - section: defaults
        key: host_key_checking
  python:
    description: The Python on the hypervisors that has the libraries of libvirt and LXC.
    type: str
    default: /usr/bin/python3
  parallel:
    description: How many hypervisors are asked at the same time.
    type: int
    default: 20
  connect_timeout:
    description: How many seconds a hypervisor may take to accept the connection.
    type: int
    default: 10
  timeout:
    description: How many seconds a hypervisor may take for its whole answer. It waits for the agents of its virtual machines.
    type: int
    default: 60
  strict:
    description:
      - Whether a hypervisor that cannot be asked, a name that two guests or a guest and a hypervisor have, and an expression in O(compose),
        O(groups) or O(keyed_groups) that cannot be evaluated are errors.
      - Otherwise the first two are warnings. The guests that the hypervisor told of last are then taken from the cache.
    type: bool
    default: false
  kinds:
    description: Only guests of these kinds.
    type: list
    elements: str
    choices: [vm, container]
    default: []
  states:
    description: Only guests in these states.
    type: list
    elements: str
    choices: [started, stopped, paused, suspended]
    default: []
  tags:
    description: Only guests with at least one of these tags.
    type: list
    elements: str
    default: []
  hostnames:
    description:
      - How the inventory hosts are called. V(name) is the name of the guest, V(qualified) is V(GUEST.HYPERVISOR).
      - Of two guests with one name the running one bears it, else that of the hypervisor that stands first. A guest with the name of a
        hypervisor is left out.
    type: str
    choices: [name, qualified]
    default: name
  vars_prefix:
    description: What the names of the variables with the facts of a guest begin with.
    type: str
    default: guest_
  vm_connection:
    description:
      - How virtual machines are reached. V(ssh) needs an address, V(qemu_ga) the guest agent, see P(homelab.hybrid.qemu_ga#connection).
      - Containers are reached through P(homelab.hybrid.lxc#connection).
    type: str
    choices: [ssh, qemu_ga]
    default: ssh
  jump:
    description:
      - Whether the SSH connection of a virtual machine goes through its hypervisor.
      - With V(auto) it does where the bridge is made by libvirt (nat, routed, isolated), or has no port but those of guests.
      - There is no jump to the virtual machines of the control node.
    type: str
    choices: [auto, always, never]
    default: auto
  add_hypervisors:
    description: Whether the hypervisors become inventory hosts too, in the group C(hypervisors).
    type: bool
    default: true
"""

EXAMPLES = r"""
# lab.guests.yml: this host alone
plugin: homelab.hybrid.guests
hypervisors: [local]

---
# fleet.guests.yml: three hypervisors, their guests in groups by tag and by state
plugin: homelab.hybrid.guests
user: ops
hypervisors:
  - alpha
  - name: beta
    host: 192.0.2.11
    port: 2222
  - name: gamma
    host: gamma.example.org
    private_key_file: ~/.ssh/gamma
keyed_groups:
  - key: guest_tags
    prefix: tag
  - key: guest_state
    prefix: state
groups:
  webservers: "'web' in guest_tags"
compose:
  ansible_user: "'debian' if guest_kind == 'vm' else ansible_user | default('root')"
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/homelab_hybrid/inventory
cache_timeout: 300

---
# appliances.guests.yml: running virtual machines with a tag, through their agents
plugin: homelab.hybrid.guests
hypervisors: [alpha, beta]
kinds: [vm]
states: [started]
tags: [appliance]
vm_connection: qemu_ga
"""

import concurrent.futures
import os
import time
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable, get_cache_plugin

from ..plugin_utils._inventory import (
    KINDS,
    BadAnswer,
    BadConfiguration,
    Filter,
    Source,
    Ways,
    name_guests,
    parse_answer,
    parse_sources,
    variables_of,
)
from ..plugin_utils._shipped import by_input
from ..plugin_utils._transport import Unreachable

LISTING = "_listing.listing"
DEFAULTS = ("user", "port", "private_key_file", "ssh_args", "ssh_common_args", "ssh_extra_args", "become_password")
ENDINGS = tuple(f"{name}.{kind}" for name in ("guests", "homelab_guests") for kind in ("yml", "yaml"))


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]  # Ansible has no types
    """The guests of hypervisors as inventory hosts."""

    NAME = "homelab.hybrid.guests"

    def verify_file(self, path: str) -> bool:
        """Whether *path* has a name that is for this plugin."""
        name = os.path.basename(path)
        return bool(super().verify_file(path)) and (
            name in ENDINGS or name.endswith(tuple(f".{end}" for end in ENDINGS))
        )

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the guests to *inventory*.

        :raises AnsibleParserError: for what the configuration may not be, and with ``strict`` for a hypervisor that cannot be asked.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            sources = parse_sources(
                self.templar.template(self.get_option("hypervisors")),
                {name: self.templar.template(self.get_option(name)) for name in DEFAULTS},
                self.get_option("connect_timeout"),
                self.get_option("host_key_checking"),
            )
        except BadConfiguration as exc:
            raise AnsibleParserError(f"{path}: {exc}") from exc
        answers = self._answers(sources, path, cache)
        self._add(sources, answers)

    def _answers(self, sources: list[Source], path: str, may_use_cache: bool) -> dict[str, t.Any]:
        """What each hypervisor has, from the cache or asked; those that were never heard of are left out."""
        kept: dict[str, t.Any] = {}
        if self.get_option("cache"):
            # The plugin forgets what is too old; here it must outlive a hypervisor that does not answer.
            self._cache = get_cache_plugin(
                self.get_option("cache_plugin"),
                _uri=self.get_option("cache_connection"),
                _timeout=0,
                _prefix=self.get_option("cache_prefix"),
            )
            key = self.get_cache_key(path)
            kept = dict(self._cache.get(key) or {})
        now = time.time()
        longest = self.get_option("cache_timeout") or float("inf")
        fresh = {name for name, answer in kept.items() if may_use_cache and 0 <= now - answer["read_at"] < longest}
        self._ask([source for source in sources if source.name not in fresh], kept)
        if self.get_option("cache"):
            self._cache[key] = {source.name: kept[source.name] for source in sources if source.name in kept}
        return {source.name: kept[source.name] for source in sources if source.name in kept}

    def _ask(self, sources: list[Source], kept: dict[str, t.Any]) -> None:
        """Ask *sources* and put what they have into *kept*. Who does not answer leaves there what it told last."""
        if not sources:
            return
        argv, data = by_input(LISTING, [], self.get_option("python"))
        limit = self.get_option("timeout")

        def ask(source: Source) -> dict[str, t.Any]:
            rc, stdout, stderr = source.hypervisor.run(argv, input=data, limit=limit)
            if rc != 0:
                said = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
                raise BadAnswer(f"the program that lists the guests ended with {rc}: {said[0]}")
            return parse_answer(stdout)

        workers = max(1, min(self.get_option("parallel"), len(sources)))
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            running = {source.name: pool.submit(ask, source) for source in sources}
        for name, future in running.items():
            try:
                kept[name] = {**future.result(), "read_at": time.time()}
            except (Unreachable, BadAnswer) as exc:
                self._tell(f"the hypervisor {name} cannot be asked: {exc}", kept.get(name))

    def _tell(self, sentence: str, last: t.Mapping[str, t.Any] | None) -> None:
        if self.get_option("strict"):
            raise AnsibleParserError(sentence)
        if last is not None:
            sentence += f". Its guests are taken as they were {time.time() - last['read_at']:.0f} s ago"
        self.display.warning(sentence)

    def _add(self, sources: list[Source], answers: dict[str, t.Any]) -> None:
        ways = Ways(
            vm=self.get_option("vm_connection"),
            jump=self.get_option("jump"),
            prefix=self.get_option("vars_prefix"),
            checks_host_key=self.get_option("host_key_checking"),
        )
        wanted = Filter(*(frozenset(self.get_option(name) or ()) for name in ("kinds", "states", "tags")))
        by_name = {source.name: source for source in sources}
        self.inventory.add_group("guests")
        for group in KINDS.values():
            self.inventory.add_group(group)
            self.inventory.add_child("guests", group)
        if self.get_option("add_hypervisors"):
            self._add_hypervisors(sources)
        # Those of a source that was read before this one are hypervisors too.
        known = self.inventory.groups.get("hypervisors")
        hypervisors = {*by_name, *(host.name for host in (known.get_hosts() if known else ()))}
        named, clashes = name_guests(answers, wanted, self.get_option("hostnames") == "qualified", hypervisors)
        for clash in clashes:
            if self.get_option("strict"):
                raise AnsibleParserError(clash)
            self.display.warning(clash)
        for name, (hypervisor, guest) in sorted(named.items()):
            private = answers[hypervisor]["private_bridges"]
            self._add_guest(name, variables_of(guest, by_name[hypervisor], private, ways))

    def _add_hypervisors(self, sources: list[Source]) -> None:
        self.inventory.add_group("hypervisors")
        for source in sources:
            self.inventory.add_host(source.name, group="hypervisors")
            for key, value in source.variables.items():
                self.inventory.set_variable(source.name, key, value)

    def _add_guest(self, name: str, variables: dict[str, t.Any]) -> None:
        self.inventory.add_host(name, group=KINDS[variables["guest_kind"]])
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        group = self.inventory.add_group(self._sanitize_group_name(f"hypervisor_{variables['guest_hypervisor']}"))
        self.inventory.add_child(group, name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
