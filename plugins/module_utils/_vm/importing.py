# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""The importer of OPNsense is answered on the serial console: it waits seven seconds for a key, and asks from which drive it shall read.

Without a key it writes a configuration that everybody knows, and never asks again (opnsense-importer -b, as of 26.7).
"""

from __future__ import annotations

import time
import typing as t

from .._core import libraries, paths
from .._core.errors import ApplyError
from .._host.libvirt import errors_of
from .xml import domain as domain_xml
from .xml.install import drives

_WAITS, _ASKS = "Press any key to start the configuration importer:", "Select device to import from"
_IMPORTED, _MISSED = "Restoring config.xml...", "Bootstrapping config.xml..."
# Not a line end: the next question would take one as its answer, and leave.
_KEY = " "
# QEMU looks once in a second whether somebody is at the other end of its terminal, and drops what was written by who has left before.
_SECONDS_AT_TERMINAL = 1.5


def attend(domain: t.Any, console: str) -> None:
    """Answer what is asked at the end of *console*, which is all that *domain* has written so far.

    :raises ApplyError: where the importer has gone on without the answer. The machine is off then.
    """
    if _IMPORTED in console:
        return
    if _MISSED in console:
        with errors_of(f"stop {domain.name()}", ApplyError):
            domain.destroy()
        raise ApplyError(
            f"{domain.name()}: its importer was not answered in time, and it has begun with the configuration of its image. It is off again, "
            "and the next run begins anew"
        )
    names = drives(domain_xml.parse(domain.XMLDesc(0)), paths.installer_folder(domain.name()))
    answer = answer_to(console, names)
    if answer is not None:
        _type(domain, answer)


def answer_to(console: str, names: t.Sequence[str]) -> str | None:
    """What is typed at the end of *console*. It asks again where it finds nothing in a drive: the next one of *names* is its turn then."""
    questions = console.count(_ASKS)
    if questions:
        # The terminal repeats what was answered.
        is_answered = "cd" in console.rpartition(_ASKS)[2].partition("to exit:")[2]
        return None if is_answered or not names else f"{names[(questions - 1) % len(names)]}\n"
    return _KEY if _WAITS in console else None


def _type(domain: t.Any, text: str) -> None:
    library = libraries.libvirt()
    with errors_of(f"answer the importer of {domain.name()} on its console", ApplyError):
        stream = domain.connect().newStream()
        domain.openConsole(None, stream, library.VIR_DOMAIN_CONSOLE_FORCE)
        stream.send(text.encode())
        time.sleep(_SECONDS_AT_TERMINAL)
        stream.abort()
