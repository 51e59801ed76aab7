// hookstream's API reference, "Create API key": JavaScript.
// Adapted: host, token, and the ids of the organisation and the environment.
const { LATCHKEY_URL, LATCHKEY_TOKEN, LATCHKEY_ORG_ID, LATCHKEY_ENV_ID } = process.env;

const response = await fetch(`${LATCHKEY_URL}/v1/auth/api-keys`, {
  method: 'POST',
  headers: {
    "Authorization": `Bearer ${LATCHKEY_TOKEN}`,
    "Content-Type": "application/json"
  },
  body: JSON.stringify({
    "name": "Production key",
    "org_id": LATCHKEY_ORG_ID,
    "env_id": LATCHKEY_ENV_ID,
    "scopes": "*"
  })
});
const data = await response.json();
console.log(data);
