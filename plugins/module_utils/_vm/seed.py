# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The NoCloud seed, which cloud-init, FreeBSD's nuageinit and Windows' cloudbase-init read: a small ISO, read back as what was declared.

Or in its place files for a system that looks for a medium of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import typing as t

from .._core import libraries
from .._guest.identity import DBUS_MACHINE_ID, LEASES, MACHINE_ID, SECRETS
from .._guest.options import DHCP, NO_ADDRESS, is_fixed
from .._image.presets import CLOUD_INIT, CLOUDBASE_INIT, NUAGEINIT
from .options import CLOUD_INIT as PATHS
from .options import OPTIONS, SEED_LABEL, shown_files
from .seed_card import Card
from .spec import acts_early

Values = t.Mapping[str, t.Any]
# The network cards by name: the seed configures each when nothing else is written.
Cards = t.Mapping[str, Card]

# What of a seed is no option: the instance that it tells.
INSTANCE = "instance"
# NoCloud is nothing without it.
_META_DATA = "meta-data"
# As mkisofs has it. Of a medium that ends before the last place where it looks for something busybox (1.35, findfs) sees nothing at all.
_PADDING = bytes(150 * 2048)
# Where the label of an ISO 9660 image lies, filled up with spaces (ECMA-119, 8.4).
_LABEL_AT = slice(32768 + 40, 32768 + 72)
# Where a default route leads.
_ANY, _ANY6 = "0.0.0.0/0", "::/0"
_HEAD = "#cloud-config\n"
_ARCHIVE = "#cloud-config-archive\n"
# In vendor data, of which a hook runs whatever the user data says, while a bootcmd there would replace one of ours. Where the file was
# empty systemd has made the id in this boot, and until the root can be written it lies on a mount. Who is not there yet is not restarted.
_NEW_IDENTITY = f"""\
#cloud-boothook
#!/bin/sh
exec cloud-init-per instance homelab_hybrid_identity sh -c '
[ -s {MACHINE_ID} ] && ! mountpoint -q {MACHINE_ID} || exit 0
rm -f {MACHINE_ID} {" ".join(SECRETS)} {LEASES}/*.lease*
[ -L {DBUS_MACHINE_ID} ] || rm -f {DBUS_MACHINE_ID}
if command -v systemd-machine-id-setup > /dev/null; then
  systemd-machine-id-setup
  systemctl --no-block try-restart systemd-journald.service systemd-networkd.service
else
  dbus-uuidgen --ensure={MACHINE_ID}
fi'
"""
# What each system calls who may become root, and a shell that it has.
_ACCOUNTS: dict[str, dict[str, t.Any]] = {
    CLOUD_INIT: {
        "groups": ["sudo"],
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": True,
    },
    # A locked account could not log in with a key either. Programs for sudo are packages.
    NUAGEINIT: {"groups": "wheel", "shell": "/bin/sh", "sudo": "ALL=(ALL) NOPASSWD:ALL"},
    CLOUDBASE_INIT: {"groups": "Administrators"},
}
_PUBLIC_KEYS = "public-keys"
_INSTANCE_MARK = re.compile(r"-[0-9a-f]{8}")


def render(
    guest: str,
    values: Values,
    cards: Cards,
    *,
    is_clone: bool = False,
    reader: str | None = None,
    instance: str | None = None,
) -> dict[str, str]:
    """The files of the seed by name, the same text for the same input. *reader* is what reads it, cloud-init where that is not known.

    The shortcuts (user, ssh_keys, packages) are the user data. Where user data is written too they become vendor data, which
    cloud-init merges below it. The seed of a clone also makes what identifies a system anew, once in its instance.
    """
    if own_files := _text(values, "files"):
        return dict(json.loads(own_files))
    reader = reader or CLOUD_INIT
    own = _HEAD + _dump(_shortcuts(values, reader))
    user_data = _text(values, "user_data")
    is_early = is_clone and reader == CLOUD_INIT and acts_early(values)
    meta = _own_meta(guest, is_early=is_early, instance=instance)
    if reader == CLOUDBASE_INIT and not _text(values, "user") and (keys := _list(values, "ssh_keys")):
        meta[_PUBLIC_KEYS] = keys
    network = _text(values, "network_config") or _dump(_network(cards))
    files = {
        "meta-data": _text(values, "meta_data") or _dump(meta),
        "network-config": network,
        "user-data": user_data or own,
    }
    if reader == CLOUDBASE_INIT and not _text(values, "network_config"):
        del files["network-config"]  # Windows asks by DHCP itself, also with cards that nobody named
    own_parts = [own] if user_data and reader == CLOUD_INIT else []
    parts = [*own_parts, *([_NEW_IDENTITY] if is_clone and reader == CLOUD_INIT else [])]
    if parts:
        files["vendor-data"] = parts[0] if len(parts) == 1 else _ARCHIVE + _dump([{"content": part} for part in parts])
    return files


def read(files: t.Mapping[str, str], guest: str, label: str = SEED_LABEL) -> dict[str, str | tuple[str, ...]]:
    """What the files of a seed with this *label* say, by option path. What ``render`` made up itself reads as not written."""
    if _META_DATA not in files:
        nothing: dict[str, str | tuple[str, ...]] = {path: OPTIONS[path].off for path in PATHS}
        return {**nothing, "cloud_init.files": shown_files(files), "cloud_init.label": label, INSTANCE: ""}
    user_data = files.get("user-data", "")
    own = next((part for part in _parts(files.get("vendor-data", "")) if part.startswith(_HEAD)), user_data)
    shortcuts = _load(own)
    user_data = "" if own is user_data and shortcuts is not None else user_data
    said = shortcuts or {}
    users = said.get("users") or [{}]
    user = users[-1] if isinstance(users[-1], dict) else {}
    meta = files.get("meta-data", "")
    own_meta = _read_own_meta(meta, guest)
    network = files.get("network-config", "")
    return {
        "cloud_init.user": str(user.get("name", "")),
        "cloud_init.ssh_keys": tuple(
            user.get("ssh_authorized_keys")
            or said.get("ssh_authorized_keys")
            or (own_meta or {}).get(_PUBLIC_KEYS)
            or ()
        ),
        "cloud_init.packages": tuple(said.get("packages") or ()),
        "cloud_init.user_data": user_data,
        "cloud_init.meta_data": "" if own_meta is not None else meta,
        "cloud_init.network_config": "" if read_cards(files) is not None else network,
        "cloud_init.files": "",
        "cloud_init.label": label,
        INSTANCE: str((own_meta or {}).get("instance-id", "")),
    }


def another_instance(guest: str, files: t.Mapping[str, str], now: str | None) -> str:
    """The name of another instance of *guest* than *now*, for a seed of these *files*: the same for the same seed."""
    text = "".join(f"{name}\0{content}\0" for name, content in sorted(files.items()))
    return f"{guest}-{hashlib.sha256(f'{now}{text}'.encode()).hexdigest()[:8]}"


def merged(values: Values, before: t.Mapping[str, str | tuple[str, ...]] | None, unset: t.Collection[str]) -> Values:
    """What the seed says after the change: what is declared over what was there."""
    result: dict[str, t.Any] = dict(before or {})
    for path in PATHS:
        if path in values:
            result[path] = values[path]
        elif path in unset:
            result.pop(path, None)
    return result


def label_in(values: Values) -> str:
    """The label of a seed that says *values*."""
    return str(values.get("cloud_init.label") or SEED_LABEL)


def label_of(data: bytes) -> str:
    """The label of a seed that was read."""
    return data[_LABEL_AT].decode("ascii", "replace").rstrip(" \0")


def build(files: t.Mapping[str, str], label: str = SEED_LABEL) -> bytes:
    """An ISO 9660 image with the *label* that is looked for; Rock Ridge and Joliet carry the names."""
    image = libraries.pycdlib().PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label, sys_ident="LINUX")
    folders = {"": ""}
    for number, (path, text) in enumerate(sorted(files.items())):
        *parents, name = path.split("/")
        place = ""
        for parent in parents:
            above, place = place, f"{place}/{parent}"
            if place not in folders:
                folders[place] = f"{folders[above]}/FOLDER{len(folders)}"
                image.add_directory(folders[place], rr_name=parent, joliet_path=place)
        data = text.encode()
        image.add_fp(
            io.BytesIO(data),
            len(data),
            f"{folders[place]}/FILE{number}.;1",
            rr_name=name,
            joliet_path=f"{place}/{name}",
        )
    stream = io.BytesIO()
    image.write_fp(stream)
    image.close()
    return stream.getvalue() + _PADDING


def unpack(data: bytes) -> dict[str, str] | None:
    """The files of a seed by path; ``None`` for what is no seed."""
    library = libraries.pycdlib()
    image = library.PyCdlib()
    found: dict[str, str] = {}
    try:
        image.open_fp(io.BytesIO(data))
        for folder, dummy, names in image.walk(rr_path="/"):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                content = io.BytesIO()
                image.get_file_from_iso_fp(content, rr_path=path)
                found[path[1:]] = content.getvalue().decode(errors="replace")
        image.close()
    except (library.pycdlibexception.PyCdlibException, AttributeError):
        return None
    return found


def _text(values: Values, key: str) -> str:
    value = values.get(f"cloud_init.{key}", "")
    return value if isinstance(value, str) else ""


def _list(values: Values, key: str) -> list[str]:
    value = values.get(f"cloud_init.{key}", ())
    return list(value) if isinstance(value, tuple) else []


def _shortcuts(values: Values, reader: str) -> dict[str, t.Any]:
    user, keys, packages = _text(values, "user"), _list(values, "ssh_keys"), _list(values, "packages")
    said: dict[str, t.Any] = {}
    if user:
        said["users"] = [{"name": user, **_ACCOUNTS[reader], "ssh_authorized_keys": keys}]
    elif keys and reader != CLOUDBASE_INIT:
        said["ssh_authorized_keys"] = keys
    if reader == NUAGEINIT and (user or keys):
        # The user of its images has a password that everybody knows.
        said["ssh_pwauth"] = False
    if packages:
        said.update(package_update=True, packages=packages)
    return said


def _own_meta(guest: str, *, is_early: bool, instance: str | None) -> dict[str, t.Any]:
    # The mode local: all but the last stages before the network is up, and not right after.
    return {"instance-id": instance or guest, "local-hostname": guest, **({"dsmode": "local"} if is_early else {})}


def _read_own_meta(text: str, guest: str) -> dict[str, t.Any] | None:
    """The meta data where ``render`` made it up itself."""
    said = _load(text)
    if said is None or said.get("local-hostname") != guest or text != _dump(said):
        return None
    instance, rest = (
        str(said.get("instance-id")),
        said.keys() - {"instance-id", "local-hostname", "dsmode", _PUBLIC_KEYS},
    )
    mark = instance.removeprefix(guest)
    is_own = (
        instance.startswith(guest)
        and (not mark or _INSTANCE_MARK.fullmatch(mark))
        and said.get("dsmode", "local") == "local"
    )
    return said if is_own and not rest else None


def _parts(vendor_data: str) -> list[str]:
    """The texts that vendor data of ours consists of."""
    if vendor_data.startswith(_ARCHIVE):
        with contextlib.suppress(ValueError):
            parts = json.loads(vendor_data.removeprefix(_ARCHIVE))
            if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
                return [str(part.get("content")) for part in parts]
    return [vendor_data]


def _network(cards: Cards) -> dict[str, t.Any]:
    return {"version": 2, "ethernets": {name: _ethernet(card) for name, card in cards.items()}}


def _ethernet(card: Card) -> dict[str, t.Any]:
    told: dict[str, t.Any] = {"match": {"macaddress": card.mac}, "dhcp4": card.ip == DHCP}
    addresses = [*([card.ip] if is_fixed(card.ip) else []), *([card.ip6] if card.ip6 else [])]
    if addresses:
        told["addresses"] = addresses
    if card.ip6 and not card.gateway6:
        told["accept-ra"] = True  # for the way out, which ifupdown does not take beside an address unless it is told to
    # cloud-init 22.4 knows no "default".
    routes = [{"to": to, "via": way} for to, way in ((_ANY, card.gateway), (_ANY6, card.gateway6)) if way]
    if routes:
        told["routes"] = routes
    if card.dns:
        told["nameservers"] = {"addresses": list(card.dns)}
    return told


def read_cards(files: t.Mapping[str, str]) -> dict[str, Card] | None:
    """What the files of a seed tell each card, by its MAC; ``None`` where the user wrote the network configuration."""
    text = files.get("network-config", "")
    ethernets = (_load(text) or {}).get("ethernets")
    if not isinstance(ethernets, dict):
        return None
    try:
        cards = {name: _card(told) for name, told in ethernets.items()}
    except (TypeError, KeyError, IndexError, AttributeError):
        return None
    return {card.mac: card for card in cards.values()} if text == _dump(_network(cards)) else None


def _card(told: t.Mapping[str, t.Any]) -> Card:
    addresses = [str(address) for address in told.get("addresses") or ()]
    four, six = (next((its for its in addresses if (":" in its) == is_six), "") for is_six in (False, True))
    ways = {str(route["to"]): str(route["via"]) for route in told.get("routes") or ()}
    return Card(
        str(told["match"]["macaddress"]),
        DHCP if told.get("dhcp4") else four or NO_ADDRESS,
        ways.get(_ANY, ""),
        tuple((told.get("nameservers") or {}).get("addresses") or ()),
        six,
        ways.get(_ANY6, ""),
    )


def _dump(value: t.Any) -> str:
    # JSON is YAML.
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _load(text: str) -> dict[str, t.Any] | None:
    try:
        value = json.loads(text.removeprefix(_HEAD))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
