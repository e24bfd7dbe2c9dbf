# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role of the guide "Bring your own appliance", as it stands there, in a collection of a user, with a small system of that make."""

from __future__ import annotations

import hashlib
import re
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.homelab.hybrid.tests.harness import efi_disk, labs
from ansible_collections.homelab.hybrid.tests.harness.labs import Lab, changed
from ansible_collections.homelab.hybrid.tests.harness.upstream import serving

GUIDE = labs.ROOT / "docs" / "docsite" / "rst" / "guide_appliances.rst"
DOOR = f"{labs.PREFIX}-door"
ADDRESS = "10.93.61.66"
URL = f"http://{ADDRESS}/cgi-bin/text"
# The sign itself: its settings from a medium, and a text that who has the token may change.
SIGN = r"""
mkdir -p /www/cgi-bin
cat > /www/cgi-bin/text << 'END'
#!/bin/sh
. /run/settings.conf
if [ "$REQUEST_METHOD" = POST ]; then
    if [ "$HTTP_X_TOKEN" != "$TOKEN" ]; then printf 'Status: 403 Forbidden\r\n\r\n'; exit; fi
    head -c "$CONTENT_LENGTH" > /run/text
fi
printf 'Content-Type: text/plain\r\n\r\n'
cat /run/text
END
chmod 755 /www/cgi-bin/text
echo nothing > /run/text
for try in 1 2 3 4 5; do device=$(findfs LABEL=SIGN 2>/dev/null) && break; sleep 1; done
mount -o ro "$device" /mnt && cp /mnt/settings.conf /run/settings.conf
. /run/settings.conf
echo "$ADDRESS" > /run/static
httpd -p 80 -h /www
"""


def files_of_the_guide() -> dict[Path, str]:
    """The files that the guide shows, by their paths below ``ansible_collections``."""
    found = {}
    shown = GUIDE.read_text(encoding="utf-8")
    for block in re.findall(r"^\.\. code-block:: text\n\n((?:  .*\n|\n)+)", shown, re.MULTILINE):
        first, dummy, text = re.sub(r"^  ", "", block, flags=re.MULTILINE).partition("\n")
        if path := re.match(r"# (my/home/\S+)", first):
            found[Path(path[1])] = text
    return found


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    for path, text in files_of_the_guide().items():
        (tmp_path / "own/ansible_collections" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own/ansible_collections" / path).write_text(text, encoding="utf-8")
    found = Lab(tmp_path)
    found.collections.append(tmp_path / "own")
    packed = efi_disk.packed_disk("sign", SIGN)
    (tmp_path / "upstream").mkdir()
    (tmp_path / "upstream/sign.qcow2.xz").symlink_to(packed)
    with serving(tmp_path / "upstream") as upstream:
        checksum = f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}"
        found.hosts = {
            DOOR: {
                "guest_services": ["my.home.sign"],
                "sign_address": f"{ADDRESS}/24",
                "sign_image": {
                    "name": "sign",
                    "kind": "vm",
                    "url": f"{upstream.url}/sign.qcow2.xz",
                    "checksum": checksum,
                },
                "sign_text": "Please ring",
                "sign_token": "correct-horse",
            }
        }
        found.host.update(hypervisor_images=[])
        try:
            labs.tear_down()
            yield found
        finally:
            found.play("destroy", hybrid_is_disposable=True, purge=1)
            labs.tear_down()


def play(lab: Lab, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    done = lab.play(name, *argv)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "correct-horse" not in told
    return done


def shown() -> str:
    return labs.run("curl", "-sS", "--fail", URL)


def test_an_appliance_of_a_user_is_a_guest_of_the_lab(lab: Lab) -> None:
    assert set(files_of_the_guide()) == {
        Path("my/home/roles/sign") / name
        for name in (
            "vars/main.yml",
            "meta/argument_specs.yml",
            *(f"tasks/{each}.yml" for each in ("guest", "main", "check", "update")),
        )
    }
    assert "sign" in play(lab, "site", "--check", "--diff").stdout
    play(lab, "site")
    assert shown() == "Please ring"
    assert (
        "403" in labs.run("curl", "-sS", "-i", "-H", "X-Token: guessed", "-d", "open", URL) and shown() == "Please ring"
    )
    assert changed(play(lab, "site")) == 0
    lab.hosts[DOOR]["sign_text"] = "Back at five"
    planned = play(lab, "site", "--check")
    assert changed(planned) == 1 and shown() == "Please ring"
    assert changed(play(lab, "services")) == 1 and shown() == "Back at five"
    assert re.search(rf"{DOOR} +sign +{URL} +Back at five", play(lab, "show").stdout)
    assert f"{DOOR} is replaced, and not updated" in play(lab, "update", "-e", "update_hosts=false").stdout
