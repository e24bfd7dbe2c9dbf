# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import os

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def handle(self, *args, **options):
        username = os.getenv("PAPERLESS_ADMIN_USER", "admin")
        mail = os.getenv("PAPERLESS_ADMIN_MAIL", "root@localhost")
        password = os.getenv("PAPERLESS_ADMIN_PASSWORD")
        if User.objects.filter(username=username).exists():
            self.stdout.write(f"Did not create superuser, a user {username} already exists")
        elif User.objects.filter(is_superuser=True).exists():
            self.stdout.write("Did not create superuser, the DB already contains superusers")
        elif password is None:
            self.stdout.write("Please check if PAPERLESS_ADMIN_PASSWORD has been set in the environment")
        else:
            User.objects.create_superuser(username, mail, password)
            self.stdout.write(f'Created superuser "{username}" with provided password.')
