# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
"""The answer file of Windows Setup (autounattend.xml), from what a role says of the server.

Its rules are Microsoft's reference of unattended setup: which setting stands in which component and is read in which pass.
"""

from __future__ import annotations

import base64
import re
import typing as t
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from ._windows_names import EDITIONS, RELEASES, TIME_ZONES

Values = t.Mapping[str, t.Any]
# A name and a text, or a name and what is in it.
Tree = t.Sequence[tuple[str, t.Any]]

REMOTE = ("rdp", "ssh", "winrm")
_ROLE = "windows_server_"
_SPACES = {
    "xmlns": "urn:schemas-microsoft-com:unattend",
    "xmlns:wcm": "http://schemas.microsoft.com/WMIConfig/2002/State",
}
_COMPONENT = {
    "processorArchitecture": "amd64",
    "publicKeyToken": "31bf3856ad364e35",
    "language": "neutral",
    "versionScope": "nonSxS",
}
# Setup gives its drives letters in an order that nobody promises: it looks at all that the medium may have, and passes over what is not there.
_LETTERS = "CDEFGHIJ"
# The system disk is virtio-blk. Setup of Windows Server 2025 takes no driver of virtio-scsi from an answer
# (virtio-win/kvm-guest-drivers-windows, issue 1100).
_DRIVERS = ("viostor", "NetKVM", "vioserial")
# Setup wants the word behind the password, by where it stands. It hides it from nobody.
_HIDDEN_AS = {"AdministratorPassword": "AdministratorPassword", "Password": "Password"}
_ESP_MIB, _MSR_MIB = 260, 16
_LONGEST_COMMAND, _LONGEST_NAME, _LONGEST_PASSWORD, _SHORTEST_PASSWORD = 1024, 15, 127, 8
_WINLOGON = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
_SSH_KEYS = r"C:\ProgramData\ssh\administrators_authorized_keys"
_POWERSHELL = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"

_KEY = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{4})?-[A-Z0-9]{2,3}")
_KEYBOARD = re.compile(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{8}")
_COMPUTER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
# As a line of authorized_keys has it, without what PowerShell would read in a text of single quotes.
_SSH_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=* ?[\w@.+:=-]*")
# What XML 1.0 has no way to write, and line ends, which no value here has.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


class WindowsError(ValueError):
    """What is declared makes no answer. The message names the variable."""


def answer_file(values: Values) -> str:
    """The text of autounattend.xml for *values*, which have the names of the role's variables without that of the role.

    :raises WindowsError:
    """
    _check(values)
    root = Element("unattend", _SPACES)
    for name, components in (
        ("windowsPE", _of_setup(values)),
        ("specialize", _of_specialize(values)),
        ("oobeSystem", _of_first_start(values)),
    ):
        settings = SubElement(root, "settings", {"pass": name})
        for component, tree in components:
            _lay(SubElement(settings, "component", {"name": component, **_COMPONENT}), tree)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _lay(above: Element, tree: Tree) -> None:
    """Write *tree* below *above*. An item of a list is known by its order, or a key where its name has one behind a colon."""
    for name, value in tree:
        word, dummy, key = name.partition(":")
        added = {"wcm:action": "add"} if word in _ITEMS else {}
        node = SubElement(above, word, {**added, **({"wcm:keyValue": key} if key else {})})
        if isinstance(value, str):
            node.text = value
        else:
            _lay(node, value)


_ITEMS = frozenset(
    "Disk CreatePartition ModifyPartition MetaData PathAndCredentials FirewallGroup SynchronousCommand".split()
)


def _of_setup(values: Values) -> Tree:
    """What Setup reads while it runs from its medium."""
    folder = RELEASES[values["release"]].folder
    paths = [rf"{letter}:\{driver}\{folder}\amd64" for letter in _LETTERS for driver in _DRIVERS]
    image = ("/IMAGE/NAME", image_name(values))
    if values.get("image_index"):
        image = ("/IMAGE/INDEX", str(values["image_index"]))
    key = product_key(values)
    return [
        (
            "Microsoft-Windows-International-Core-WinPE",
            [("SetupUILanguage", [("UILanguage", values["language"])]), *_languages(values)],
        ),
        (
            "Microsoft-Windows-PnpCustomizationsWinPE",
            [
                (
                    "DriverPaths",
                    [(f"PathAndCredentials:{number}", [("Path", path)]) for number, path in enumerate(paths, 1)],
                )
            ],
        ),
        (
            "Microsoft-Windows-Setup",
            [
                ("DiskConfiguration", [("WillShowUI", "OnError"), ("Disk", _disk())]),
                (
                    "ImageInstall",
                    [
                        (
                            "OSImage",
                            [
                                ("InstallFrom", [("MetaData", [("Key", image[0]), ("Value", image[1])])]),
                                ("InstallTo", [("DiskID", "0"), ("PartitionID", "3")]),
                                ("WillShowUI", "OnError"),
                            ],
                        )
                    ],
                ),
                (
                    "UserData",
                    [
                        ("AcceptEula", "true"),
                        *_written(FullName=values.get("owner"), Organization=values.get("organization")),
                        ("ProductKey", [*_written(Key=key), ("WillShowUI", "OnError" if key else "Never")]),
                    ],
                ),
            ],
        ),
    ]


def _disk() -> Tree:
    """The partitions that a machine with UEFI needs. Windows comes last and has the rest, so that it can grow with its disk."""
    kinds = (("EFI", str(_ESP_MIB)), ("MSR", str(_MSR_MIB)), ("Primary", ""))
    formats: tuple[tuple[str, str, str], ...] = (("1", "FAT32", "System"), ("3", "NTFS", "Windows"))
    created = [
        (
            "CreatePartition",
            [("Order", str(order)), ("Type", kind), ("Size", size) if size else ("Extend", "true")],
        )
        for order, (kind, size) in enumerate(kinds, 1)
    ]
    modified = [
        (
            "ModifyPartition",
            [
                ("Order", str(order)),
                ("PartitionID", partition),
                ("Format", format_),
                ("Label", label),
                *([("Letter", "C")] if label == "Windows" else []),
            ],
        )
        for order, (partition, format_, label) in enumerate(formats, 1)
    ]
    return [
        ("DiskID", "0"),
        ("WillWipeDisk", "true"),
        ("CreatePartitions", created),
        ("ModifyPartitions", modified),
    ]


def _of_specialize(values: Values) -> Tree:
    """What is read when the system first starts from its own disk."""
    found: list[tuple[str, t.Any]] = [
        (
            "Microsoft-Windows-Shell-Setup",
            [
                ("ComputerName", values["computer_name"]),
                ("TimeZone", time_zone(values)),
                *_written(RegisteredOwner=values.get("owner"), RegisteredOrganization=values.get("organization")),
            ],
        )
    ]
    if "rdp" in values["remote"]:
        found += [
            ("Microsoft-Windows-TerminalServices-LocalSessionManager", [("fDenyTSConnections", "false")]),
            ("Microsoft-Windows-TerminalServices-RDP-WinStationExtensions", [("UserAuthentication", "1")]),
            (
                "Networking-MPSSVC-Svc",
                [
                    (
                        "FirewallGroups",
                        [
                            (
                                "FirewallGroup:RemoteDesktop",
                                [("Active", "true"), ("Group", "@FirewallAPI.dll,-28752"), ("Profile", "all")],
                            )
                        ],
                    )
                ],
            ),
        ]
    return found


def _of_first_start(values: Values) -> Tree:
    """What is read before somebody logs in, and what the first one who does finds done: Administrator, once."""
    password = values["administrator_password"]
    done = [
        ("SynchronousCommand", [("Order", str(order)), ("CommandLine", command), ("Description", title)])
        for order, (title, command) in enumerate(commands(values), 1)
    ]
    return [
        ("Microsoft-Windows-International-Core", _languages(values)),
        (
            "Microsoft-Windows-Shell-Setup",
            [
                ("OOBE", [("HideEULAPage", "true"), ("ProtectYourPC", "1")]),
                ("UserAccounts", [("AdministratorPassword", _hidden(password, "AdministratorPassword"))]),
                (
                    "AutoLogon",
                    [
                        ("Enabled", "true"),
                        ("Username", values["administrator"]),
                        ("LogonCount", "1"),
                        ("Password", _hidden(password, "Password")),
                    ],
                ),
                ("FirstLogonCommands", done),
            ],
        ),
    ]


def commands(values: Values) -> list[tuple[str, str]]:
    """What is done at the first logon, in this order: a title and a command.

    The agent comes last. When it answers the machine is stopped, and what is not done by then never is.
    """
    found = [
        # Windows adds one to the number of automatic logons (Microsoft's reference, LogonCount).
        ("Log in by itself no more", f'reg.exe add "{_WINLOGON}" /v AutoLogonCount /t REG_DWORD /d 0 /f'),
        ("Install the drivers of virtio", _install(r"virtio-win-gt-x64.msi")),
    ]
    if "ssh" in values["remote"]:
        found += _ssh(values.get("ssh_keys") or ())
    if "winrm" in values["remote"]:
        found.append(("Switch WinRM on", _powershell("Enable-PSRemoting -SkipNetworkProfileCheck -Force")))
    found += [(f"Command {number}", command) for number, command in enumerate(values.get("commands") or (), 1)]
    return [*found, ("Install the guest agent", _install(r"guest-agent\qemu-ga-x86_64.msi"))]


def _install(package: str) -> str:
    """Install a *package* of the medium of drivers, on whatever drive that is."""
    return _powershell(
        f"$f = Get-PSDrive -PSProvider FileSystem | ForEach-Object {{ $_.Root + '{package}' }} | "
        "Where-Object { Test-Path -LiteralPath $_ } | Select-Object -First 1; "
        "exit (Start-Process msiexec.exe -ArgumentList '/i', $f, '/qn', '/norestart' -Wait -PassThru).ExitCode"
    )


def _ssh(keys: t.Iterable[str]) -> t.Iterator[tuple[str, str]]:
    # A feature that is fetched from Microsoft before Windows Server 2025, which has it.
    yield (
        "Install OpenSSH where it is not there",
        _powershell(
            "if (-not (Get-Service sshd -ErrorAction SilentlyContinue)) "
            "{ Add-WindowsCapability -Online -Name OpenSSH.Server~~~~0.0.1.0 }"
        ),
    )
    yield (
        "Switch OpenSSH on",
        _powershell(
            "Set-Service sshd -StartupType Automatic; Start-Service sshd; "
            "$r = 'OpenSSH-Server-In-TCP'; if (Get-NetFirewallRule -Name $r -ErrorAction SilentlyContinue) "
            "{ Set-NetFirewallRule -Name $r -Enabled True -Profile Any } else { New-NetFirewallRule -Name $r "
            "-DisplayName 'OpenSSH SSH Server' -Direction Inbound -Protocol TCP -LocalPort 22 -Action Allow }"
        ),
    )
    yield (
        "Let OpenSSH open PowerShell",
        f'reg.exe add HKLM\\SOFTWARE\\OpenSSH /v DefaultShell /t REG_SZ /d "{_POWERSHELL}" /f',
    )
    written = False
    for key in keys:
        written = True
        yield (
            "Let a key log in",
            _powershell(f"Add-Content -LiteralPath {_SSH_KEYS} -Encoding Ascii -Value '{key.strip()}'"),
        )
    if written:
        # Administrators and the system, in every language. OpenSSH reads no file that others may write.
        yield (
            "Keep the keys from others",
            f"icacls.exe {_SSH_KEYS} /inheritance:r /grant *S-1-5-32-544:F /grant *S-1-5-18:F",
        )


def _powershell(script: str) -> str:
    return f'powershell.exe -NoProfile -ExecutionPolicy Bypass -Command "{script}"'


def _languages(values: Values) -> Tree:
    locale = values.get("locale") or values["language"]
    return [
        ("InputLocale", values.get("keyboard") or locale),
        ("SystemLocale", locale),
        ("UILanguage", values["language"]),
        ("UserLocale", locale),
    ]


def _hidden(password: str, where: str) -> Tree:
    text = (password + _HIDDEN_AS[where]).encode("utf-16-le")
    return [("Value", base64.b64encode(text).decode()), ("PlainText", "false")]


def _written(**values: t.Any) -> Tree:
    return [(name, str(value)) for name, value in values.items() if value]


def image_name(values: Values) -> str:
    """The name of the edition on the medium, the same on all of them, those for evaluation too."""
    core = "" if values.get("desktop") else "CORE"
    return str(
        values.get("image_name") or f"Windows Server {values['release']} SERVER{values['edition'].upper()}{core}"
    )


def product_key(values: Values) -> str:
    """The key; none for a medium for evaluation, which takes none."""
    if values.get("evaluation"):
        return ""
    return str(values.get("product_key") or RELEASES[values["release"]].keys[values["edition"]])


def time_zone(values: Values) -> str:
    """Windows' name of the time zone, which may be written as a city of IANA."""
    written = values["time_zone"]
    if written in TIME_ZONES:
        return str(written)
    found = next((name for name, city in TIME_ZONES.items() if city == written), None)
    if found is None:
        raise _error(
            "time_zone",
            f"{written!r} is none that Windows knows. Write its own name for it, such as 'W. Europe Standard Time'",
        )
    return found


def _check(values: Values) -> None:
    """Refuse what Setup would stop at, an hour later and on a screen that nobody looks at."""
    for name, written in _texts(values):
        if _UNWRITABLE.search(written):
            raise _error(name, "has a control character or a line end in it")
    _check_medium(values)
    for name in ("language", "locale"):
        if values.get(name) and not _LANGUAGE.fullmatch(values[name]):
            raise _error(name, f"{values[name]!r} is no language with a country, such as en-US")
    keyboard = values.get("keyboard")
    if keyboard and not (_LANGUAGE.fullmatch(keyboard) or _KEYBOARD.fullmatch(keyboard)):
        raise _error("keyboard", f"{keyboard!r} is neither such as de-DE nor such as 0407:00000407")
    computer = values["computer_name"]
    if not _COMPUTER.fullmatch(computer) or computer.isdigit() or len(computer) > _LONGEST_NAME:
        raise _error(
            "computer_name",
            f"{computer!r} is none that Windows takes: at most {_LONGEST_NAME} letters, digits and dashes, not digits alone",
        )
    time_zone(values)
    _check_password(values["administrator"], values.get("administrator_password") or "")
    unknown = sorted(set(values["remote"]) - set(REMOTE))
    if unknown:
        raise _error("remote", f"{', '.join(unknown)} is none of {', '.join(REMOTE)}")
    for key in values.get("ssh_keys") or ():
        if not _SSH_KEY.fullmatch(key.strip()):
            raise _error("ssh_keys", f"{key[:30]!r} is no public key in one line, with a plain word behind it")
    if values.get("ssh_keys") and "ssh" not in values["remote"]:
        raise _error("ssh_keys", "remote does not have ssh, and nobody would read them")
    for title, command in commands(values):
        if len(command) > _LONGEST_COMMAND:
            name = "commands" if title.startswith("Command ") else "ssh_keys"
            raise _error(name, f"{title} has {len(command)} characters, and Windows takes {_LONGEST_COMMAND}")


def _check_medium(values: Values) -> None:
    if values["release"] not in RELEASES:
        raise _error("release", f"{values['release']!r} is none of {', '.join(RELEASES)}")
    if values["edition"] not in EDITIONS:
        raise _error("edition", f"{values['edition']!r} is none of {', '.join(EDITIONS)}")
    if values.get("image_name") and values.get("image_index"):
        raise _error("image_index", "image_name is written too, and one of them says which edition it is")
    key = product_key(values)
    if values.get("product_key") and values.get("evaluation"):
        raise _error("product_key", "a medium for evaluation takes none")
    if key and not _KEY.fullmatch(key):
        raise _error("product_key", "is no key of five groups of five capital letters and digits")


def _check_password(name: str, password: str) -> None:
    """What a new Windows Server asks of the password of an account with this *name*."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda letter: not letter.isalnum())
    found = sum(any(map(kind, password)) for kind in kinds)
    if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD or found < 3:
        raise _error(
            "administrator_password",
            f"is needed, with {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters, and three of these: small letters, "
            "capital letters, digits, others. Windows Server takes no other",
        )
    if name.lower() in password.lower():
        raise _error(
            "administrator_password", "has the name of the account in it, and Windows Server takes none that has"
        )


def _texts(values: Values) -> t.Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, t.Sequence):
            yield from ((name, item) for item in value)


def _error(name: str, why: str) -> WindowsError:
    return WindowsError(f"{_ROLE}{name}: {why}")
