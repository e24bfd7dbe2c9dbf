#!/bin/sh
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# What the host says of itself and of its guests, as lines NAME=VALUE.
attach() { lxc-attach -n web --clear-env -v PATH=/usr/sbin:/usr/bin:/sbin:/bin -- "$@"; }
echo "state=$(systemctl is-system-running --wait)"
echo "cgroup=$(stat -f -c %T /sys/fs/cgroup)"
echo "apparmor=$(cat /sys/module/apparmor/parameters/enabled)"
echo "container=$(lxc-ls --fancy --fancy-format NAME,STATE,AUTOSTART,UNPRIVILEGED | grep '^web ')"
echo "inside=$(attach systemctl is-system-running --wait)"
echo "profile=$(cat "/proc/$(lxc-info -n web -p -H)/attr/current")"
for key in memory.max memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus; do echo "$key=$(lxc-cgroup -n web $key | head -n 1)"; done
attach ping -c 1 -W 10 10.94.1.1 > /dev/null; echo "ping=$?"
echo "vms=$(virsh -q list --name --state-running --autostart | xargs)"
echo "vm_profile=$(cat "/proc/$(cat /run/libvirt/qemu/paper.pid)/attr/current")"
echo "pools=$(virsh -q pool-list --autostart --name | xargs)"
echo "address=$(ip -4 -o address show lan0 | awk '{print $4}')"
echo "plugged=$(ip -o link show master lan0 | wc -l)"
