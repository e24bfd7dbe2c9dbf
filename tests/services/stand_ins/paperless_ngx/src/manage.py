# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paperless-ngx 3 as a role meets it: its release tree, settings, commands, units and API, its unpleasant sides included.

It reads the example that lies beside it before the file in /etc, and refuses the secret key of that. Without PAPERLESS_DBENGINE it keeps its rows
in a file. A Paperless without users lets the first visitor sign up. What is uploaded goes through a folder that web server and workers share.
``release.json`` beside it says which version it is: ``{version, answers}``.
"""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "paperless.settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
