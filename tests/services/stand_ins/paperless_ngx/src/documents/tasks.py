# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workers do: a file becomes a document. Pictures are read by Tesseract, as upstream has OCRmyPDF do it."""

import mimetypes
import shutil
import subprocess
from pathlib import Path

from celery import shared_task
from django.conf import settings

from documents.models import Document


@shared_task
def consume_file(path: str, title: str | None = None) -> str:
    source = Path(path)
    kind = mimetypes.guess_type(source.name)[0] or "text/plain"
    if kind.startswith("image/"):
        command = ["tesseract", str(source), "stdout", "-l", settings.OCR_LANGUAGE]
        content = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    else:
        content = source.read_text(encoding="utf-8")
    document = Document.objects.create(
        title=title or source.stem, content=content, original_filename=source.name, filename="", mime_type=kind
    )
    document.filename = f"{document.pk:07}{source.suffix}"
    originals = settings.MEDIA_ROOT / "documents" / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, originals / document.filename)
    source.unlink()
    document.save()
    return f"New document id {document.pk} created"
