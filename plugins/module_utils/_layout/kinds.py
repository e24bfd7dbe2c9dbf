# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The kinds of resources that a host has, one row each, in the order in which they are made. A new kind is a new row."""

from __future__ import annotations

import typing as t

from .._bridge import spec as bridge
from .._bridge.resource import Bridge
from .._container import options as container
from .._container.resource import LxcContainer
from .._host.snapshot import BRIDGE, GUEST, IMAGE, POOL
from .._image import spec as image
from .._image.resource import Image
from .._storage import spec as storage
from .._storage.resource import StoragePool
from .._vm import options as vm
from .._vm.resource import KvmVm
from .spec import Kind, arguments

KINDS = (
    Kind(
        word="bridge",
        list="bridges",
        module="bridge",
        reference=BRIDGE,
        resource=Bridge(),
        facts="bridge",
        arguments=bridge.ARGUMENTS,
        constraints=bridge.CONSTRAINTS,
    ),
    Kind(
        word="storage_pool",
        list="storage_pools",
        module="storage_pool",
        reference=POOL,
        resource=StoragePool(),
        facts="storage_pool",
        arguments=storage.ARGUMENTS,
        constraints=storage.CONSTRAINTS,
    ),
    Kind(
        word="image",
        list="images",
        module="image",
        reference=IMAGE,
        resource=Image(),
        facts="image",
        arguments=image.ARGUMENTS,
        constraints=image.CONSTRAINTS,
    ),
    Kind(
        word="vm",
        list="vms",
        module="kvm_vm",
        reference=GUEST,
        resource=KvmVm(),
        load=KvmVm().load,
        facts="guest",
        arguments=vm.ARGUMENTS,
        constraints=vm.CONSTRAINTS,
        is_guest=True,
        delete=vm.DELETE,
    ),
    Kind(
        word="container",
        list="containers",
        module="lxc_container",
        reference=GUEST,
        resource=LxcContainer(),
        load=LxcContainer().load,
        facts="guest",
        arguments=container.ARGUMENTS,
        constraints=container.CONSTRAINTS,
        is_guest=True,
        delete=container.DELETE,
    ),
)
ARGUMENTS = arguments(KINDS)
CONSTRAINTS: dict[str, t.Any] = {}
