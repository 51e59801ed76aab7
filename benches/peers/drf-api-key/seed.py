"""seed.py COUNT FILE: creates the tables and COUNT keys; writes the keys to FILE, one per line."""

import os
import sys

import service  # noqa: F401  (its settings)
from django.core.management import call_command
from django.db import transaction
from rest_framework_api_key.models import APIKey

count, file = int(sys.argv[1]), sys.argv[2]
call_command("migrate", verbosity=0)
with transaction.atomic():
    keys = [APIKey.objects.create_key(name=f"service {number}")[1] for number in range(1, count + 1)]
with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
    out.writelines(f"{key}\n" for key in keys)
