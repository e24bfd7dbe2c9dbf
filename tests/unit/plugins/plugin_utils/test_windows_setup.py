# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer of Windows Setup keeps to the rules of Setup, says what is declared, and does nothing that nobody asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.homelab.hybrid.plugins.plugin_utils._completed import completed
from ansible_collections.homelab.hybrid.plugins.plugin_utils._guest_options import read_guest
from ansible_collections.homelab.hybrid.plugins.plugin_utils._windows_names import RELEASES, TIME_ZONES
from ansible_collections.homelab.hybrid.plugins.plugin_utils._windows_setup import WindowsError, answer_file, commands
from ansible_collections.homelab.hybrid.tests.harness.unattend import problems, revealed, values

SHELL = "Microsoft-Windows-Shell-Setup"
SETUP = "windowsPE/Microsoft-Windows-Setup"
PASSWORD = "Tea & <Cake> 4 \u00fc"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF+/9 admin@home"
WANTED: dict[str, t.Any] = {
    "release": "2025",
    "edition": "standard",
    "desktop": True,
    "image_name": "",
    "image_index": 0,
    "evaluation": False,
    "product_key": "",
    "language": "en-US",
    "locale": "",
    "keyboard": "",
    "time_zone": "UTC",
    "computer_name": "files",
    "administrator": "Administrator",
    "administrator_password": PASSWORD,
    "owner": "",
    "organization": "",
    "remote": [],
    "ssh_keys": [],
    "commands": [],
}
ALL: dict[str, t.Any] = {
    "remote": ["rdp", "ssh", "winrm"],
    "ssh_keys": [KEY],
    "commands": ['cmd.exe /c "echo <&> > C:\\it.txt"'],
    "owner": "R & D <home>",
    "organization": "Home",
    "locale": "de-CH",
    "keyboard": "0807:00000807",
}


def answer(**given: t.Any) -> str:
    return answer_file({**WANTED, **given})


@pytest.mark.parametrize("given", [{}, ALL, {"evaluation": True}, {"image_index": 4}, {"release": "2019"}])
def test_the_answer_keeps_to_the_rules_of_setup(given: dict[str, t.Any]) -> None:
    assert problems(answer(**given)) == []


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('pass="specialize"', 'pass="special"', "there is no pass special"),
        ('pass="specialize"', 'pass="offlineServicing"', f"{SHELL}/ComputerName: is not read in offlineServicing"),
        ("<LogonCount>1<", "<LogonCount>once<", f"{SHELL}/AutoLogon/LogonCount: 'once' is no"),
        ("HideEULAPage", "HideLicencePage", "OOBE/HideLicencePage: there is no such setting"),
        ("<Type>MSR<", "<Type>Reserved<", "Type: 'Reserved' is no"),
        (' wcm:action="add"', "", "wcm:action"),
        ("<Order>2</Order>", "<Order>1</Order>", "stands there twice"),
        ('language="neutral"', 'language="en"', "is no component with such attributes"),
        ('="urn:schemas-microsoft-com:unattend"', '="urn:other"', "the root is"),
    ],
)
def test_what_breaks_a_rule_is_found(old: str, new: str, wanted: str) -> None:
    text = answer()
    assert old in text
    assert any(wanted in problem for problem in problems(text.replace(old, new)))


def test_the_administrator_has_the_password_and_nobody_reads_it_at_a_glance() -> None:
    text = answer()
    (own,) = values(text, f"oobeSystem/{SHELL}/UserAccounts/AdministratorPassword/Value")
    (logon,) = values(text, f"oobeSystem/{SHELL}/AutoLogon/Password/Value")
    assert revealed(own, "AdministratorPassword") == revealed(logon, "Password") == PASSWORD
    assert "Cake" not in text


def test_a_password_is_encoded_as_microsoft_shows_it() -> None:
    """The example of the page about LocalAccount, Password: it is password."""
    assert revealed("cABhAHMAcwB3AG8AcgBkAFAAYQBzAHMAdwBvAHIAZAA=", "Password") == "password"


def test_it_logs_in_by_itself_once() -> None:
    text = answer(administrator="Administrateur")
    assert values(text, f"oobeSystem/{SHELL}/AutoLogon/LogonCount") == ["1"]
    assert values(text, f"oobeSystem/{SHELL}/AutoLogon/Username") == ["Administrateur"]
    # Windows adds one, and takes it off again only when it is told to.
    assert (
        "AutoLogonCount /t REG_DWORD /d 0"
        in values(text, f"oobeSystem/{SHELL}/FirstLogonCommands/SynchronousCommand/CommandLine")[0]
    )


def test_nothing_is_weakened() -> None:
    text = answer(**ALL).lower()
    assert not [
        word for word in ("enablelua", "advfirewall", "set-netfirewallprofile", "allowunencrypted") if word in text
    ]
    assert "enablefirewall" not in text


def test_the_disk_is_laid_out_for_uefi_and_windows_has_the_rest() -> None:
    text = answer()
    created = f"{SETUP}/DiskConfiguration/Disk/CreatePartitions/CreatePartition"
    assert values(text, f"{created}/Type") == ["EFI", "MSR", "Primary"]
    assert (values(text, f"{created}/Size"), values(text, f"{created}/Extend")) == (["260", "16"], ["true"])
    assert values(text, f"{SETUP}/ImageInstall/OSImage/InstallTo/PartitionID") == ["3"]


@pytest.mark.parametrize(("release", "folder"), [("2019", "2k19"), ("2022", "2k22"), ("2025", "2k25")])
def test_drivers_are_looked_for_on_every_drive(release: str, folder: str) -> None:
    component = "windowsPE/Microsoft-Windows-PnpCustomizationsWinPE"
    found = values(answer(release=release), f"{component}/DriverPaths/PathAndCredentials/Path")
    for letter in "DEFGH":
        assert rf"{letter}:\viostor\{folder}\amd64" in found
        assert rf"{letter}:\NetKVM\{folder}\amd64" in found
    assert not [path for path in found if "vioscsi" in path]


@pytest.mark.parametrize(
    ("given", "image", "key"),
    [
        ({}, "Windows Server 2025 SERVERSTANDARD", "TVRH6-WHNXV-R9WG3-9XRFY-MY832"),
        (
            {"release": "2022", "edition": "datacenter", "desktop": False},
            "Windows Server 2022 SERVERDATACENTERCORE",
            "WX4NM-KYWYW-QJJR4-XV3QB-6VM33",
        ),
        (
            {"image_name": "Ours", "product_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"},
            "Ours",
            "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
        ),
        ({"image_index": 2}, "2", "TVRH6-WHNXV-R9WG3-9XRFY-MY832"),
    ],
)
def test_an_edition_has_its_image_and_its_key(given: dict[str, t.Any], image: str, key: str) -> None:
    text = answer(**given)
    assert values(text, f"{SETUP}/ImageInstall/OSImage/InstallFrom/MetaData/Value") == [image]
    assert values(text, f"{SETUP}/UserData/ProductKey/Key") == [key]


def test_a_medium_for_evaluation_is_given_no_key() -> None:
    text = answer(evaluation=True)
    assert values(text, f"{SETUP}/UserData/ProductKey/Key") == []
    assert values(text, f"{SETUP}/UserData/ProductKey/WillShowUI") == ["Never"]


def test_the_keys_of_all_releases_differ() -> None:
    keys = [key for release in RELEASES.values() for key in release.keys.values()]
    assert len(set(keys)) == len(keys) == 6


def test_a_time_zone_may_be_a_city() -> None:
    for written in ("W. Europe Standard Time", "Europe/Berlin"):
        assert values(answer(time_zone=written), f"specialize/{SHELL}/TimeZone") == ["W. Europe Standard Time"]
    assert all(problems(answer(time_zone=name)) == [] for name in TIME_ZONES)


def test_the_keyboard_follows_the_locale_and_that_the_language() -> None:
    component = "oobeSystem/Microsoft-Windows-International-Core"
    plain, swiss = answer(), answer(locale="de-CH")
    assert values(plain, f"{component}/InputLocale") == ["en-US"]
    assert values(swiss, f"{component}/InputLocale") == values(swiss, f"{component}/UserLocale") == ["de-CH"]
    assert values(swiss, f"{component}/UILanguage") == ["en-US"]


def test_nobody_is_let_in_over_the_network_unless_it_is_said() -> None:
    said = " ".join(command for dummy, command in commands(WANTED))
    assert "sshd" not in said and "PSRemoting" not in said
    assert "fDenyTSConnections" not in answer()
    assert values(
        answer(remote=["rdp"]),
        "specialize/Microsoft-Windows-TerminalServices-RDP-WinStationExtensions/UserAuthentication",
    ) == ["1"]


def test_the_agent_is_installed_after_everything_else() -> None:
    titles = [title for title, dummy in commands({**WANTED, **ALL})]
    assert titles[-1] == "Install the guest agent"
    assert titles.index("Install the drivers of virtio") < titles.index("Switch OpenSSH on") < titles.index("Command 1")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"administrator_password": ""}, "administrator_password: is needed, with 8 to 127 characters"),
        ({"administrator_password": "onlysmall1"}, "administrator_password: is needed"),
        ({"administrator_password": "Administrator1"}, "administrator_password: has the name of the account in it"),
        ({"computer_name": "a-name-that-is-too-long"}, "computer_name: 'a-name-that-is-too-long' is none"),
        ({"computer_name": "12345"}, "computer_name: '12345' is none"),
        ({"time_zone": "Berlin"}, "time_zone: 'Berlin' is none that Windows knows"),
        ({"language": "english"}, "language: 'english' is no language with a country"),
        ({"keyboard": "qwertz"}, "keyboard: 'qwertz' is neither"),
        ({"release": "2012"}, "release: '2012' is none of 2019, 2022, 2025"),
        ({"edition": "essentials"}, "edition: 'essentials' is none of"),
        ({"product_key": "12345"}, "product_key: is no key of five groups"),
        ({"evaluation": True, "product_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"}, "product_key: a medium for evaluation"),
        ({"image_name": "a", "image_index": 1}, "image_index: image_name is written too"),
        ({"remote": ["telnet"]}, "remote: telnet is none of rdp, ssh, winrm"),
        ({"remote": ["ssh"], "ssh_keys": ["ssh-rsa AAAA it's me"]}, "ssh_keys: .* is no public key in one line"),
        ({"ssh_keys": [KEY]}, "ssh_keys: remote does not have ssh"),
        ({"commands": ["x" * 1025]}, "commands: Command 1 has 1025 characters"),
        ({"commands": ["a\nb"]}, "commands: has a control character or a line end"),
        ({"owner": "\x00"}, "owner: has a control character"),
    ],
)
def test_what_setup_would_stop_at_is_refused_before(given: dict[str, t.Any], wanted: str) -> None:
    with pytest.raises(WindowsError, match=f"^windows_server_{wanted}"):
        answer(**given)


# Ansible finds filters of collections by its own loader alone, which would take over the imports of all tests.
COMPLETED = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible_collections.homelab.hybrid.plugins.plugin_utils._completed import completed
print(json.dumps(completed(["files"], ["alpha"], json.load(sys.stdin))))
"""


def test_the_role_has_the_answer_in_its_guest_which_is_reached_through_its_agent() -> None:
    own: dict[str, t.Any] = {
        "inventory_hostname": "files.home.arpa",
        "guest_services": ["windows_server"],
        "windows_server_administrator_password": PASSWORD,
    }
    host = {"ansible_connection": "local", "hypervisor_bridges": [{"name": "br0"}]}
    done = subprocess.run(
        (sys.executable, "-c", COMPLETED),
        input=json.dumps({"alpha": host, "files": own}),
        capture_output=True,
        text=True,
        check=False,
    )
    (found,) = json.loads(done.stdout.splitlines()[-1])
    install = found["variables"]["guest_appliance"]["install"]
    assert install["answer_text"] == answer() and found["is_secret"]
    assert (install["media"], install["done_when"]) == ("windows-server-2025", "agent")
    assert found["variables"]["ansible_shell_type"] == "powershell"
    options, error = read_guest("files", {**own, **found["variables"]}, host)
    assert error is None and options["install"]["extra_media"] == ["virtio-win"]
    assert options["firmware"]["secure_boot"] is True and options["tpm"] == {"version": "2.0"}
    assert options["disks"][0]["bus"] == options["networks"][0]["model"] == "virtio" and "image" not in options


def test_a_guest_without_a_password_is_refused() -> None:
    own = {"inventory_hostname": "files", "guest_services": ["windows_server"]}
    (found,) = completed(["files"], ["alpha"], {"alpha": {}, "files": own})
    assert "windows_server_administrator_password" in found["variables"]["guest_appliance_refused"]


def test_the_same_words_make_the_same_answer() -> None:
    assert answer(**ALL) == answer(**ALL)
