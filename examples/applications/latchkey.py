"""Checks the API keys of an application's callers with Latchkey. Python 3.10 or newer, no dependencies: copy the file.

    latchkey = Latchkey("https://keys.example.com", os.environ["LATCHKEY_KEY"])
    outcome = latchkey.verify(key, scopes="reports:read")
    if not outcome["valid"]:
        print(outcome["code"])  # NOT_FOUND, REVOKED, …

or for every request of a WSGI application (Flask: app.wsgi_app = Protect(app.wsgi_app, latchkey, …)):

    application = Protect(application, latchkey, scopes="reports:read")

The key in `LATCHKEY_KEY` is the application's own: it needs the scope keys:verify and no other. The client caches
nothing, so a revoked key is refused at the next check.
"""

import collections
import http
import http.client
import json
import logging
import re
import time
from urllib.parse import urlsplit

__all__ = ["Latchkey", "LatchkeyError", "Protect"]

# Largest accepted response, in bytes. An outcome has a few hundred, and at most 4 KiB of metadata.
MAX_RESPONSE_BYTES = 64 * 1024
# Far above real keys. A longer one is refused without asking Latchkey, which would refuse a body that is too large.
MAX_KEY_LENGTH = 1024
# Seconds. Latchkey closes an idle connection after 60 s, which must not hit the next check.
IDLE_TIMEOUT = 30

log = logging.getLogger("latchkey")


class LatchkeyError(Exception):
    """The request to Latchkey failed, or its response was invalid. Says nothing about the caller's key.

    `status` is the status of the response, if there was one. The message never contains a key or a response.
    """

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class Latchkey:
    """A Latchkey server and the connections to it. Create one for the whole application; threads may share it."""

    def __init__(self, url, key, *, timeout=2.0):
        """`timeout` is the longest duration of a step, in seconds: connecting, sending, each part of the response."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address of Latchkey begins with http:// or https://")
        # http.client's own error would quote the header, and with it the key.
        if not re.fullmatch(r"[\x21-\x7e]+", key or ""):
            raise ValueError("the application's own key is missing, or has invalid characters")
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._server, self._timeout = (parts.hostname, parts.port), timeout
        self._headers = {"Content-Type": "application/json", "X-API-Key": key}
        # Idle connections, and the time since when. A deque needs no lock.
        self._idle = collections.deque()

    def verify(self, key, *, scopes=None, environment=None, ip=None, cost=None):
        """Checks one key. Returns the outcome: `valid`, `code`, and the key's id, name, organisation and environment.

        - `scopes`: required scopes, separated by spaces
        - `environment`: "live" or "test"
        - `ip`: the address of the caller; a key with an allowlist is refused without it
        - `cost`: the number of requests that this one counts as

        Raises LatchkeyError if there is no outcome.
        """
        asked = {"key": key, "scopes": scopes, "environment": environment, "ip": ip, "cost": cost}
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        try:
            status, answer = self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            # Only the kind of the error, because its text would quote the response.
            raise LatchkeyError(f"no answer from {self._server[0]}: {type(error).__name__}") from None
        if status in (401, 403):
            needed = "it must be valid and have the scope keys:verify"
            raise LatchkeyError(f"the application's own key is refused ({status}): {needed}", status)
        if status != 200:
            raise LatchkeyError(f"Latchkey answers with {status}", status)
        return read_outcome(answer)

    def _exchange(self, body):
        kept = self._kept()
        if kept is not None:
            try:
                return self._send(kept, body)
            except ConnectionError:
                # The server has closed the idle connection: repeat on a new one.
                pass
        return self._send(self._connection(*self._server, timeout=self._timeout), body)

    def _kept(self):
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < IDLE_TIMEOUT:
                return connection
            connection.close()

    def _send(self, connection, body):
        try:
            connection.request("POST", "/v1/keys/verify", body, self._headers)
            response = connection.getresponse()
            answer = response.read(MAX_RESPONSE_BYTES)
        except BaseException:
            connection.close()
            raise
        # A connection with an unread rest, or that the server closes, cannot be reused.
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            self._idle.append((connection, time.monotonic()))
        return response.status, answer


def read_outcome(answer):
    """Parses an outcome; raises LatchkeyError if it is invalid or contradicts itself."""
    try:
        outcome = json.loads(answer)
    except ValueError:
        outcome = None
    if isinstance(outcome, dict):
        valid, code = outcome.get("valid"), outcome.get("code")
        if isinstance(valid, bool) and isinstance(code, str) and valid == (code == "VALID"):
            return outcome
    raise LatchkeyError("Latchkey sent a response that is not an outcome", 200)


def presented_key(environ):
    """Returns `X-API-Key`, or else a Bearer token. With an invalid `X-API-Key`, the Bearer token is ignored."""
    if "HTTP_X_API_KEY" in environ:
        return environ["HTTP_X_API_KEY"]
    bearer = re.fullmatch(r"Bearer +(\S+)", environ.get("HTTP_AUTHORIZATION", ""), re.IGNORECASE)
    return bearer and bearer[1]


def peer_address(environ):
    """Returns the peer address: IPv4 also on a dual-stack socket, IPv6 without the zone."""
    return re.sub(r"^::ffff:(?=\d+\.)|%.*$", "", environ.get("REMOTE_ADDR", "")) or None


class Protect:
    """WSGI middleware. Passes a request with a valid key on, with the outcome in `environ["latchkey.key"]`, and refuses
    others: 401, 403, 429, or 503 when Latchkey gives no outcome.

    `scopes`, `environment` and `cost` are those of `verify`. `ip` finds the caller's address in `environ`; behind a
    proxy, pass your own function.
    """

    def __init__(self, application, latchkey, *, scopes=None, environment=None, cost=None, ip=peer_address):
        self._application, self._latchkey, self._ip = application, latchkey, ip
        self._demand = {"scopes": scopes, "environment": environment, "cost": cost}

    def __call__(self, environ, start_response):
        key = presented_key(environ)
        if not key or len(key) > MAX_KEY_LENGTH:
            return refuse(start_response, 401, "unauthenticated")
        try:
            outcome = self._latchkey.verify(key, ip=self._ip(environ), **self._demand)
        except Exception as error:
            # Other errors are logged by their kind only, because their text may contain a key.
            reason = error if isinstance(error, LatchkeyError) else type(error).__name__
            log.error("cannot check a key with Latchkey; the request is refused (503): %s", reason)
            return refuse(start_response, 503, "unavailable")
        if outcome["valid"]:
            environ["latchkey.key"] = outcome
            return self._application(environ, start_response)
        return refuse_outcome(start_response, outcome)


def refuse_outcome(start_response, outcome):
    code = outcome["code"]
    # One response for all reasons, which a caller without a valid key must not learn.
    if code in ("NOT_FOUND", "REVOKED", "DISABLED", "EXPIRED"):
        return refuse(start_response, 401, "unauthenticated")
    if code in ("RATE_LIMITED", "QUOTA_EXCEEDED"):
        return refuse(start_response, 429, code.lower(), [("Retry-After", str(outcome.get("retry_after", 1)))])
    # WRONG_ENVIRONMENT, FORBIDDEN, INSUFFICIENT_SCOPES, and codes of later versions.
    missing = {"missing_scopes": outcome["missing_scopes"]} if "missing_scopes" in outcome else {}
    return refuse(start_response, 403, code.lower(), **missing)


def refuse(start_response, status, code, headers=(), **more):
    title = http.HTTPStatus(status).phrase
    body = json.dumps({"status": status, "title": title, "code": code, **more}).encode()
    challenge = [("WWW-Authenticate", "Bearer")] if status == 401 else []
    content = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {title}", [*content, *challenge, *headers])
    return [body]
