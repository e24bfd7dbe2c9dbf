# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from django.conf import settings
from django.core.management.base import BaseCommand

from documents.models import Document


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("command", choices=["reindex", "optimize"])
        parser.add_argument("--if-needed", action="store_true")
        parser.add_argument("--no-progress-bar", action="store_true")

    def handle(self, *args, **options):
        index = settings.DATA_DIR / "index"
        index.mkdir(exist_ok=True)
        (index / "meta").write_text(str(Document.objects.count()), encoding="utf-8")
