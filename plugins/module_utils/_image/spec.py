# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What the user wrote of an image: the mother of its options."""

from __future__ import annotations

import typing as t

from .._core.declared import check_path, check_text
from .._core.errors import SpecError, bad_value
from .._core.options import (
    CREATION,
    NAME,
    PATH,
    RECORD,
    TASK,
    Check,
    Option,
    Options,
    always,
    each,
    fixed,
    listed,
    matching,
    size,
)
from .._core.units import GIB, MIB, TIB, show_size
from . import address, checksum, presets, simplestreams

STATES = ("present", "absent")
# An ISO goes into the drive of a virtual machine, and no guest is made of it.
KINDS = ("container", "vm", "iso")
# Of Ubuntu, whose mirror a host has to name, roots of containers alone.
UBUNTU_SUITES = ("jammy", "noble", "resolute")
SUITES = ("bookworm", "trixie", *UBUNTU_SUITES)
FIRMWARE = ("bios", "uefi")

_ONCE = "a difference is reported in stale: give the new image another name"
# A trailing minus would make apt remove the package.
_PACKAGE = matching(
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]",
    "names of Debian packages: lower-case letters, digits, '+', '-' and '.'",
    ("git", "vim"),
)
SIGNED = ("checksum", "file", "content")
CATALOGUE = "catalogue"
_WORD = matching(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,62}", "letters, digits, '_', '.', ':', '+' and '-'", ("a", "b"))
# Amounts that no image of a homelab has; what is above is a mistake or a bomb.
_SIZE_LIMIT = 64 * GIB


def _parse_key(name: str, value: t.Any) -> str:
    """A public key as text, or the path of one on the host.

    :raises SpecError:
    """
    text = str(value)
    if text.startswith("/"):
        return str(check_path(name, text))
    if not text.lstrip().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----") and "BEGIN PUBLIC KEY-----" not in text:
        raise bad_value(name, value, _KEY_ALLOWED)
    return f"{str(check_text(name, text)).strip()}\n"


_KEY_ALLOWED = "the absolute path of a file on the host, or the text of an OpenPGP key (armored) or of a PEM public key"
_KEY = Check(_parse_key, _KEY_ALLOWED, ("/usr/share/keyrings/a.gpg", "/usr/share/keyrings/b.gpg"))
OPTIONS = Options(
    Option("name", check=NAME, home=TASK, required=True),
    Option("state", home=TASK, choices=STATES, default="present"),
    Option("kind", home=RECORD, choices=KINDS, live=always, loss=fixed),
    Option("from", home=TASK, choices=(CATALOGUE,)),
    Option("entry", check=NAME, home=TASK),
    Option("version", check=_WORD, home=TASK),
    Option("build.suite", home=CREATION, choices=SUITES, required=True, live=always, note=_ONCE),
    Option("build.packages", "list", each(_PACKAGE, sorts=True), home=CREATION, live=always, show=listed, note=_ONCE),
    Option("build.firmware", home=CREATION, choices=FIRMWARE, live=always, note=_ONCE),
    Option("path", check=PATH, home=CREATION, live=always, note=_ONCE),
    Option("url", check=address.URL, home=CREATION, live=always, note=_ONCE),
    Option("checksum", check=checksum.CHECKSUM, home=CREATION, live=always, note=_ONCE),
    Option("signature.url", check=address.URL, home=CREATION, live=always),
    Option("signature.of", home=CREATION, choices=SIGNED, live=always),
    # A public key is shown to anybody.
    Option("signature.key", check=_KEY, home=CREATION, required=True, no_log=False, live=always),
    Option("simplestreams.server", check=address.URL, home=CREATION, required=True, live=always, note=_ONCE),
    Option("simplestreams.distribution", check=_WORD, home=CREATION, required=True, live=always, note=_ONCE),
    Option("simplestreams.release", check=_WORD, home=CREATION, required=True, live=always, note=_ONCE),
    Option("simplestreams.arch", check=_WORD, home=CREATION, live=always, note=_ONCE),
    Option("simplestreams.variant", check=_WORD, home=CREATION, live=always, note=_ONCE),
    Option("simplestreams.serial", check=_WORD, home=CREATION, live=always, note=_ONCE),
    *presets.ROWS,
    Option("mirrors[]", "item", address.HOST, home=TASK),
    Option("mirrors[].url", check=address.URL, home=TASK),
    Option(
        "size_limit",
        check=size(MIB, 64 * TIB, allowed="1MiB to 64TiB; a bare number counts in GiB"),
        home=CREATION,
        create=_SIZE_LIMIT,
        show=show_size,
        live=always,
    ),
    Option("ask_upstream", "bool", home=TASK, default=False),
)
ARGUMENTS = OPTIONS.arguments()
SOURCES = ("build", "path", "url", "simplestreams")
CONSTRAINTS: dict[str, t.Any] = {"mutually_exclusive": [SOURCES]}


class Build(t.NamedTuple):
    """What an image is built of: a release and, sorted, the packages beside those that every guest needs."""

    suite: str
    packages: tuple[str, ...] | None = None
    firmware: str | None = None


class Streams(t.NamedTuple):
    """A product of the simplestreams *server*."""

    server: str
    wanted: simplestreams.Wanted


class Signature(t.NamedTuple):
    """A detached signature at *url*, or without one a signature that is part of what it signs, and the public *key*.

    *of* is what is signed: the list of checksums, the file as it is fetched, or its unpacked content.
    """

    key: str
    url: str | None = None
    of: str = "checksum"


class Spec(t.NamedTuple):
    """An image as declared. ``None`` is not written. *entry* is that of the catalogue whose values are in the others, *presets* are
    by key, in canonical form. *mirrors* has the address that stands in for a host, by its name.
    """

    name: str
    state: str = "present"
    kind: str | None = None
    build: Build | None = None
    path: str | None = None
    url: str | None = None
    checksum: str | None = None
    signature: Signature | None = None
    simplestreams: Streams | None = None
    entry: str | None = None
    presets: t.Mapping[str, t.Any] = {}
    mirrors: t.Mapping[str, str] = {}
    size_limit: int = _SIZE_LIMIT
    ask_upstream: bool = False

    @property
    def is_fetched(self) -> bool:
        return self.url is not None or self.simplestreams is not None


def parse(params: t.Mapping[str, t.Any]) -> Spec:
    """The declared image from a module's parameters.

    :raises SpecError:
    """
    declared = OPTIONS.parse(params)
    values = declared.values
    groups = {group: _taken(values, group) for group in ("build", "signature", "simplestreams", presets.GROUP)}
    for path in ("from", "version"):
        values.pop(path, None)  # what the control node made of it lies in the others
    for group, needed in (("build", ("suite",)), ("signature", ("key",)), ("simplestreams", _STREAMS_NEEDED)):
        for key in needed:
            if params.get(group) is not None and key not in groups[group]:
                allowed = OPTIONS[f"{group}.{key}"]
                words = (
                    f"one of {', '.join(allowed.choices)}" if allowed.choices else t.cast(Check, allowed.check).allowed
                )
                raise SpecError(f"{group}.{key}: is needed. Allowed: {words}", key=f"{group}.{key}")
    mirrors = {}
    for item in declared.items.get("mirrors", ()):
        if item.is_wanted and item.text("url") is None:
            raise SpecError(f"mirrors[{item.name}].url: is needed. Allowed: {address.URL.allowed}", key="mirrors")
        if item.is_wanted:
            mirrors[item.name] = str(item.text("url"))
    spec = Spec(
        **values,
        mirrors=mirrors,
        build=Build(**groups["build"]) if groups["build"] else None,
        simplestreams=_streams(groups["simplestreams"]),
        presets=groups[presets.GROUP],
    )
    spec = spec._replace(signature=_signature(groups["signature"], spec))
    _check_sources(spec)
    return spec


_STREAMS_NEEDED = ("server", "distribution", "release")


def _taken(values: dict[str, t.Any], group: str) -> dict[str, t.Any]:
    """What was written of *group*, taken out of *values*."""
    return {path.removeprefix(f"{group}."): values.pop(path) for path in [*values] if path.startswith(f"{group}.")}


def _streams(written: t.Mapping[str, t.Any]) -> Streams | None:
    if not written:
        return None
    keys = {key: value for key, value in written.items() if key != "server"}
    return Streams(written["server"], simplestreams.Wanted(**keys))


def _signature(written: t.Mapping[str, t.Any], spec: Spec) -> Signature | None:
    """The signature as it is declared, with what is signed where that was not written."""
    if not written:
        return None
    has_list = spec.checksum is not None and checksum.split(spec.checksum).url is not None
    signature = Signature(**{"of": "checksum" if has_list else "file", **written})
    if spec.simplestreams is not None:
        if "url" in written or "of" in written:
            raise SpecError("signature: of simplestreams the index is signed. Write the key alone", key="signature")
        return signature
    if spec.url is None:
        raise SpecError("signature: belongs to url or simplestreams", key="signature")
    if signature.of == "checksum" and not has_list:
        raise SpecError("signature.of: checksum needs the URL of a list in checksum", key="signature.of")
    if signature.of == "content" and spec.kind in ("container", "iso"):
        raise SpecError("signature.of: content belongs to the disk of a vm", key="signature.of")
    if signature.of != "checksum" and signature.url is None:
        raise SpecError("signature.url: is needed; only a list of checksums can carry its own", key="signature.url")
    return signature


def _check_sources(spec: Spec) -> None:
    if spec.presets and spec.kind == "container":
        raise SpecError("presets: belong to what virtual machines are made of", key="presets")
    written = [name for name in SOURCES if getattr(spec, name) is not None]
    if len(written) > 1:
        raise SpecError(f"{', '.join(written)}: an image comes from one of them. Write one of them", key=written[0])
    if spec.build is not None and spec.kind == "iso":
        raise SpecError("build: an ISO is not built. Write path, or url", key="build")
    if spec.simplestreams is not None and spec.kind == "iso":
        raise SpecError("simplestreams: servers of images have no ISO. Write path, or url", key="simplestreams")
    if spec.build is not None and spec.build.firmware is not None and spec.kind == "container":
        raise SpecError("build.firmware: belongs to an image of kind vm, a container has none", key="build.firmware")
    if spec.build is not None and spec.build.suite in UBUNTU_SUITES and spec.kind == "vm":
        raise SpecError(
            "build.suite: of Ubuntu the images of containers are built. For a vm fetch its cloud image, with url or simplestreams",
            key="build.suite",
        )
    if spec.checksum is not None and spec.url is None and spec.path is None:
        raise SpecError("checksum: belongs to url, or to path", key="checksum")
    if spec.checksum is not None and spec.path is not None and checksum.split(spec.checksum).digest is None:
        raise SpecError("checksum: of a path it is the digest itself. A list is for what is fetched", key="checksum")
    if spec.url is not None and spec.checksum is None and spec.signature is None:
        raise SpecError(
            f"url: checksum or signature is needed with it; nothing else says what the file must be. Allowed: {checksum.CHECKSUM.allowed}",
            key="checksum",
        )
    if spec.ask_upstream and not spec.is_fetched:
        raise SpecError("ask_upstream: belongs to url or simplestreams", key="ask_upstream")


def with_create_defaults(spec: Spec) -> Spec:
    """*spec* with what a new image gets where the user wrote nothing.

    :raises SpecError: without a kind or without a source: nothing can stand in for them.
    """
    if spec.kind is None:
        raise SpecError(
            f"kind: is needed to make the image {spec.name}. Allowed: one of {', '.join(KINDS)}", key="kind"
        )
    if all(getattr(spec, name) is None for name in SOURCES):
        raise SpecError(f"{', '.join(SOURCES)}: one of them is needed to make the image {spec.name}", key="build")
    if spec.build is not None and spec.kind == "vm":
        return spec._replace(build=spec.build._replace(firmware=spec.build.firmware or FIRMWARE[0]))
    return spec
