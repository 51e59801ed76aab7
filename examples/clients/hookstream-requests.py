# hookstream's API reference, "Create API key": Python.
# Adapted: host, token, and the ids of the organisation and the environment.
import os
import requests

headers = {
    'Authorization': f'Bearer {os.environ["LATCHKEY_TOKEN"]}'
}
response = requests.post(f'{os.environ["LATCHKEY_URL"]}/v1/auth/api-keys', headers=headers, json={
    "name": "Production key",
    "org_id": os.environ["LATCHKEY_ORG_ID"],
    "env_id": os.environ["LATCHKEY_ENV_ID"],
    "scopes": "*"
})
print(response.json())
