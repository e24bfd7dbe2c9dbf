#!/bin/sh
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What came of the backups since the second $1, as lines NAME=VALUE.
# A terminal would mix complaints, as of processes that end while they are read, into the lines.
exec 2> /dev/null
secret='not in the journal'
echo "run=$(systemctl show -P Result homelab-hybrid-backup@nightly.service)"
echo "drill=$(systemctl show -P Result homelab-hybrid-backup-drill@nightly.service)"
echo "said=$(journalctl -q -o cat --since "@$1" -u 'homelab-hybrid-backup*' | tail -n 15 | tr -c '[:print:]' '|')"
echo "stored=$(RESTIC_PASSWORD="$secret" restic -q -r /srv/backups snapshots --json | grep -oE '"guest=[a-z]+"' | tr -d '"' | cut -d= -f2 | sort -u | xargs)"
# Of those who take part: others ask for more than they need on any host.
echo "denied=$(journalctl -q -k -o cat --since "@$1" | grep 'apparmor="DENIED"' | grep -E 'libvirt-|homelab|nbd|restic' | head -n 3 | tr -c '[:print:]' '|')"
echo "password=$( (journalctl -q -b; systemctl cat 'homelab-hybrid-*'; systemctl show 'homelab-hybrid-*'; cat /proc/[0-9]*/environ | tr '\0' '\n') | grep -cF "$secret")"
echo "readable=$(grep -rlF "$secret" /etc /run /var/lib | xargs -r stat -c '%a %U' | grep -v '^600 root$' | xargs)"
echo "left=$( (find /run/homelab_hybrid/backup /var/lib/homelab_hybrid/backup/captures /var/lib/homelab_hybrid/drill -mindepth 1 ! '(' -type d -empty ')'; ip netns list; lxc-ls -1 | grep -v -x -e web -e camera) | xargs)"
echo "job=$(virsh -q domjobinfo paper | awk '/Job type/ {print $3}')"
