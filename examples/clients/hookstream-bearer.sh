#!/usr/bin/env bash
# hookstream's API reference, "Create API key": curl with a Bearer token.
# Adapted: host, token, and the ids of the organisation and the environment.
set -euo pipefail

curl -sS -X POST "$LATCHKEY_URL/v1/auth/api-keys" \
-H "Authorization: Bearer $LATCHKEY_TOKEN" \
-H 'Content-Type: application/json' \
-d '{
"name": "Production key",
"org_id": "'"$LATCHKEY_ORG_ID"'",
"env_id": "'"$LATCHKEY_ENV_ID"'",
"scopes": "*"
}'
