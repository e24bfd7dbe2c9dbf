# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import time
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from watchfiles import Change, watch

from documents.tasks import consume_file


class Command(BaseCommand):
    def handle(self, *args, **options):
        folder = settings.CONSUMPTION_DIR
        if not folder.is_dir():
            raise CommandError(f"Consumption directory {folder} does not exist")
        for path in sorted(each for each in folder.iterdir() if each.is_file()):
            self.consume(path)
        interval = int(settings.CONSUMER_POLLING_INTERVAL * 1000)
        for changes in watch(folder, force_polling=interval > 0, poll_delay_ms=interval or 300, recursive=False):
            for path in sorted({Path(name) for change, name in changes if change != Change.deleted}):
                self.consume(path)

    def consume(self, path: Path) -> None:
        """Queue it once it no longer grows."""
        size = -1
        while path.is_file() and size != path.stat().st_size:
            size = path.stat().st_size
            time.sleep(settings.CONSUMER_STABILITY_DELAY)
        if path.is_file():
            consume_file.apply_async((str(path),), task_id=f"{path.name}-{path.stat().st_mtime_ns}")
            self.stdout.write(f"Adding {path} to the task queue")
            # The worker takes it away.
            while path.is_file():
                time.sleep(0.1)
