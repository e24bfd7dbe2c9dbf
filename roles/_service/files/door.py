# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The door of a guest, run by the guest itself: ``close``, ``keep``, ``open``, ``reopen``.

Behind the door the guest answers nobody but itself and Ansible. What is known of it lies in ``door.json``: in /run until a snapshot is kept, so
that it is in no snapshot, and from then on below /var/lib too, so that a restart opens nothing. Where something outside the guest is read back
after the snapshot was, it lies there before too: the guest starts closed then. A timer asks the guest when nobody came back to open it: with what
answers as before it opens by itself, and otherwise stays closed, and its unit fails.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

TABLE = "homelab_hybrid_update"
# Until the snapshot, and after it. Units of the same name are those of /etc first.
RUNTIME, LASTING = Path("/run/homelab_hybrid/door"), Path("/var/lib/homelab_hybrid/door")
RUNTIME_UNITS, LASTING_UNITS = Path("/run/systemd/system"), Path("/etc/systemd/system")
CLOSED, REOPEN, TIMER = "homelab-hybrid-closed.service", "homelab-hybrid-reopen.service", "homelab-hybrid-reopen.timer"
# Where the kernel takes ports from for whoever asks for none: what listens there listens elsewhere the next time.
FIRST_EPHEMERAL_PORT = 32768
Door = dict[str, t.Any]


def units(folder: Path, seconds: int) -> dict[str, str]:
    """The units by their names, of a door in *folder* that is asked after *seconds*."""
    closed = f"""[Unit]
Description=Keep this guest closed until its update is decided
DefaultDependencies=no
RequiresMountsFor={folder}
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/sbin/nft --file {folder}/closed.nft

[Install]
WantedBy=sysinit.target
"""
    reopen = f"""[Unit]
Description=Open this guest again if its services answer

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {folder}/door.py reopen
"""
    timer = f"""[Unit]
Description=Ask a guest that nobody came back to open

[Timer]
OnActiveSec={seconds}
OnUnitInactiveSec={seconds}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {CLOSED: closed, REOPEN: reopen, TIMER: timer}


def close(door: Door) -> None:
    """Close the guest. *door* has ``name``, ``units``, ``seconds``, ``rules`` (of nft) and ``check``, how the service is asked here."""
    shutil.rmtree(LASTING, ignore_errors=True)
    rules = door.pop("rules")
    door.update(failing=sorted(failing()), listening=sorted(listening()))
    write(RUNTIME, RUNTIME_UNITS, door, rules)
    # Before it is closed: whatever ends the run from now on, the guest is asked.
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", TIMER)
    run("nft", "--file", str(RUNTIME / "closed.nft"))


def keep(more: Door) -> None:
    """Note *more*: ``from``, ``to``, ``snapshot``, ``restore`` and ``is_changed``. Closed also after a restart from now on."""
    door = {**read(RUNTIME), **more}
    write(LASTING, LASTING_UNITS, door, (RUNTIME / "closed.nft").read_text(encoding="utf-8"))
    run("systemctl", "enable", "--quiet", CLOSED, TIMER)


def open_() -> None:
    run("nft", "add", "table", "inet", TABLE)
    run("nft", "delete", "table", "inet", TABLE)
    subprocess.run(["systemctl", "--quiet", "disable", CLOSED, TIMER], capture_output=True, check=False)
    for folder in (RUNTIME_UNITS, LASTING_UNITS):
        for name in (CLOSED, REOPEN, TIMER):
            (folder / name).unlink(missing_ok=True)
    for folder in (RUNTIME, LASTING):
        shutil.rmtree(folder, ignore_errors=True)
    # Last, since it is what runs when the guest opens by itself. A timer without its file is still there until it is stopped.
    subprocess.run(["systemctl", "--quiet", "stop", TIMER], capture_output=True, check=False)
    run("systemctl", "daemon-reload")


def reopen() -> None:
    """What the timer runs. Before the snapshot nothing was changed; after it what answers is opened, whichever version that is."""
    is_lasting = (LASTING / "door.json").exists()
    door = read(LASTING if is_lasting else RUNTIME)
    name = door["name"]
    if is_lasting and not door.get("is_changed"):
        sys.exit(
            f"{name}: what lies outside of this guest may have to be read back; it stays closed until the next run"
        )
    if packages_are_installed():
        sys.exit(f"{name}: packages are being installed; the guest stays closed")
    for unit in door["units"]:
        subprocess.run(["systemctl", "start", unit], capture_output=True, check=False)
    wrong = faults(door) if is_lasting else []
    if wrong:
        sys.exit(f"{name} does not work after its update, and the guest stays closed: {'; '.join(wrong)}")
    open_()
    if is_lasting:
        LASTING.mkdir(mode=0o700, parents=True)
        replace(
            LASTING / "door.json", json.dumps({**door, "opened": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())})
        )
    sys.stdout.write(f"{name}: nobody came back to the update; the guest answers as before and is open again\n")


def faults(door: Door) -> list[str]:
    """What does not work as it did before the door was closed, as sentences."""
    found = []
    if subprocess.run(["dpkg", "--audit"], capture_output=True, text=True, check=False).stdout.strip():
        found.append("packages are installed by half")
    subprocess.run(["systemctl", "is-system-running", "--wait"], capture_output=True, timeout=300, check=False)
    found += [f"{unit} fails" for unit in sorted(failing() - {*door["failing"], REOPEN})]
    found += [f"nobody listens on {each}" for each in sorted({*door["listening"]} - listening())]
    if not answers(door["check"]):
        found.append("the check is not answered")
    return found


def answers(check: Door) -> bool:
    """Whether the service answers *check*: ``url``, ``status``, ``regex``, ``headers`` and ``validate_certs``, or ``command`` and
    ``environment``. Nothing to ask is an answer."""
    if "url" in check:
        status, text = asked(check)
        return status in check.get("status", [200]) and re.search(check.get("regex", ""), text) is not None
    if "command" in check:
        environment = {**os.environ, **check.get("environment", {})}
        done = subprocess.run(
            check["command"], capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        return done.returncode == 0 and re.search(check.get("regex", ""), done.stdout) is not None
    return True


def asked(check: Door) -> tuple[int, str]:
    """The status and the text of the page; -1 where there is none."""

    class Here(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *dummy: t.Any) -> None:
            return None

    context = ssl.create_default_context()
    if not check.get("validate_certs", True):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        Here, urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
    )
    request = urllib.request.Request(check["url"], headers=check.get("headers", {}))
    try:
        with opener.open(request, timeout=10) as page:
            return page.status, page.read().decode(errors="replace")
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode(errors="replace")
    except OSError:
        return -1, ""


def packages_are_installed() -> bool:
    """Whether somebody installs packages now."""
    path = Path("/var/lib/dpkg/lock-frontend")
    if not path.exists():
        return False
    with path.open("w") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def failing() -> set[str]:
    said = run("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    return {line.split()[0] for line in said.splitlines() if line.split()}


def listening() -> set[str]:
    """Each as ``tcp 0.0.0.0:1883``, but for ports that are another at each start."""
    found = set()
    for line in run("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp").splitlines():
        words = line.split()
        if int(words[4].rpartition(":")[2]) < FIRST_EPHEMERAL_PORT:
            found.add(f"{words[0]} {words[4]}")
    return found


def write(folder: Path, unit_folder: Path, door: Door, rules: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace(folder / "closed.nft", rules)
    if Path(__file__) != folder / "door.py":
        replace(folder / "door.py", Path(__file__).read_text(encoding="utf-8"))
    unit_folder.mkdir(parents=True, exist_ok=True)
    for name, text in units(folder, door["seconds"]).items():
        replace(unit_folder / name, text)
    # What is there when everything is.
    replace(folder / "door.json", json.dumps(door))


def read(folder: Path) -> Door:
    found: Door = json.loads((folder / "door.json").read_text(encoding="utf-8"))
    return found


def replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(path)


def run(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    verb = sys.argv[1]
    if verb == "close":
        close(json.load(sys.stdin))
    elif verb == "keep":
        keep(json.load(sys.stdin))
    elif verb == "open":
        open_()
    elif verb == "reopen":
        reopen()
