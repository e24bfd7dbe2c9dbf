# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What is to do on an image."""

from __future__ import annotations

import typing as t

from .._core.decide import Draft, Power
from .._core.options import NEVER_PERMITTED
from .._core.plan import Plan
from .._core.units import MIB, show_size
from . import checksum
from .presets import GROUP, Presets
from .spec import OPTIONS, Build, Spec, Streams, with_create_defaults
from .state import Remote, State

# What is fetched, and how the paths of copies begin. They are no options of anything.
DOWNLOAD = "download"
COPIES = "copies."


def plan_image(spec: Spec, state: State) -> Plan:
    """The plan from *state* to *spec*. Pure."""
    draft = Draft(OPTIONS, Power(is_running=True, will_run=True))
    if spec.state == "absent":
        _plan_removal(draft, spec, state)
    elif state.image is None:
        _plan_creation(draft, with_create_defaults(spec), state)
    else:
        _compare(draft, spec, state)
    return draft.finish()


def _plan_creation(draft: Draft, wanted: Spec, state: State) -> None:
    reason = None
    if state.is_foreign:
        reason = f"name: the image store has something named {wanted.name} that this collection did not make; move it away first"
    draft.add("state", "absent", "present", permit=NEVER_PERMITTED if reason else None, reason=reason)
    draft.compare("kind", wanted.kind, None)
    if wanted.build is not None:
        draft.compare("build.suite", wanted.build.suite, None)
        draft.compare("build.packages", wanted.build.packages or None, None)
        draft.compare("build.firmware", wanted.build.firmware, None)
    draft.compare("path", wanted.path, None)
    draft.compare("url", wanted.url, None)
    draft.compare("checksum", wanted.checksum, None)
    if wanted.simplestreams is not None:
        for key, value in streams_of(wanted.simplestreams).items():
            draft.compare(f"simplestreams.{key}", value, None)
    _plan_presets(draft, wanted, Presets())
    if state.remote is not None:
        _plan_download(draft, wanted, state, state.remote)
    if wanted.path is not None and state.source is None:
        draft.plan.assumed.append(f"file {wanted.path}")


def _plan_presets(draft: Draft, spec: Spec, before: Presets) -> None:
    for key in Presets._fields:
        draft.compare(f"{GROUP}.{key}", spec.presets.get(key), getattr(before, key))


def streams_of(streams: Streams) -> dict[str, str | None]:
    """A product as it is declared, by the keys of ``simplestreams``."""
    return {"server": streams.server, **streams.wanted._asdict()}


def _plan_download(draft: Draft, wanted: Spec, state: State, remote: Remote) -> None:
    size = remote.size
    parts = [
        "of a size that the server does not tell" if size is None else f"{size / MIB:.1f} MiB",
        f"from {remote.url}",
        *([f"serial {remote.serial}"] if remote.serial else []),
        *([remote.digest] if remote.digest else []),
        *(["fetched before"] if state.is_cached else []),
    ]
    reason = None
    if size is not None and size > wanted.size_limit:
        reason = f"size_limit: {remote.url} has {size} bytes, more than {show_size(wanted.size_limit)}"
    elif size is not None and not state.is_cached and size > (state.free_bytes or 0):
        reason = f"url: {remote.url} has {size} bytes, and the image store has room for {state.free_bytes}"
    draft.add(DOWNLOAD, None, ", ".join(parts), permit=NEVER_PERMITTED if reason else None, reason=reason)
    draft.plan.assumed += [f"program {name}" for name in remote.missing]
    if not remote.is_trusted:
        draft.plan.warnings.append(
            f"image {wanted.name}: what says what the file must be comes by http and unsigned: who stands between can change "
            "both. Write https, a signature, or the checksum itself"
        )


def _compare(draft: Draft, spec: Spec, state: State) -> None:
    kind = state.image.kind if state.image else None
    if spec.kind is not None and spec.kind != kind:
        reason = f"kind: the image {spec.name} is of kind {kind}; one of kind {spec.kind} is another image. Give it another name"
        draft.add("kind", kind, spec.kind, permit=NEVER_PERMITTED, reason=reason)
    _plan_presets(draft, spec, state.image.presets if state.image else Presets())
    stale = declared_otherwise(spec, state)
    if stale:
        draft.plan.warnings.append(
            f"image {spec.name}: {', '.join(stale)}: what is declared is not what it was made of. An image is never made anew "
            "under its guests: give the new one another name"
        )

    if has_newer(spec, state):
        serial = state.remote.serial if state.remote else None
        draft.plan.warnings.append(
            f"image {spec.name}: upstream has a newer one{f', of serial {serial}' if serial else ''}. "
            "Give it another name; guests keep what they were made of"
        )
    if state.unreachable is not None:
        draft.plan.warnings.append(f"image {spec.name}: upstream cannot be asked: {state.unreachable}")


def stale_paths(spec: Spec, state: State) -> list[str]:
    """The paths of what was declared and the image was not made of, and of that which upstream has a newer one of."""
    newer = ["url" if spec.url is not None else "simplestreams"] if has_newer(spec, state) else []
    return list(dict.fromkeys([*declared_otherwise(spec, state), *newer]))


def has_newer(spec: Spec, state: State) -> bool:
    """Whether upstream, where it was asked, has another file for the same declaration than the image was made of."""
    remote, origin = state.remote, state.origin
    if state.image is None or remote is None or declared_otherwise(spec, state):
        return False
    if remote.serial is not None:
        return bool(remote.serial != (origin.get("simplestreams") or {}).get("serial"))
    known = str(origin.get("declared") or "")
    if remote.digest is not None and known.partition(":")[0] == remote.digest.partition(":")[0]:
        return remote.digest != known
    told = (origin.get("validator"), origin.get("size"))
    return None not in told and None not in (remote.validator, remote.size) and told != (remote.validator, remote.size)


def declared_otherwise(spec: Spec, state: State) -> list[str]:
    """The paths of what the user declared and the image was not made of. Empty where nothing stands or nothing is declared."""
    if state.image is None or spec.state == "absent":
        return []
    if spec.path is not None:
        is_other = state.is_same_source is False or state.origin.get("path") != spec.path
        known = state.origin.get("declared")
        changed = ["checksum"] if None not in (known, spec.checksum) and known != spec.checksum else []
        return [*(["path"] if is_other and state.is_same_source is not True else []), *changed]
    if spec.build is not None:
        return _built_otherwise(spec.build, state.origin.get("build"))
    if spec.simplestreams is not None:
        made = state.origin.get("simplestreams")
        declared: t.Mapping[str, t.Any] = streams_of(spec.simplestreams)
        return ["simplestreams"] if made is None else _differing("simplestreams", declared, made)
    return _fetched_otherwise(spec, state.origin)


def _fetched_otherwise(spec: Spec, origin: t.Mapping[str, t.Any]) -> list[str]:
    """With a checksum that is written itself the file is the same wherever it comes from."""
    if spec.url is None:
        return []
    declared = checksum.split(spec.checksum) if spec.checksum is not None else None
    known = str(origin.get("declared") or "")
    if declared is not None and declared.digest is not None and known.startswith(f"{declared.algorithm}:"):
        return [] if known == spec.checksum else ["checksum"]
    return [] if origin.get("url") == spec.url else ["url"]


def _built_otherwise(declared: Build, made: t.Mapping[str, t.Any] | None) -> list[str]:
    if made is None:
        return ["build"]
    packages = None if declared.packages is None else list(declared.packages)
    return _differing("build", {"suite": declared.suite, "packages": packages, "firmware": declared.firmware}, made)


def _differing(group: str, declared: t.Mapping[str, t.Any], made: t.Mapping[str, t.Any]) -> list[str]:
    return [f"{group}.{key}" for key, value in declared.items() if value is not None and value != made.get(key)]


def _plan_removal(draft: Draft, spec: Spec, state: State) -> None:
    if not state.is_recorded:
        return
    reason = f"state: the image {spec.name} is in use by {', '.join(state.users)}" if state.users else None
    before = "present" if state.image else "building"
    draft.add("state", before, "absent", permit=NEVER_PERMITTED if reason else None, reason=reason)
    if reason is None:
        for copy in state.copies:
            draft.add(copy_path(spec.name, copy.pool), str(copy), None)


def copy_path(image: str, pool: str) -> str:
    """How a plan calls the copy of an image in a pool: that of a guest which needs it, and that which takes it away."""
    return f"{COPIES}{image}@{pool}"
