# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# WRITES
"""How fast a card may get and send: by a program on the host that LXC runs whenever the card comes or goes."""

from __future__ import annotations

import os

from .._core import atomic, command
from .._host.rates import SENT
from .card import RATE_PROGRAM

_TEXT = """#!/bin/sh
# limit-rate IN OUT CONTAINER net up|down veth [BRIDGE] LINK
# Bits per second as the guest sees them, 0 for no limit. Written by homelab.hybrid.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
in=$1 out=$2 what=$5
set -e
for link; do :; done
# LXC does not name the link of a card that is plugged in nowhere.
[ -e "/sys/class/net/$link/ifindex" ] || exit 0
queue() { # LINK RATE: what goes out of LINK waits, 50 ms at most
  least=$((2 * $(cat "/sys/class/net/$1/mtu")))
  burst=$(($2 / 400))
  [ "$burst" -ge "$least" ] || burst=$least
  tc qdisc replace dev "$1" root tbf rate "${2}bit" burst "$burst" latency 50ms
}
sent=@SENT@$(cat "/sys/class/net/$link/ifindex")
[ "$what" = up ] || in=0 out=0
if [ "$in" != 0 ]; then queue "$link" "$in"; else
  ! tc qdisc show dev "$link" root | grep -q ' tbf ' || tc qdisc delete dev "$link" root
fi
if [ "$out" != 0 ]; then
  ip link show "$sent" > /dev/null 2>&1 || ip link add name "$sent" type ifb
  ip link set "$sent" up
  queue "$sent" "$out"
  tc qdisc show dev "$link" ingress | grep -q . || tc qdisc add dev "$link" ingress
  tc filter replace dev "$link" parent ffff: protocol all prio 1 handle 800::800 u32 match u32 0 0 \\
    action mirred egress redirect dev "$sent"
elif ip link show "$sent" > /dev/null 2>&1; then
  tc qdisc delete dev "$link" ingress || :
  ip link delete "$sent"
fi
# Those of links that went without a word.
for each in /sys/class/net/@SENT@[0-9]*; do
  [ -e "$each" ] || continue
  name=${each##*/}
  cat /sys/class/net/*/ifindex | grep -qx "${name#@SENT@}" || ip link delete "$name" || :
done
"""


def lay_down() -> None:
    """Put the program where configurations name it."""
    text = _TEXT.replace("@SENT@", SENT)
    if atomic.read_text(RATE_PROGRAM) != text or not os.access(RATE_PROGRAM, os.X_OK):
        atomic.write_file(RATE_PROGRAM, text, mode=0o755)


def limit(container: str, link: str, in_bits: int, out_bits: int) -> None:
    """Limit what goes through *link*, the host's end of a card of the running *container*.

    :raises CommandError:
    """
    lay_down()
    command.run([RATE_PROGRAM, str(in_bits), str(out_bits), container, "net", "up", "veth", link])


def take_off(container: str, link: str) -> None:
    """Before *link* goes.

    :raises CommandError:
    """
    limit(container, link, 0, 0)
