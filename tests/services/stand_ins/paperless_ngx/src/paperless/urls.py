# Copyright: homelab.hybrid contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from django.urls import path
from documents import views
from rest_framework.authtoken.views import obtain_auth_token

urlpatterns = [
    path("api/schema/", views.schema),
    path("api/status/", views.status),
    path("api/token/", obtain_auth_token),
    path("api/documents/", views.documents),
    path("api/documents/post_document/", views.post_document),
    path("accounts/login/", views.login),
    path("accounts/signup/", views.signup),
    path("", views.index),
]
