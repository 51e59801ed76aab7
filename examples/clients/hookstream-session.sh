#!/usr/bin/env bash
# hookstream's documentation, "API Keys": create, list and revoke with curl and a session cookie.
# Adapted: host and credentials. The id in the last call comes from the response to the first one.
set -euo pipefail

created=$(curl -sS -X POST "$LATCHKEY_URL/v1/auth/api-keys" \
  -H "Content-Type: application/json" \
  --cookie "session=$LATCHKEY_SESSION" \
  -d '{"name": "Production Backend"}')
printf '%s\n' "$created"
id=$(grep -o 'ak_[0-9a-f]\{16\}' <<<"$created")

curl -sS "$LATCHKEY_URL/v1/auth/api-keys" \
  --cookie "session=$LATCHKEY_SESSION"
printf '\n'

curl -sS -X DELETE "$LATCHKEY_URL/v1/auth/api-keys/$id" \
  --cookie "session=$LATCHKEY_SESSION"
printf '\n'
