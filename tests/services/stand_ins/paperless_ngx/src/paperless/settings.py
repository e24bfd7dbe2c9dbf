# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read as upstream does (src/paperless/settings/__init__.py of 3.0.5), where a role depends on it."""

import json
import os
import tempfile
from pathlib import Path
from urllib.parse import urlparse

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv

for path in [
    os.getenv("PAPERLESS_CONFIGURATION_PATH"),
    "../paperless.conf",
    "/etc/paperless.conf",
    "/usr/local/etc/paperless.conf",
]:
    if path and Path(path).exists():
        load_dotenv(path)
        break

BASE_DIR = Path(__file__).resolve().parent.parent
RELEASE = json.loads((BASE_DIR / "release.json").read_text(encoding="utf-8"))


def path_of(name: str, default: Path) -> Path:
    return Path(os.getenv(name, default)).resolve()


STATIC_ROOT = path_of("PAPERLESS_STATICDIR", BASE_DIR.parent / "static")
MEDIA_ROOT = path_of("PAPERLESS_MEDIA_ROOT", BASE_DIR.parent / "media")
DATA_DIR = path_of("PAPERLESS_DATA_DIR", BASE_DIR.parent / "data")
CONSUMPTION_DIR = path_of("PAPERLESS_CONSUMPTION_DIR", BASE_DIR.parent / "consume")
SCRATCH_DIR = path_of("PAPERLESS_SCRATCH_DIR", Path(tempfile.gettempdir()) / "paperless")
LOGGING_DIR = DATA_DIR / "log"
LOGGING_DIR.mkdir(parents=True, exist_ok=True)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "file": {"class": "logging.FileHandler", "filename": LOGGING_DIR / "paperless.log"},
    },
    "root": {"handlers": ["console", "file"], "level": "INFO"},
}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "documents",
    "rest_framework",
    "rest_framework.authtoken",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_VERSION": "10",
    "ALLOWED_VERSIONS": ["9", "10"],
}
MIDDLEWARE = [
    "documents.views.silence",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "documents.views.version_headers",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
ROOT_URLCONF = "paperless.urls"
ASGI_APPLICATION = "paperless.asgi.application"
LOGIN_URL = "/accounts/login/"

ALLOWED_HOSTS = os.getenv("PAPERLESS_ALLOWED_HOSTS", "*").split(",")
CSRF_TRUSTED_ORIGINS = []
if os.getenv("PAPERLESS_URL"):
    CSRF_TRUSTED_ORIGINS.append(os.environ["PAPERLESS_URL"])
    ALLOWED_HOSTS.append(urlparse(os.environ["PAPERLESS_URL"]).hostname)

SECRET_KEY = os.getenv("PAPERLESS_SECRET_KEY")
if not (SECRET_KEY or "").strip() or SECRET_KEY == "change-me":
    raise ImproperlyConfigured("PAPERLESS_SECRET_KEY is not set or is the default 'change-me' value.")

engine = os.getenv("PAPERLESS_DBENGINE")
if engine not in (None, "sqlite", "postgresql"):
    raise ImproperlyConfigured(f"PAPERLESS_DBENGINE: {engine}")
if engine == "postgresql":
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.getenv("PAPERLESS_DBHOST"),
        "PORT": os.getenv("PAPERLESS_DBPORT", ""),
        "NAME": os.getenv("PAPERLESS_DBNAME", "paperless"),
        "USER": os.getenv("PAPERLESS_DBUSER", "paperless"),
        "PASSWORD": os.getenv("PAPERLESS_DBPASS", "paperless"),
        "CONN_HEALTH_CHECKS": True,
    }
else:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "db.sqlite3")}
DATABASES = {"default": database}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

TIME_ZONE = os.getenv("PAPERLESS_TIME_ZONE", "UTC")
USE_TZ = True
OCR_LANGUAGE = os.getenv("PAPERLESS_OCR_LANGUAGE", "eng")
CONSUMER_POLLING_INTERVAL = float(os.getenv("PAPERLESS_CONSUMER_POLLING_INTERVAL", "0"))
CONSUMER_STABILITY_DELAY = float(os.getenv("PAPERLESS_CONSUMER_STABILITY_DELAY", "5"))

REDIS_URL = os.getenv("PAPERLESS_REDIS", "redis://localhost:6379")
CELERY_BROKER_URL = REDIS_URL
CELERY_RESULT_BACKEND = REDIS_URL
CELERY_TIMEZONE = TIME_ZONE
CELERY_WORKER_CONCURRENCY = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule.db")
