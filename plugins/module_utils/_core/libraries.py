# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The only guarded imports: one function per library, lazy, so that no task pays for what it does not use."""

from __future__ import annotations

import functools
import typing as t

from .errors import MissingLibrary

PACKAGES = {
    "libvirt": "python3-libvirt",
    "libvirt_qemu": "python3-libvirt",
    "lxc": "python3-lxc",
    "lxml": "python3-lxml",
    "pycdlib": "python3-pycdlib",
}


def _missing(name: str, error: ImportError) -> MissingLibrary:
    return MissingLibrary(
        f"the Python library {name} is missing on this host ({error}). The role homelab.hybrid.hypervisor installs {PACKAGES[name]}; "
        "set ansible_python_interpreter to /usr/bin/python3",
        library=name,
    )


@functools.cache
def libvirt() -> t.Any:
    """The module ``libvirt``, without its habit of printing every error.

    :raises MissingLibrary:
    """
    try:
        import libvirt as module
    except ImportError as exc:
        raise _missing("libvirt", exc) from exc
    module.registerErrorHandler(lambda context, error: None, None)
    return module


@functools.cache
def libvirt_qemu() -> t.Any:
    """The module ``libvirt_qemu``: what libvirt offers for QEMU alone, such as the guest agent.

    :raises MissingLibrary:
    """
    try:
        import libvirt_qemu as module
    except ImportError as exc:
        raise _missing("libvirt_qemu", exc) from exc
    return module


@functools.cache
def lxc() -> t.Any:
    """The module ``lxc`` (liblxc).

    :raises MissingLibrary:
    """
    try:
        import lxc as module
    except ImportError as exc:
        raise _missing("lxc", exc) from exc
    return module


@functools.cache
def etree() -> t.Any:
    """The module ``lxml.etree``.

    :raises MissingLibrary:
    """
    try:
        from lxml import etree as module
    except ImportError as exc:
        raise _missing("lxml", exc) from exc
    return module


@functools.cache
def pycdlib() -> t.Any:
    """The module ``pycdlib``.

    :raises MissingLibrary:
    """
    try:
        import pycdlib as module
    except ImportError as exc:
        raise _missing("pycdlib", exc) from exc
    return module
