# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""Images that the user names instead of describing them: ``from: catalogue`` becomes the options of the entry, on the control node."""

from __future__ import annotations

import difflib
import functools
import typing as t
from pathlib import Path

import yaml

from ..module_utils._image.spec import CATALOGUE, SOURCES
from ._profiles import dictionaries

Options = t.Mapping[str, t.Any]

FOLDER = Path(__file__).with_name("_image_catalogue")
ENTRIES, KEYS = FOLDER / "entries.yml", FOLDER / "keys"
# What of an entry is told to people and tests, and is no option.
TOLD = ("title", "version", "form", "packing", "content", "note")
# What of an image says which entry is meant.
_NAMING = ("from", "entry", "version")
# What is laid over an entry key by key.
_GROUPS = ("signature", "presets")


class CatalogueError(Exception):
    """Why an image cannot be taken from the catalogue, as a sentence that begins with the option."""


@functools.cache
def entries() -> dict[str, dict[str, t.Any]]:
    """The entries of this collection, by name."""
    found: dict[str, dict[str, t.Any]] = yaml.safe_load(ENTRIES.read_text(encoding="utf-8"))
    return found


def with_own(own: t.Any) -> dict[str, dict[str, t.Any]]:
    """The entries by name, those that an inventory has among them: one of a known name is laid over that, key by key.

    :raises CatalogueError: for an entry without a name.
    """
    found = dict(entries())
    for entry in dictionaries(own):
        name = str(entry.get("name") or "")
        if not name:
            raise CatalogueError("hypervisor_image_catalogue: each entry needs a name")
        written = {key: value for key, value in entry.items() if key != "name" and value is not None}
        found[name] = _laid(found.get(name, {}), written)
    return found


def kind_of(image: Options, own: t.Any = None) -> str | None:
    """Which kind of guest the *image* of an inventory is for, where that can be told."""
    if image.get("kind") is not None or image.get("from") != CATALOGUE:
        return t.cast("str | None", image.get("kind"))
    try:
        kind = with_own(own).get(_entry_of(image), {}).get("kind")
    except CatalogueError:
        return None
    return None if kind is None else str(kind)


def resolved(image: t.Any, own: t.Any = None) -> t.Any:
    """The options of the module for *image*: those of its entry, under those that were written. *own* are entries of an inventory.

    :raises CatalogueError: for an entry that is not there, or that cannot be what was written.
    """
    if not isinstance(image, t.Mapping) or image.get("from") != CATALOGUE:
        return image
    if image.get("state") == "absent":
        return {key: value for key, value in image.items() if key != "from"}
    name, known = _entry_of(image), with_own(own)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(
            name.partition("-")[0], known, 1, 0.5
        )
        meant = f" Is {near[0]} meant?" if near else ""
        raise CatalogueError(f"entry: the catalogue has no {name}.{meant} There are: {', '.join(sorted(known))}")
    return _filled(image, name, known[name])


def all_resolved(images: t.Any, own: t.Any = None) -> t.Any:
    """Each of the *images* of a layout, resolved.

    :raises CatalogueError: which names the image.
    """
    if not isinstance(images, (list, tuple)):
        return images
    found = []
    for image in images:
        try:
            found.append(resolved(image, own))
        except CatalogueError as exc:
            raise CatalogueError(f"images[{image.get('name')}].{exc}") from exc
    return found


def _entry_of(image: Options) -> str:
    return str(image.get("entry") or image.get("name") or "")


def _filled(image: Options, name: str, entry: Options) -> dict[str, t.Any]:
    written = {key: value for key, value in image.items() if key not in _NAMING and value is not None}
    version = image.get("version") or entry.get("version")
    if image.get("version") is not None and not _has_version(entry):
        raise CatalogueError(f"version: {name} of the catalogue has no place for it. Write url and checksum")
    base = {key: value for key, value in entry.items() if key not in TOLD}
    # Another source is not checked by what is known of that of the entry.
    source = next((key for key in SOURCES if key in written and key != "url"), None)
    if source is not None:
        base = {key: value for key, value in base.items() if key not in ("url", "checksum", "signature")}
    if "kind" in written and written["kind"] != base.get("kind", written["kind"]) and source is None:
        raise CatalogueError(f"kind: {name} of the catalogue is of the kind {base['kind']}, not {written['kind']}")
    options = _laid(base, written)
    if not any(options.get(key) for key in SOURCES):
        raise CatalogueError(
            f"entry: {name} has no file to fetch. {entry.get('note') or 'Write path, or url and checksum'}"
        )
    options = {key: _versioned(value, version) for key, value in options.items()}
    if signature := _signature(options.pop("signature", None)):
        options["signature"] = signature
    return {**options, "name": image.get("name"), "entry": name}


def _has_version(entry: Options) -> bool:
    return "{version}" in str(entry.get("url"))


def _laid(below: Options, above: Options) -> dict[str, t.Any]:
    """*above* over *below*. An empty group takes that below it away."""
    laid = {**below, **above}
    for key in _GROUPS:
        ours, theirs = above.get(key), below.get(key)
        if isinstance(ours, t.Mapping) and isinstance(theirs, t.Mapping):
            its = {name: value for name, value in ours.items() if value is not None}
            laid[key] = {**theirs, **its} if its else {}
    return laid


def _versioned(value: t.Any, version: t.Any) -> t.Any:
    if isinstance(value, t.Mapping):
        return {key: _versioned(its, version) for key, its in value.items()}
    return value.replace("{version}", str(version)) if isinstance(value, str) else value


def _signature(signature: t.Any) -> t.Any:
    """*signature* with the text of a key that lies here. Without a key nothing is checked, as nobody could."""
    if not isinstance(signature, t.Mapping):
        return signature
    key = signature.get("key")
    if not key:
        return None
    if isinstance(key, str) and "/" not in key and "\n" not in key and (KEYS / key).is_file():
        return {**signature, "key": (KEYS / key).read_text(encoding="utf-8")}
    return dict(signature)


def with_mirrors(image: t.Any, mirrors: t.Any) -> t.Any:
    """*image* with the *mirrors* of its host under its own, by name, where it is fetched."""
    common = dictionaries(mirrors)
    is_fetched = isinstance(image, t.Mapping) and any(image.get(key) for key in ("url", "simplestreams"))
    if not common or not is_fetched or image.get("state") == "absent":
        return image
    own = image.get("mirrors") or []
    if not isinstance(own, (list, tuple)):
        return image
    named = {mirror.get("name") for mirror in dictionaries(own)}
    return {**image, "mirrors": [*(its for its in common if its.get("name") not in named), *own]}
