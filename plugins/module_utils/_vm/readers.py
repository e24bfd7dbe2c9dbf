# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""What reads a seed inside a machine, and what of a seed it does not understand: that is refused before, as it would be passed over there."""

from __future__ import annotations

import re
import typing as t

from .._image.presets import CLOUD_INIT, CLOUDBASE_INIT, NO_SEED, NUAGEINIT

Values = t.Mapping[str, t.Any]


class Reader(t.NamedTuple):
    """A program that reads a seed. *keys* are those of a cloud-config that it knows (``None``: all), *heads* what other user data may
    begin with. *reads_again*: it looks at every start whether the instance is another one. *installs*: it installs packages.
    """

    name: str
    keys: frozenset[str] | None = None
    heads: tuple[str, ...] = ()
    reads_again: bool = True
    installs: bool = True
    has_vendor_data: bool = False


_CLOUD_CONFIG = "#cloud-config"
_FILES, _LABEL = "cloud_init.files", "cloud_init.label"
# What says nothing.
_PLAIN = {_LABEL: "cidata"}
READERS = {
    CLOUD_INIT: Reader("cloud-init", has_vendor_data=True),
    # As of FreeBSD 14.4 and 15.1, nuageinit(7). It is started by the first boot alone.
    NUAGEINIT: Reader(
        "nuageinit",
        frozenset(
            "chpasswd fqdn groups hostname network package_update package_upgrade packages runcmd ssh_authorized_keys "
            "ssh_keys ssh_pwauth timezone users write_files".split()
        ),
        ("#!",),
        reads_again=False,
    ),
    # As of cloudbase-init 1.1.
    CLOUDBASE_INIT: Reader(
        "cloudbase-init",
        frozenset("groups hostname ntp runcmd set_hostname set_timezone timezone users write_files".split()),
        (
            "#ps1",
            "rem cmd",
            "#!/bin/bash",
            "#!/usr/bin/env python",
            "<script>",
            "<powershell>",
            "Content-Type: multipart/",
            "-----BEGIN CERTIFICATE-----",
        ),
        installs=False,
    ),
}
# A key of a cloud-config that others know can be told; any other text of it may be a secret.
_KNOWN = frozenset(
    "ansible apk_repos apt autoinstall bootcmd byobu_by_default ca_certs chef chpasswd device_aliases disk_setup "
    "disable_root drivers final_message fqdn fs_setup groups growpart grub_dpkg hostname keyboard landscape locale "
    "manage_etc_hosts mcollective mounts network ntp package_reboot_if_required package_update package_upgrade "
    "packages phone_home power_state preserve_hostname prefer_fqdn_over_hostname puppet random_seed resize_rootfs "
    "resolv_conf rsyslog runcmd salt_minion set_hostname set_timezone snap spacewalk ssh ssh_authorized_keys "
    "ssh_deletekeys ssh_fp_console_blacklist ssh_genkeytypes ssh_import_id ssh_keys ssh_publish_hostkeys ssh_pwauth "
    "ssh_quiet_keygen swap timezone ubuntu_pro user users vendor_data wireguard write_files yum_repos zypper".split()
)
_BLOCK_KEY = re.compile(
    r"^(?:\"(?P<double>[^\"\n]+)\"|'(?P<single>[^'\n]+)'|(?P<plain>[A-Za-z_][\w-]*))\s*:", re.MULTILINE
)


def reader_of(seed: str | None) -> Reader | None:
    """Who reads the seed of a machine whose image says *seed*; ``None`` where nobody does. Unless somebody says otherwise it is cloud-init."""
    return None if seed == NO_SEED else READERS[seed or CLOUD_INIT]


def obstacles(seed: str | None, values: Values) -> dict[str, str]:
    """Why options of ``cloud_init`` cannot be said to what reads a seed there, as sentences by path."""
    written = {path: value for path, value in values.items() if value and value != _PLAIN.get(path)}
    if written.get(_FILES):
        told = f"{_FILES} is all that is on the medium. Take one of the two off"
        return {path: told for path in written if path not in (_FILES, _LABEL)}
    if _LABEL in written:
        return {_LABEL: f"it is the label of a medium with {_FILES}, and none is written"}
    reader = reader_of(seed)
    if reader is None:
        return dict.fromkeys(written, "nothing in its image reads a seed (presets.seed of the image: none)")
    found: dict[str, str] = {}
    user_data = written.get("cloud_init.user_data")
    if not reader.has_vendor_data and user_data:
        beside = ("cloud_init.user", "cloud_init.ssh_keys", "cloud_init.packages")
        told = f"{reader.name} reads user_data alone where that is written too. Write it there"
        found.update((path, told) for path in beside if path in written)
    if not reader.installs and "cloud_init.packages" in written:
        found["cloud_init.packages"] = f"{reader.name} installs no packages"
    if isinstance(user_data, str) and (why := _obstacle_of_data(reader, user_data)) is not None:
        found["cloud_init.user_data"] = why
    return found


def _obstacle_of_data(reader: Reader, user_data: str) -> str | None:
    if reader.keys is None:
        return None
    head = user_data.partition("\n")[0].rstrip()
    if head != _CLOUD_CONFIG:
        if user_data.startswith(reader.heads) and not head.startswith(f"{_CLOUD_CONFIG}-"):
            return None
        return f"{reader.name} knows no user data that begins so. It knows {_CLOUD_CONFIG} and what begins with {', '.join(reader.heads)}"
    found = {
        match["double"] or match["single"] or match["plain"] for match in _BLOCK_KEY.finditer(_unfolded(user_data))
    }
    unknown = sorted(found - reader.keys)
    if not unknown:
        return None
    named = ", ".join(key for key in unknown if key in _KNOWN) or "a key in it"
    return f"{reader.name} does not know {named}. It knows {', '.join(sorted(reader.keys))}"


def _unfolded(user_data: str) -> str:
    """A cloud-config whose outermost keys begin their lines, also where it is written in braces as a whole."""
    body = user_data.partition("\n")[2]
    if not body.lstrip().startswith("{"):
        return body
    depth, lines, text, quote = 0, [""], body.strip(), ""
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote and text[place - 1] != "\\" else quote
        elif char in "\"'":
            quote = char
        elif char in "{[":
            depth += 1
            if depth == 1:
                continue
        elif char in "}]":
            depth -= 1
        elif char == "," and depth == 1:
            lines.append("")
            continue
        if depth >= 1:
            lines[-1] += char if depth == 1 or quote else " "
    return "\n".join(line.strip() for line in lines)
