# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to the collection homelab.hybrid: may change at any time.
# PURE
"""Where the collection keeps what it remembers. The one place of these names."""

from __future__ import annotations

import posixpath

STATE = "/var/lib/homelab_hybrid"
RUN = "/run/homelab_hybrid"
PROGRESS = RUN + "/progress"
CODE = RUN + "/code"
# Where programs that lie here as one file (PROGRAMS) have their code while they run.
RUNNING_CODE = RUN + "/programs"
# /run/lock is for everybody to write in: who comes first there could lay a link in our place.
LOCKS = RUN + "/locks"
IMAGES = STATE + "/image_store"
JOURNAL = STATE + "/journal"
PROGRAMS = STATE + "/programs"
# The nodes that guests get: on the one file system that lets devices be opened on every host, and is empty after each boot.
DEVICES = "/dev/homelab_hybrid"
SNAPSHOTS = STATE + "/snapshots"
INSTALLERS = STATE + "/installers"
CREDENTIALS = STATE + "/credentials"
# What the role hypervisor says of the quarantine, and the code that takes away what is past its time there.
QUARANTINE = STATE + "/quarantine.json"
QUARANTINE_CODE = PROGRAMS + "/quarantine.zip"
# The units by which a host backs up, reads, tries and replicates by itself. Behind an @ comes the job.
BACKUP_UNIT = "homelab-hybrid-backup"
VERIFY_UNIT, DRILL_UNIT = BACKUP_UNIT + "-verify", BACKUP_UNIT + "-drill"
REPLICATION_UNIT = "homelab-hybrid-replicate"
BACKUP = STATE + "/backup"
BACKUP_CONFIG = BACKUP + "/jobs.json"
REPORT = STATE + "/report"
# What is brought back only to be tried lies apart: nothing that looks for containers finds it.
DRILLS = STATE + "/drill"
# No guest that a user makes has this in its name.
DRILL_MARK = "+drill"
DRILL_REPORTS = REPORT + "/drills"
# Whom a host tells what happens, what each was told, and what a control node found last that is not as it is declared.
NOTIFY = STATE + "/notify"
NOTIFY_CONFIG = NOTIFY + "/targets.json"
TOLD = NOTIFY + "/told.json"
DRIFT = NOTIFY + "/drift.json"
# The same of the alerts of a monitoring in a guest, and since when such a guest does not answer.
ALERTS_TOLD = NOTIFY + "/alerts.json"
ALERTS_SILENT = NOTIFY + "/silent.json"
# Which guests have a page of the lab and are told how this host is.
OVERVIEW_CONFIG = STATE + "/overview.json"
# Where the exporter of Debian's prometheus-node-exporter looks for what others measure.
METRICS = "/var/lib/prometheus/node-exporter"
# Where other hosts lay the code by which they replicate to this one.
REPLICA_CODE = RUN + "/replica"
# What is backed up has the same path each time: by it restic finds what it knows already.
CAPTURES = RUN + "/backup"


def record_folder(kind: str) -> str:
    """The folder of the ownership records of one kind (``guests``, ``images``, ``pools``, ``bridges``, ``mounts``)."""
    return posixpath.join(STATE, kind)


def record_path(kind: str, name: str) -> str:
    return posixpath.join(record_folder(kind), name + ".json")


def volume_name(guest: str, item: str) -> str:
    """Our volumes carry the guest they belong to: ``jellyfin.rootfs``."""
    return f"{guest}.{item}"


def snapshot_folder(guest: str, name: str) -> str:
    """Where lies what the snapshot *name* of a guest has beside its volumes."""
    return posixpath.join(SNAPSHOTS, guest, name)


def installer_folder(guest: str) -> str:
    """Where lies what only the installer of a guest needs: its answer, and what it writes to the console."""
    return posixpath.join(INSTALLERS, guest)


def installer_console(guest: str) -> str:
    """What the guest writes to its serial console while an installer is at work in it."""
    return posixpath.join(installer_folder(guest), "console.log")


def credentials_path(mount: str) -> str:
    """The file with the name and the password for a mount of the host, by the name of its unit. For root alone."""
    return posixpath.join(CREDENTIALS, mount)


def capture_folder(guest: str) -> str:
    """Where a guest is shown while it is backed up."""
    return posixpath.join(CAPTURES, guest)


def capture_note(guest: str) -> str:
    """What was begun to capture a guest: after a restart of the host too there is a snapshot to be removed."""
    return posixpath.join(BACKUP, "captures", guest + ".json")


def restore_folder(backup: str) -> str:
    """Where lies for a moment what a backup has beside the volumes of a guest."""
    return posixpath.join(RUN, "restore", backup)


def opened_folder() -> str:
    """Where a process, and nobody else, sees a repository as files."""
    return posixpath.join(RUN, "opened")


def scratch_folder(guest: str) -> str:
    """Where is saved, while a machine is backed up, what it overwrites of disks that lie in no pool."""
    return posixpath.join(BACKUP, "scratch", guest)


def repository_file(repository: str, what: str) -> str:
    """A file of root alone about a repository: its ``url``, its ``password``, its ``credentials``."""
    return posixpath.join(BACKUP, "repositories", f"{repository}.{what}")


def notify_secrets(target: str) -> str:
    """The secrets of one whom the host tells. For root alone."""
    return posixpath.join(NOTIFY, "secrets", target + ".json")


def backup_report(job: str) -> str:
    """How the last run of a job went."""
    return posixpath.join(REPORT, job + ".json")


def metrics_file() -> str:
    """What Prometheus reads of the backups of the host."""
    return posixpath.join(METRICS, "homelab_hybrid_backup.prom")


def host_metrics_file() -> str:
    """What Prometheus reads of the host and its guests."""
    return posixpath.join(METRICS, "homelab_hybrid_host.prom")


def verify_report(job: str) -> str:
    """How the last reading of the repository of a job went."""
    return posixpath.join(REPORT, job + ".verify.json")


def drill_namespace(guest: str) -> str:
    """The network namespace in which the backup of a guest is tried, as ``ip netns`` lists it."""
    return f"homelab-hybrid-drill-{guest}"


def drill_report(job: str) -> str:
    """How the last drill of each guest of a job went."""
    return posixpath.join(DRILL_REPORTS, job + ".json")


def drill_log(guest: str) -> str:
    """What a guest wrote while it booted in its last drill."""
    return posixpath.join(DRILL_REPORTS, guest + ".log")


def replication_report(job: str) -> str:
    """How the last run of a job of replication went."""
    return posixpath.join(REPORT, "replication", job + ".json")
