#!/bin/sh
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What the host says of itself and of its guests, as lines NAME=VALUE.
attach() { name=$1; shift; lxc-attach -n "$name" --clear-env -v PATH=/usr/sbin:/usr/bin:/sbin:/bin -- "$@"; }
reaches() { attach "$1" ping -c 1 -W 3 "$2" > /dev/null && echo yes || echo no; }
echo "state=$(systemctl is-system-running --wait)"
echo "cgroup=$(stat -f -c %T /sys/fs/cgroup)"
echo "apparmor=$(cat /sys/module/apparmor/parameters/enabled)"
for name in web camera; do
  echo "$name=$(lxc-ls --fancy --fancy-format NAME,STATE,AUTOSTART,UNPRIVILEGED | grep "^$name ")"
  echo "${name}_config=$(grep -E '^lxc\.net\.[0-9]+\.veth\.(mode|vlan)' "/var/lib/lxc/$name/config" | tr -d ' ' | xargs)"
done
echo "inside=$(attach web systemctl is-system-running --wait)"
echo "profile=$(cat "/proc/$(lxc-info -n web -p -H)/attr/current")"
for key in memory.max memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus; do echo "$key=$(lxc-cgroup -n web $key | head -n 1)"; done
echo "tun=$(attach web sh -c 'exec 3<>/dev/net/tun && stat -c %t:%T:%u:%g:%a /dev/net/tun')"
echo "fuse=$(attach web sh -c '[ -e /dev/fuse ] && exec 3<>/dev/fuse && stat -c %t:%T:%a /dev/fuse')"
echo "nested=$(attach web unshare --mount --pid --fork --mount-proc sh -c 'mount -t tmpfs none /mnt && readlink /proc/self')"
echo "films=$(attach web stat -c %u:%g /srv/films)"
echo "web_to_gateway=$(reaches web 10.94.1.1)"
echo "web_to_vlan_10=$(reaches web 10.94.10.1)"
echo "web_to_camera=$(reaches web 10.94.10.20)"
echo "camera_to_web=$(reaches camera 10.94.10.10)"
echo "camera_to_vlan_20=$(reaches camera 10.94.10.2)"
echo "vms=$(virsh -q list --name --state-running --autostart | xargs)"
echo "vm_profile=$(cat "/proc/$(cat /run/libvirt/qemu/paper.pid)/attr/current")"
echo "pools=$(virsh -q pool-list --autostart --name | xargs)"
echo "address=$(ip -4 -o address show lan0 | awk '{print $4}')"
echo "vlans=$(bridge -j vlan show)"
echo "tap=$(virsh -q domiflist paper | awk '$3 == "vmbr0" {print $1}')"
echo "defined=$(virsh dumpxml paper --inactive --xpath '//interface[source/@bridge="vmbr0"]/vlan/tag/@id' | xargs)"
lan=$(virsh -q domiflist paper | awk '$3 == "lan0" {print $1}')
echo "paper_gets=$(tc -j class show dev "$lan")"
echo "paper_sends=$(tc filter show dev "$lan" parent ffff: | grep -o 'rate [^ ]*')"
echo "queues=$(tc -j qdisc show)"
echo "bandwidth=$(virsh dumpxml paper --inactive --xpath '//interface/bandwidth' | xargs)"
echo "web_index=$(cat /sys/class/net/web.lan/ifindex)"
echo "root_project=$(lsattr -pd /srv/quota/pool/camera.rootfs | awk '{print $1}')"
echo "quotas=$(repquota -Pn /srv/quota | awk '/^#/ {print substr($1, 2) "=" $5}' | xargs)"
echo "filled=$(attach camera sh -c 'mkdir -p /srv/deep/er && dd if=/dev/zero of=/srv/deep/er/file bs=4M count=500; rm -r /srv/deep' 2>&1 | grep -oE 'quota exceeded|No space left' | head -n 1)"
echo "plugged=$(ip -o link show master lan0 | wc -l)"
echo "timers=$(systemctl list-units --plain --no-legend --state=waiting 'homelab-hybrid-backup*.timer' | awk '{print $1}' | xargs)"
