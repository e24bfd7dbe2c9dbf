# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""Arms a switch: what brings the host back is on its disk, and its clock runs, before the first change; then the change is made in a unit of
its own, which no lost session takes along."""

from __future__ import annotations

import datetime
import io
import os
import sys
import typing as t
import zipfile

from ..._core import atomic, command, paths
from ..._core.errors import ApplyError, HybridError
from ..spec import Spec
from . import program, run
from .checks import silent_gateways
from .state import DEFAULT_SECONDS, VARIABLE, Switch

# What who changed something is known by, as the journal of the host has it.
_WHO = ("SUDO_USER", "SSH_CLIENT")
# The resource has all of this in it: the unit puts them together.
_PROGRAM = (
    f"from {__name__.rpartition('.switch.')[0]}.resource import Bridge; from {run.__name__} import main; main(Bridge())"
)
_BOOT_UNIT = """\
[Unit]
Description=Take back a change of the network that nobody confirmed before this restart (homelab.hybrid)
DefaultDependencies=no
CollectMode=inactive-or-failed
RequiresMountsFor={folder}
After=systemd-remount-fs.service
Before=network-pre.target systemd-networkd.service networking.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart={python} {program} boot
"""


class SwitchArmed(HybridError):
    """What the plan has can cut the host off: it is under way in a unit of its own, and somebody has to confirm it."""


def arm(
    name: str,
    spec: Spec,
    links: t.Collection[str],
    reload: t.Sequence[t.Sequence[str]],
    folders: t.Sequence[str],
    files: t.Sequence[str] = (),
    ifupdown: t.Mapping[str, t.Any] | None = None,
) -> SwitchArmed:
    """Begin the switch *name* that brings the host to *spec*. *links* are those whose state is saved, *folders* and *files* those of the
    host's network files, and *reload* the commands by which their old text counts again. *ifupdown* is what its programs need to know of
    the links, where it keeps them.

    :raises ApplyError: when it cannot be armed; nothing is changed then.
    """
    os.makedirs(program.FOLDER, mode=0o700, exist_ok=True)
    seconds = spec.get("confirm_timeout") or DEFAULT_SECONDS
    with program.locked():
        standing = Switch.load(program.read(program.STATE))
        if (refusal := standing.refusal("")) is not None:
            raise ApplyError(refusal)
        began = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        state = {
            "id": name,
            "state": "armed",
            "bridge": spec.name,
            "confirm_timeout": seconds,
            "began": _text(began),
            "ends": _text(began + datetime.timedelta(seconds=seconds)),
            "python": sys.executable,
        }
        saved = program.save([paths.record_path("bridges", spec.name), *files], folders, sorted({spec.name, *links}))
        if ifupdown is not None:
            saved["ifupdown"] = program.save_ifupdown({**ifupdown, "id": name})
        silent = silent_gateways([spec.name, *links])
        program.write(
            program.SAVED, {**saved, "silent": silent, "made": [spec.name], "reload": [list(argv) for argv in reload]}
        )
        program.write(program.ORDER, {"id": name, "params": dict(spec.given)})
        _lay_down()
        try:
            _start(
                program.ROLLBACK, ["rollback", name], f"--on-active={seconds}s", "--timer-property=AccuracySec=200ms"
            )
            command.run(["systemctl", "is-active", "--quiet", f"{program.ROLLBACK}.timer"], timeout=20)
            # From here on it is taken back: what is armed has a clock that runs.
            program.write(program.STATE, state)
            _apply(name)
        except command.CommandError as exc:
            program.move_on(state, "rolled_back", reason=f"it could not be armed: {exc.message}")
            program.tidy()
            raise ApplyError(
                f"a change that can cut this host off needs a clock that takes it back: {exc.message}"
            ) from exc
    told = {key: state[key] for key in ("id", "began", "ends", "python")}
    return SwitchArmed(
        f"the change of {spec.name} is under way, and is taken back at {state['ends']} unless it is confirmed",
        switch=told,
    )


def _text(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _lay_down() -> None:
    """The program, and the unit that a restart begins with."""
    source = t.cast("t.Any", program.__spec__).loader.get_source(program.__name__)
    atomic.write_file(program.PROGRAM, source, mode=0o700)
    unit = f"{program.UNITS}/{program.BOOT}.service"
    text = _BOOT_UNIT.format(folder=program.FOLDER, python=sys.executable, program=program.PROGRAM)
    atomic.write_file(unit, text)
    os.makedirs(os.path.dirname(program.WANTS), exist_ok=True)
    if not os.path.islink(program.WANTS):
        os.symlink(unit, program.WANTS)
    atomic.sync_folder(os.path.dirname(program.WANTS))


def _start(unit: str, words: t.Sequence[str], *options: str) -> None:
    """A unit that is begun anew when it is killed: the program goes on where it was."""
    restart = ["--property=Restart=on-failure", "--property=RestartSec=1"]
    argv = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={unit}",
        *restart,
        *options,
        sys.executable,
        program.PROGRAM,
        *words,
    ]
    command.run(argv, timeout=30)


def _apply(name: str) -> None:
    environment = {VARIABLE: name, "PYTHONPATH": _code(), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {key: os.environ[key] for key in _WHO if key in os.environ}
    setenv = [f"--setenv={key}={value}" for key, value in environment.items()]
    argv = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={program.APPLY}",
        *setenv,
        sys.executable,
        "-c",
        _PROGRAM,
    ]
    command.run(argv, timeout=30)


def _code() -> str:
    """Where the unit finds this collection: a copy of the archive that runs, which goes with the run, or the tree of a developer."""
    archive = getattr(getattr(__spec__, "loader", None), "archive", None)
    if archive is None:
        return os.path.abspath(__file__).partition("/ansible_collections/")[0]
    packed = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            # Ansible's own wrapper adds a file that each other Python takes for its site's.
            if name != "sitecustomize.py":
                target.writestr(name, source.read(name))
    program.place(program.CODE, packed.getvalue(), 0o600)
    return program.CODE
