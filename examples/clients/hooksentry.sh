#!/usr/bin/env bash
# The calls of HookSentry's C# examples with curl, and an event that is sent with the new key. Prints one response per
# line.
set -euo pipefail

bearer() { curl -sS -H "Authorization: Bearer $LATCHKEY_ACCESS_TOKEN" "$@"; }

created=$(bearer -X POST "$LATCHKEY_URL/api/v1/apikeys" \
  -H 'Content-Type: application/json' -d '{"name": "Production Key"}')
printf '%s\n' "$created"
id=$(sed -E 's/.*"id":"([^"]*)".*/\1/' <<<"$created")
key=$(sed -E 's/.*"key":"([^"]*)".*/\1/' <<<"$created")

bearer "$LATCHKEY_URL/api/v1/apikeys?Qt=10&Pg=1&CpOrd=id&TpOrd=Desc"
printf '\n'

send() {
  curl -sS -X POST "$LATCHKEY_URL/api/v1/ingest/$LATCHKEY_TENANT_ID/github" \
    -H "X-Api-Key: $key" -H 'Content-Type: application/json' -d '{"action": "opened"}'
}
send
printf '\n'

bearer -X DELETE "$LATCHKEY_URL/api/v1/apikeys/$id"
printf '\n'

# The key is revoked now.
send
printf '\n'
