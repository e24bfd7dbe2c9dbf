#!/usr/bin/env bash
# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The demo as a user runs it: demo, demo again, a check, destroy. The first run backs a guest up and brings it to life; the second run and the check
# change nothing, and the host is as it was before.
set -euo pipefail
cd "$(dirname "$0")/../.."
log=.build/logs/demo
mkdir -p "$log"
rm -f "$log/added.yml"

ok() { echo "demo ok: $1"; }
footprint() { /usr/bin/python3 tests/playbooks/footprint.py "$log/$1"; }

# Whether every host of the recap in a log reports changed=0.
unchanged() {
  if grep -E '^[^ ]+ +: ok=' "$1" | grep -v ' changed=0 '; then
    echo "$1: these hosts report changes" >&2
    return 1
  fi
  grep -qE '^[^ ]+ +: ok=' "$1"
}

taken() { echo "demo took: $1 $((SECONDS - begin)) s"; }

# Pass on what a run says, and tell how long it took from the play $2 to the play $3.
between() {
  local line begin=$SECONDS
  while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in
      "PLAY [$2]"*) begin=$SECONDS ;;
      "PLAY [$3]"*) taken "$1" ;;
    esac
  done
}

# The ids of the backups in the repository of the demo, as restic tells them.
stored() {
  RESTIC_PASSWORD="of the demo lab alone" restic -q --no-lock --no-cache -r /srv/lab-backups snapshots --tag "guest=$1" --json \
    | grep -oE '"short_id":"[0-9a-f]+"' | cut -d'"' -f4
}

destroy() { make demo-destroy DEMO_ARGS="$([ ! -e "$log/added.yml" ] || echo "-i $log/added.yml")" 2>&1 | tee "$log/destroy"; }
trap 'destroy || true' EXIT

if [ -e /var/lib/homelab_hybrid/guests/sandbox.json ]; then
  destroy
fi
footprint before

begin=$SECONDS
make demo 2>&1 | tee "$log/first" | between "backup and drill" "Back up, and start the backups where they reach nobody" "Show the guests"
grep -q 'The lab is answering: 5 guests, 8 checks passed.' "$log/first"
taken "first run"
grep -qE 'mqtt +mosquitto +publish and subscribe at port 1883 +published and received +yes' "$log/first"
grep -qE 'docker +docker_host +docker info, and a container that runs +a container ran on [a-z0-9]+ +yes' "$log/first"
ok "the lab is built and answers"

id=$(stored resolver)
grep -qE "resolver +backup +the last one of the job nightly +[0-9.]+ MiB stored in [0-9.]+ s as $id +yes" "$log/first"
grep -qE 'resolver +drill +that backup, started where it reaches nobody +well after [0-9.]+ s +yes' "$log/first"
ok "a guest is backed up, and its backup comes to life"

# Guests ask their bridge, which has the names of the lab whether the lab's own resolver runs or not.
for name in mosquitto mqtt docker proxy overview; do
  /usr/bin/python3 roles/unbound/files/dns_query.py 10.77.50.1 53 "$name.lab.home.arpa"
done
ok "the bridge answers the names of guests and services"

begin=$SECONDS
make demo 2>&1 | tee "$log/second"
unchanged "$log/second"
taken "second run"
[ "$(stored resolver)" = "$id" ]
grep -qE "resolver +backup .* as $id +yes" "$log/second"
ok "the second run changes nothing"

# The names of the lab and its page follow a guest that is added.
cat > "$log/added.yml" <<'INVENTORY'
all:
  children:
    containers:
      hosts:
        workshop:
          guest_spec:
            image: debian-13
            rootfs: {pool: lab}
            memory: 128MiB
            networks:
              - {name: lan, bridge: labbr0, ip: 10.77.50.12/24, gateway: 10.77.50.1}
            wait_for: [ip]
INVENTORY
begin=$SECONDS
make demo DEMO_ARGS="-i $log/added.yml --limit lab,workshop,resolver,proxy" 2>&1 | tee "$log/added"
grep -qE 'workshop.lab.home.arpa at 10.77.50.10 +10.77.50.12 +yes' "$log/added"
grep -q '6 of 6 guests running' "$log/added"
taken "run with a guest added"
ok "a guest that is added is answered by the resolver and shown on the page"

make demo-check DEMO_ARGS="-i $log/added.yml" 2>&1 | tee "$log/check"
unchanged "$log/check"
ok "check mode sees nothing to change"

trap - EXIT
begin=$SECONDS
destroy
taken "destroy"
footprint after
if ! diff -u "$log/before" "$log/after"; then
  echo "the demo left something behind, or took away what it had not made" >&2
  exit 1
fi
ok "the host is as it was before"
