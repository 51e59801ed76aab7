"""djangorestframework-api-key as its quickstart sets it up, in one file: settings, one view, and the
application that gunicorn runs. POST /verify with `Authorization: Api-Key KEY` answers {"valid": true}."""

import django
from django.conf import settings
from django.core.management.utils import get_random_secret_key

settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    # Signs cookies, which are not used here.
    SECRET_KEY=get_random_secret_key(),
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
    # Sets Content-Length. The other middleware of a new project is for browsers.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": "keys.db",
            # The default would open the file again for each request.
            "CONN_MAX_AGE": None,
            "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"},
        }
    },
    USE_TZ=True,
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        # There are no users, only keys.
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

# Imported after the settings, which these modules read.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_api_key.permissions import HasAPIKey  # noqa: E402


class Verify(APIView):
    permission_classes = [HasAPIKey]

    def post(self, request):
        return Response({"valid": True})


urlpatterns = [path("verify", Verify.as_view())]
application = get_wsgi_application()
