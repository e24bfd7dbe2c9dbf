# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import platform
import tempfile
from pathlib import Path

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth import login as start_session
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpResponse, HttpResponseForbidden, HttpResponseRedirect
from django.middleware.csrf import get_token
from paperless.celery import app
from redis import Redis
from rest_framework.decorators import api_view
from rest_framework.response import Response

from documents.models import Document
from documents.tasks import consume_file

FORM = "<title>Paperless-ngx {0}</title><form method=post><input type=hidden name=csrfmiddlewaretoken value={1}></form>"


def silence(get_response):
    """A version that was published broken answers nobody."""
    broken = HttpResponse("broken", status=500)
    return get_response if settings.RELEASE["answers"] else lambda request: broken


def version_headers(get_response):
    def respond(request):
        response = get_response(request)
        response["X-Api-Version"] = settings.REST_FRAMEWORK["ALLOWED_VERSIONS"][-1]
        response["X-Version"] = settings.RELEASE["version"]
        return response

    return respond


def index(request):
    return HttpResponse("Paperless-ngx") if request.user.is_authenticated else HttpResponseRedirect(settings.LOGIN_URL)


def login(request):
    if request.method == "POST":
        user = authenticate(request, username=request.POST.get("login"), password=request.POST.get("password"))
        if user:
            start_session(request, user)
            return HttpResponseRedirect("/")
    elif not User.objects.exists():
        return HttpResponseRedirect("/accounts/signup/")
    return HttpResponse(FORM.format("sign in", get_token(request)))


def signup(request):
    """Open to whoever comes first, who owns it then."""
    if User.objects.exists():
        return HttpResponseForbidden("sign up closed")
    if request.method == "POST":
        User.objects.create_superuser(request.POST["username"], "", request.POST["password1"])
    return HttpResponse(FORM.format("sign up", get_token(request)))


@api_view(["GET"])
def schema(request):
    return Response({"openapi": "3.0.3", "info": {"title": "Paperless-ngx REST API", "version": "6.0.0"}, "paths": {}})


@api_view(["GET"])
def status(request):
    if not request.user.is_superuser:
        return HttpResponseForbidden("Insufficient permissions")
    loader = MigrationLoader(connection)
    done = [f"{app_name}.{name}" for app_name, name in loader.applied_migrations]
    nodes = [f"{app_name}.{name}" for app_name, name in loader.graph.nodes]
    media = os.statvfs(settings.MEDIA_ROOT)
    redis_status, celery_status = "OK", "WARNING"
    try:
        Redis.from_url(settings.REDIS_URL).ping()
        pong = app.control.inspect().ping()
        celery_status = "OK" if pong else "WARNING"
    except Exception:
        redis_status, celery_status = "ERROR", "ERROR"
    return Response(
        {
            "pngx_version": settings.RELEASE["version"],
            "server_os": platform.platform(),
            "install_type": "bare-metal",
            "storage": {"total": media.f_frsize * media.f_blocks, "available": media.f_frsize * media.f_bavail},
            "database": {
                "type": connection.vendor,
                "url": str(connection.settings_dict["NAME"]),
                "status": "OK",
                "error": None,
                "migration_status": {
                    "latest_migration": done[-1],
                    "unapplied_migrations": [node for node in nodes if node not in done],
                },
            },
            "tasks": {
                "redis_url": settings.REDIS_URL,
                "redis_status": redis_status,
                "redis_error": None,
                "celery_status": celery_status,
                "celery_url": None,
                "celery_error": None,
                "index_status": "OK",
                "index_last_modified": None,
                "index_error": None,
                "classifier_status": "WARNING",
                "classifier_last_trained": None,
                "classifier_error": "No classifier training tasks found",
                "sanity_check_status": "WARNING",
                "sanity_check_last_run": None,
                "sanity_check_error": "No sanity check tasks found",
                "llmindex_status": "DISABLED",
                "llmindex_last_modified": None,
                "llmindex_error": None,
                "summary": {
                    "days": 30,
                    "total_count": 0,
                    "pending_count": 0,
                    "success_count": 0,
                    "failure_count": 0,
                },
            },
        }
    )


@api_view(["GET"])
def documents(request):
    found = [
        {
            "id": document.pk,
            "correspondent": None,
            "document_type": None,
            "storage_path": None,
            "title": document.title,
            "content": document.content,
            "tags": [],
            "created": document.added.date().isoformat(),
            "modified": document.modified.isoformat(),
            "added": document.added.isoformat(),
            "deleted_at": None,
            "archive_serial_number": None,
            "original_file_name": document.original_filename,
            "archived_file_name": None,
            "owner": None,
            "user_can_change": True,
            "is_shared_by_requester": False,
            "notes": [],
            "custom_fields": [],
            "page_count": None,
            "mime_type": document.mime_type,
        }
        for document in Document.objects.order_by("pk")
    ]
    identities = [each["id"] for each in found]
    return Response({"count": len(found), "next": None, "previous": None, "all": identities, "results": found})


@api_view(["POST"])
def post_document(request):
    settings.SCRATCH_DIR.mkdir(parents=True, exist_ok=True)
    sent = request.FILES["document"]
    path = Path(tempfile.mkdtemp(dir=settings.SCRATCH_DIR)) / Path(sent.name).name
    path.write_bytes(sent.read())
    task = consume_file.delay(str(path), request.data.get("title") or None)
    return Response(task.id)
