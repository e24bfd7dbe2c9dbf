# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Indexes of simplestreams (as linuxcontainers.org and Ubuntu publish them): which file an image is made of."""

from __future__ import annotations

import json
import typing as t

from .._core.errors import SpecError, shorten

INDEX = "streams/v1/index"
_SQUASHED = "squashfs"
_UNIFIED = ("incus_combined.tar.gz", "lxd_combined.tar.gz")
# The file of a kind of guest, the best first. An Incus server has both, Ubuntu's and linuxcontainers.org's have these names.
_FILES = {
    "container": ("root.tar.xz", "root.tar.gz", "root.tar.zst", *_UNIFIED, _SQUASHED),
    "vm": ("disk-kvm.img", "disk1.img", "disk.img"),
}
# What a product can be known by, for each key that the user writes.
_KEYS = {
    "distribution": ("os",),
    "release": ("release", "release_codename", "release_title", "version"),
    "arch": ("arch",),
    "variant": ("variant",),
}


class Wanted(t.NamedTuple):
    """The product that is asked for, and which serial of it; the newest where none is pinned. *arch* in Debian's words."""

    distribution: str
    release: str
    arch: str | None = None
    variant: str | None = None
    serial: str | None = None


class Found(t.NamedTuple):
    """A file that an index has: its *path* below the server, what it must be, and the *serial* of its product."""

    path: str
    digest: str
    size: int | None
    serial: str


def product_lists(text: str) -> list[str]:
    """The paths of the lists of images that an index names.

    :raises SpecError: when it is no index.
    """
    entries = _read(text, "index").values()
    found = [
        str(entry["path"])
        for entry in entries
        if isinstance(entry, dict) and entry.get("datatype") in ("image-downloads", None) and entry.get("path")
    ]
    if not found:
        raise SpecError("simplestreams: the server's index names no list of images")
    return found


def choose(text: str, kind: str, wanted: Wanted) -> Found | None:
    """The file for a guest of *kind* in a list of images; ``None`` where it has no such product.

    :raises SpecError: for a serial or a file that the product does not have, and for a list that is none.
    """
    products = [its for its in _read(text, "products").values() if isinstance(its, dict) and _matches(its, wanted)]
    if not products:
        return None
    versions = {
        str(serial): version
        for product in products
        for serial, version in (product.get("versions") or {}).items()
        if isinstance(version, dict)
    }
    # A build that is under way, or went wrong, has no file for this kind: the newest that has one counts.
    fit = {serial: item for serial, version in versions.items() if (item := _item(version, kind)) is not None}
    if wanted.serial is not None and wanted.serial not in fit:
        known = ", ".join(sorted(fit)[-5:]) or "none"
        raise SpecError(
            f"simplestreams.serial: there is no {shorten(wanted.serial)} for a {kind}. There are: {known}",
            key="simplestreams.serial",
        )
    if not fit:
        raise SpecError(f"simplestreams: {_said(wanted)} has no file for a {kind}", key="simplestreams")
    # What not every host can read is taken where there is nothing else.
    common = [serial for serial, item in fit.items() if item["ftype"] != _SQUASHED]
    serial = wanted.serial or max(common or fit)
    item = fit[serial]
    size = item.get("size")
    return Found(str(item["path"]), _digest(item), size if isinstance(size, int) else None, serial)


def missing(wanted: Wanted, texts: t.Iterable[str]) -> SpecError:
    """What is said where no list has the product; it names what there is of the distribution."""
    near = sorted(
        {
            f"{its.get('release')}/{its.get('arch')}/{its.get('variant', 'default')}"
            for text in texts
            for its in _read(text, "products").values()
            if isinstance(its, dict) and str(its.get("os", "")).lower() == wanted.distribution.lower()
        }
    )
    there = f"It has of that distribution: {', '.join(near[:12])}" if near else "It has nothing of that distribution"
    return SpecError(f"simplestreams: the server has no {_said(wanted)}. {there}", key="simplestreams")


def _said(wanted: Wanted) -> str:
    return "/".join((wanted.distribution, wanted.release, wanted.arch or "any", wanted.variant or "default"))


def _read(text: str, key: str) -> dict[str, t.Any]:
    try:
        found = json.loads(text)[key]
    except (ValueError, TypeError, KeyError):
        found = None
    if not isinstance(found, dict):
        raise SpecError(f"simplestreams: what the server has as its index holds no {key!r}")
    return found


def _matches(product: t.Mapping[str, t.Any], wanted: Wanted) -> bool:
    if wanted.variant is None and product.get("variant", "default") != "default":
        return False
    for key, names in _KEYS.items():
        value = getattr(wanted, key)
        told = {str(product[name]).lower() for name in names if name in product}
        if value is not None and value.lower() not in told:
            return False
    return True


def _item(version: t.Mapping[str, t.Any], kind: str) -> dict[str, t.Any] | None:
    """The file for *kind*, which needs a digest."""
    items = [its for its in (version.get("items") or {}).values() if isinstance(its, dict)]
    usable = [its for its in items if its.get("path") and (its.get("sha256") or its.get("sha512"))]
    for name in _FILES[kind]:
        for item in usable:
            if item.get("ftype") == name:
                return item
    return None


def _digest(item: t.Mapping[str, t.Any]) -> str:
    algorithm = "sha512" if item.get("sha512") else "sha256"
    return f"{algorithm}:{str(item[algorithm]).lower()}"
