#!/bin/sh
# Print why this system asks for a restart; nothing where it does not. Debian itself says so only where unattended-upgrades or the like is installed.
set -eu
if [ -e /run/reboot-required ]; then
	echo "asked for by $(sort -u /run/reboot-required.pkgs 2> /dev/null | paste -sd ' ' || true)"
	exit
fi
# A container runs the kernel of its host.
if systemd-detect-virt --quiet --container; then exit; fi
runs=$(uname -r)
package=$(dpkg-query --show '--showformat=${Version}' "linux-image-$runs" 2> /dev/null) || exit 0
newest=$(find /boot -maxdepth 1 -name 'vmlinuz-*' -printf '%f\n' | sed 's/^vmlinuz-//' | sort -V | tail -n 1)
if [ "$newest" != "$runs" ]; then
	echo "kernel $newest is installed, and $runs runs"
elif ! uname -v | grep -qF "$package"; then
	echo "kernel $runs of $package is installed, and another runs"
fi
