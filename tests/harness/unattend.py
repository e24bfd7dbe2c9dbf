# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an answer file of Windows Setup keeps to its rules.

Microsoft ships them as catalogues with its media. What stands here is taken from the public reference, one page for each setting
(https://learn.microsoft.com/windows-hardware/customize/desktop/unattend/): its component, the passes in which it is read, and its values.
Settings that it does not have are refused, so that what an answer gains is looked up first.
"""

from __future__ import annotations

import base64
import re
import typing as t

from lxml import etree

UNATTEND = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
PASSES = ("windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem")
ATTRIBUTES = {
    "processorArchitecture": "amd64",
    "publicKeyToken": "31bf3856ad364e35",
    "language": "neutral",
    "versionScope": "nonSxS",
}
BOOL = r"true|false"
# A language of BCP 47, or the numbers of a language and a layout.
LOCALE, INPUT = r"[a-z]{2,3}(-\w+)*", r"[a-z]{2,3}(-\w+)*|[0-9a-fA-F]{4}:[0-9a-fA-F]{8}"
NUMBER, SHOWN = r"[0-9]+", r"Always|OnError|Never"
BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_PE, _FIRST, _LOGON = ("windowsPE",), ("specialize",), ("oobeSystem",)
_LOCALES = {"InputLocale": INPUT, "SystemLocale": LOCALE, "UILanguage": LOCALE, "UserLocale": LOCALE}
_SETUP = "Microsoft-Windows-Setup"
_SHELL = "Microsoft-Windows-Shell-Setup"


class Rule(t.NamedTuple):
    """The *passes* in which a setting is read, and the pattern of its *value*."""

    passes: tuple[str, ...]
    value: str


def _rules(component: str, passes: tuple[str, ...], values: t.Mapping[str, str]) -> dict[str, Rule]:
    return {f"{component}/{path}": Rule(passes, value) for path, value in values.items()}


RULES: dict[str, Rule] = {
    **_rules("Microsoft-Windows-International-Core-WinPE", _PE, {**_LOCALES, "SetupUILanguage/UILanguage": LOCALE}),
    **_rules("Microsoft-Windows-International-Core", ("specialize", "oobeSystem"), _LOCALES),
    **_rules(
        "Microsoft-Windows-PnpCustomizationsWinPE", _PE, {"DriverPaths/PathAndCredentials/Path": r"[A-Z]:\\.{1,256}"}
    ),
    **_rules(
        _SETUP,
        _PE,
        {
            "DiskConfiguration/WillShowUI": SHOWN,
            "DiskConfiguration/Disk/DiskID": NUMBER,
            "DiskConfiguration/Disk/WillWipeDisk": BOOL,
            "DiskConfiguration/Disk/CreatePartitions/CreatePartition/Order": NUMBER,
            "DiskConfiguration/Disk/CreatePartitions/CreatePartition/Type": "EFI|Extended|Logical|MSR|Primary",
            "DiskConfiguration/Disk/CreatePartitions/CreatePartition/Size": NUMBER,
            "DiskConfiguration/Disk/CreatePartitions/CreatePartition/Extend": BOOL,
            "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Order": NUMBER,
            "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/PartitionID": NUMBER,
            "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Format": "NTFS|FAT32",
            "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Label": r"\w{1,32}",
            "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Letter": "[C-Z]",
            "ImageInstall/OSImage/InstallFrom/MetaData/Key": "/IMAGE/(NAME|INDEX|DESCRIPTION)",
            "ImageInstall/OSImage/InstallFrom/MetaData/Value": ".+",
            "ImageInstall/OSImage/InstallTo/DiskID": NUMBER,
            "ImageInstall/OSImage/InstallTo/PartitionID": NUMBER,
            "ImageInstall/OSImage/WillShowUI": SHOWN,
            "UserData/AcceptEula": "true",
            "UserData/FullName": ".{1,63}",
            "UserData/Organization": ".{1,63}",
            "UserData/ProductKey/Key": "[A-Z0-9]{5}(-[A-Z0-9]{5}){4}",
            "UserData/ProductKey/WillShowUI": SHOWN,
        },
    ),
    **_rules(
        _SHELL,
        _FIRST,
        {
            # Which no other computer of its network has: NetBIOS takes 15 characters.
            "ComputerName": r"(?![0-9]+$)[A-Za-z0-9-]{1,15}",
            "RegisteredOwner": ".{1,256}",
            "RegisteredOrganization": ".{1,256}",
        },
    ),
    **_rules(
        _SHELL, ("specialize", "auditSystem", "oobeSystem"), {"TimeZone": "UTC.*|.+ (Standard Time.*|Zone [0-9]+)"}
    ),
    **_rules(
        _SHELL,
        ("auditSystem", "oobeSystem"),
        {
            "UserAccounts/AdministratorPassword/Value": BASE64,
            "UserAccounts/AdministratorPassword/PlainText": "false",
        },
    ),
    **_rules(
        _SHELL,
        ("specialize", "auditSystem", "oobeSystem"),
        {
            "AutoLogon/Enabled": BOOL,
            "AutoLogon/Username": r".{1,256}",
            "AutoLogon/LogonCount": NUMBER,
            "AutoLogon/Password/Value": BASE64,
            "AutoLogon/Password/PlainText": "false",
        },
    ),
    **_rules(
        _SHELL,
        _LOGON,
        {
            "OOBE/HideEULAPage": BOOL,
            "OOBE/ProtectYourPC": "[123]",
            "FirstLogonCommands/SynchronousCommand/Order": "[1-9][0-9]?|[1-4][0-9][0-9]|500",
            "FirstLogonCommands/SynchronousCommand/CommandLine": ".{1,1024}",
            "FirstLogonCommands/SynchronousCommand/Description": ".{1,256}",
        },
    ),
    **_rules(
        "Microsoft-Windows-TerminalServices-LocalSessionManager",
        ("offlineServicing", "generalize", "specialize"),
        {"fDenyTSConnections": BOOL},
    ),
    **_rules(
        "Microsoft-Windows-TerminalServices-RDP-WinStationExtensions",
        ("offlineServicing", "generalize", "specialize"),
        {"UserAuthentication": "[01]"},
    ),
    **_rules(
        "Networking-MPSSVC-Svc",
        _FIRST,
        {
            "FirewallGroups/FirewallGroup/Active": BOOL,
            "FirewallGroups/FirewallGroup/Group": "@FirewallAPI.dll,-[0-9]+",
            "FirewallGroups/FirewallGroup/Profile": "all|domain|private|public",
        },
    ),
}
# Items of lists: each is added, and known by one of its settings or by a key of its own.
ITEMS = {
    "Disk": "DiskID",
    "CreatePartition": "Order",
    "ModifyPartition": "Order",
    "MetaData": "Key",
    "SynchronousCommand": "Order",
    "PathAndCredentials": "",
    "FirewallGroup": "",
}


def problems(text: str) -> list[str]:
    """What is wrong with the answer *text*, a sentence each."""
    # Setup reads it as bytes, with the encoding that it says of itself.
    root = etree.fromstring(text.encode())
    found = [] if root.tag == f"{{{UNATTEND}}}unattend" else [f"the root is {root.tag}"]
    passes = [settings.get("pass") for settings in root]
    found += [f"there is no pass {name}" for name in passes if name not in PASSES]
    found += ["a pass stands there twice"] * (len(set(passes)) != len(passes))
    for settings in root:
        names = [component.get("name") for component in settings]
        found += [f"{settings.get('pass')} has a component twice"] * (len(set(names)) != len(names))
        for component in settings:
            own = {key: value for key, value in component.attrib.items() if key != "name"}
            if own != ATTRIBUTES or component.tag != f"{{{UNATTEND}}}component":
                found.append(f"{component.get('name')}: is no component with such attributes: {own}")
            for node in component:
                found += _walk(node, f"{component.get('name')}/{_name(node)}", str(settings.get("pass")))
    return found


def _walk(node: t.Any, path: str, phase: str) -> t.Iterator[str]:
    if not isinstance(node.tag, str) or not node.tag.startswith(f"{{{UNATTEND}}}"):
        yield f"{path}: is of another namespace, or no element"
        return
    yield from _wrong_item(node, path)
    if len(node):
        if (node.text or "").strip():
            yield f"{path}: has text beside its settings"
        if path in RULES:
            yield f"{path}: has settings, and is one"
        yield from _twice(node, path)
        for inner in node:
            yield from _walk(inner, f"{path}/{_name(inner)}", phase)
        return
    rule = RULES.get(path)
    if rule is None:
        yield f"{path}: there is no such setting"
    elif phase not in rule.passes:
        yield f"{path}: is not read in {phase}, but in {', '.join(rule.passes)}"
    elif not re.fullmatch(rule.value, node.text or ""):
        yield f"{path}: {node.text!r} is no {rule.value}"


def _wrong_item(node: t.Any, path: str) -> t.Iterator[str]:
    name, is_added = _name(node), node.get(f"{{{WCM}}}action") == "add"
    if (name in ITEMS) != is_added:
        yield f"{path}: wcm:action"
    if (ITEMS.get(name) == "") != (node.get(f"{{{WCM}}}keyValue") is not None):
        yield f"{path}: wcm:keyValue"


def _twice(node: t.Any, path: str) -> t.Iterator[str]:
    known: set[tuple[str, str]] = set()
    for inner in node:
        name = _name(inner)
        key = inner.get(f"{{{WCM}}}keyValue") or ""
        if ITEMS.get(name):
            key = inner.findtext(f"{{{UNATTEND}}}{ITEMS[name]}") or ""
        if (name, key) in known:
            yield f"{path}/{name}: stands there twice, as {key!r}"
        known.add((name, key))


def _name(node: t.Any) -> str:
    return str(etree.QName(node).localname) if isinstance(node.tag, str) else str(node.tag)


def values(text: str, path: str) -> list[str]:
    """All values of the setting at *path*, such as ``oobeSystem/Microsoft-Windows-Shell-Setup/TimeZone``."""
    phase, component, *names = path.split("/")
    where = "/".join(f"u:{name}" for name in names)
    query = f"/u:unattend/u:settings[@pass='{phase}']/u:component[@name='{component}']/{where}/text()"
    return [str(value) for value in etree.fromstring(text.encode()).xpath(query, namespaces={"u": UNATTEND})]


def revealed(value: str, word: str) -> str:
    """The password that a *value* hides behind the *word* of its setting."""
    text = base64.b64decode(value, validate=True).decode("utf-16-le")
    if not text.endswith(word):
        raise ValueError(f"it does not end with {word}: Setup would take it for another password")
    return text.removesuffix(word)
