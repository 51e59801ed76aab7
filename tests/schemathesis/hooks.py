"""The credential of a run, and the few values that a schema cannot describe."""

import ipaddress
import itertools
import os
import re

import requests
import schemathesis
from hypothesis import strategies as st

URL = os.environ["LATCHKEY_URL"]
KIND = os.environ["LATCHKEY_CREDENTIAL"]
ACCOUNT = {"email": "ada@example.com", "password": "correct horse battery"}
_addresses = itertools.count(int(ipaddress.ip_address("198.18.0.1")) + os.getpid() % 1000 * 60)


def sign_in(path):
    """Signs in from a new address each time, so that it is not throttled."""
    address = str(ipaddress.ip_address(next(_addresses)))
    answer = requests.post(URL + path, json=ACCOUNT, headers={"X-Forwarded-For": address}, timeout=10)
    answer.raise_for_status()
    return answer


def session():
    return sign_in("/v1/auth/login").cookies["session"]


def access_token():
    return sign_in("/api/v1/auth/login").json()["accessToken"]


def key(**body):
    cookies = {"session": _session()}
    answer = requests.post(URL + "/v1/auth/api-keys", json={"name": "schemathesis", **body}, cookies=cookies, timeout=10)
    answer.raise_for_status()
    return answer.json()["key"]


def tenant_key():
    headers = {"Authorization": "Bearer " + access_token()}
    answer = requests.post(URL + "/api/v1/apikeys", json={"name": "schemathesis"}, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()["key"]


_cache = {}


def _session():
    return _cache.setdefault("session", session())


KINDS = {
    "nothing": lambda: {},
    "session": lambda: {"Cookie": "session=" + session()},
    "session-token": lambda: {"Authorization": "Bearer " + session()},
    "access-token": lambda: {"Authorization": "Bearer " + access_token()},
    "full-key": lambda: {"X-API-Key": key()},
    "narrow-key": lambda: {"X-API-Key": key(scopes="keys:verify")},
    "tenant-key": lambda: {"X-API-Key": tenant_key()},
}

# Operations that end the credential of the call. Each call gets a new one, so that the run's own stays valid.
ENDING = {"logOut", "tokenLogOut", "revokeCurrentApiKey"}


@schemathesis.auth(refresh_interval=None)
class Credential:
    """Adds the run's credential to every operation, also if the document does not require one."""

    def get(self, case, context):
        if case.operation.definition.raw.get("operationId") in ENDING:
            return KINDS[KIND]()
        if "run" not in _cache:
            _cache["run"] = KINDS[KIND]()
        return _cache["run"]

    def set(self, case, data, context):
        case.headers = {**(case.headers or {}), **data}


def with_integers(value):
    """Turns 120.0 into 120: both are integers to a schema, but the parser accepts only 120."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: with_integers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_integers(inner) for inner in value]
    return value


@schemathesis.hook
def map_body(context, body):
    """Moves `expires_at` to the future: the server refuses a time in the past, which a schema cannot express."""
    body = with_integers(body)
    if isinstance(body, dict) and isinstance(body.get("expires_at"), str):
        if re.match(r"\d{4}-\d\d-\d\dT", body["expires_at"]):
            return {**body, "expires_at": "2996" + body["expires_at"][4:]}
    return body


networks = st.one_of(st.ip_addresses(v=4).map(lambda ip: f"{ip}/32"), st.ip_addresses().map(str), st.just("2001:db8::/32"))
schemathesis.openapi.format("network", networks)
