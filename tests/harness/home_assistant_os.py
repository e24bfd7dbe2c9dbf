# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small system in the place of Home Assistant OS, which looks for its settings as upstream's does.

What it does with the medium of the label CONFIG follows upstream's hassos-config (buildroot-external/rootfs-overlay/usr/sbin, 2026-02): findfs, a
mount that only reads, the keyfiles of network/ and authorized_keys.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.homelab.hybrid.tests.harness import efi_disk

_CORE = Path(__file__).with_name("home_assistant_core.py")
_SCRIPT = r"""
mkdir -p /www/observer /root/.ssh
for try in 1 2 3 4 5; do
    device=$(findfs LABEL=CONFIG 2>/dev/null) && break
    sleep 1
done
if [ -n "$device" ] && mount -o ro "$device" /mnt; then
    if [ -d /mnt/network ]; then
        mkdir -p /run/connections
        cp -f /mnt/network/* /run/connections/
        # The beginning of a keyfile of NetworkManager: the method and the first address of IPv4.
        awk -F= '/^\[/ { four = $0 == "[ipv4]" } four && $1 == "method" { method = $2 } four && $1 == "address1" { split($2, way, ",") }
            END { if (method == "manual") print way[1], way[2] }' /run/connections/* > /run/static
        [ -s /run/static ] || rm -f /run/static
    fi
    rm -f /root/.ssh/authorized_keys
    [ -f /mnt/authorized_keys ] && cp -f /mnt/authorized_keys /root/.ssh/authorized_keys
    umount /mnt
else
    rm -f /root/.ssh/authorized_keys
fi
chmod 600 /root/.ssh/authorized_keys 2>/dev/null
[ -e /root/.ssh/authorized_keys ] && dropbear -s -E -p 22222 -r /etc/dropbear/host_key 2>/dev/null
echo '<html>Home Assistant Observer</html>' > /www/observer/index.html
httpd -p 4357 -h /www/observer
python3 -I /etc/program.py 8123 > /dev/console 2>&1 &
"""


def packed_disk() -> Path:
    """The disk as upstream publishes its own, ``.qcow2.xz``."""
    return efi_disk.packed_disk("haos", _SCRIPT, _CORE)
