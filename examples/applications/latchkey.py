"""Checks the API keys of an application's callers with Latchkey. Python 3.10 or newer, no dependencies: copy it.

    latchkey = Latchkey("https://keys.example.com", os.environ["LATCHKEY_KEY"])
    outcome = latchkey.verify(key, scopes="reports:read")
    if not outcome["valid"]:
        print(outcome["code"])  # NOT_FOUND, REVOKED, …

or for every request of a WSGI application (Flask: app.wsgi_app = Protect(app.wsgi_app, latchkey, …)):

    application = Protect(application, latchkey, scopes="reports:read")

The key in `LATCHKEY_KEY` is the application's own: it needs the scope keys:verify and no other. Nothing is
remembered from one check to the next, so a revoked key is refused by the next one.
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

# An outcome has a few hundred bytes, and metadata of 4 KiB at most.
LONGEST_ANSWER = 64 * 1024
# Far more than a key has. What is longer is refused unasked, so that nobody can make Latchkey refuse to answer.
LONGEST_KEY = 1024
# Latchkey closes a connection that was silent for 60 s; it must not do so just when the next check is sent.
KEEP_CONNECTION = 30

log = logging.getLogger("latchkey")


class LatchkeyError(Exception):
    """Latchkey could not be asked, or did not answer as it should. It says nothing about the caller's key.

    `status` is what was answered, if anything was. No text here has a key in it, nor what somebody sent.
    """

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class Latchkey:
    """A Latchkey server and the connections to it. One for the whole application; threads may share it."""

    def __init__(self, url, key, *, timeout=2.0):
        """`timeout` is how many seconds each step may take: connecting, sending, each part of the answer."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address of Latchkey begins with http:// or https://")
        # http.client would say which header it cannot send, and with it the key.
        if not re.fullmatch(r"[\x21-\x7e]+", key or ""):
            raise ValueError("the application's own key is missing, or has characters that no key has")
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._server, self._timeout = (parts.hostname, parts.port), timeout
        self._headers = {"Content-Type": "application/json", "X-API-Key": key}
        # Those that nobody uses just now, and since when. A deque needs no lock.
        self._idle = collections.deque()

    def verify(self, key, *, scopes=None, environment=None, ip=None, cost=None):
        """Asks about one key. Returns the outcome: `valid`, `code`, and whose key it is.

        - `scopes`: what the key must be allowed to do, names separated by spaces
        - `environment`: "live" or "test"
        - `ip`: the address of the caller; a key with an allowlist is refused without it
        - `cost`: how many requests this one counts as

        Raises LatchkeyError whenever there is no outcome.
        """
        asked = {"key": key, "scopes": scopes, "environment": environment, "ip": ip, "cost": cost}
        body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
        try:
            status, answer = self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            # Only its kind: its words would quote the answer.
            raise LatchkeyError(f"no answer from {self._server[0]}: {type(error).__name__}") from None
        if status in (401, 403):
            needed = "it must be a good one that has the scope keys:verify"
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
                # Closed by the server since the last check: a new connection will do.
                pass
        return self._send(self._connection(*self._server, timeout=self._timeout), body)

    def _kept(self):
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < KEEP_CONNECTION:
                return connection
            connection.close()

    def _send(self, connection, body):
        try:
            connection.request("POST", "/v1/keys/verify", body, self._headers)
            response = connection.getresponse()
            answer = response.read(LONGEST_ANSWER)
        except BaseException:
            connection.close()
            raise
        # Not read to its end, or the last one: nobody else can use the connection.
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            self._idle.append((connection, time.monotonic()))
        return response.status, answer


def read_outcome(answer):
    """Anything that is no outcome is an error, and so is one that contradicts itself."""
    try:
        outcome = json.loads(answer)
    except ValueError:
        outcome = None
    if isinstance(outcome, dict):
        valid, code = outcome.get("valid"), outcome.get("code")
        if isinstance(valid, bool) and isinstance(code, str) and valid == (code == "VALID"):
            return outcome
    raise LatchkeyError("Latchkey answers with something else than an outcome", 200)


def presented_key(environ):
    """`X-API-Key`, or else a Bearer token. One that is there and bad does not make the other count."""
    if "HTTP_X_API_KEY" in environ:
        return environ["HTTP_X_API_KEY"]
    bearer = re.fullmatch(r"Bearer +(\S+)", environ.get("HTTP_AUTHORIZATION", ""), re.IGNORECASE)
    return bearer and bearer[1]


def peer_address(environ):
    """The peer: an IPv4 address also where the socket takes both kinds, an IPv6 address without its interface."""
    return re.sub(r"^::ffff:(?=\d+\.)|%.*$", "", environ.get("REMOTE_ADDR", "")) or None


class Protect:
    """WSGI middleware that lets a request through when its key is good, with the outcome in
    `environ["latchkey.key"]`, and answers it itself when not: 401, 403, 429, or 503 when Latchkey cannot be asked.

    `scopes`, `environment` and `cost` are those of `verify`. `ip` finds the caller's address in `environ`: behind
    a proxy give a function that does.
    """

    def __init__(self, application, latchkey, *, scopes=None, environment=None, cost=None, ip=peer_address):
        self._application, self._latchkey, self._ip = application, latchkey, ip
        self._demand = {"scopes": scopes, "environment": environment, "cost": cost}

    def __call__(self, environ, start_response):
        key = presented_key(environ)
        if not key or len(key) > LONGEST_KEY:
            return refuse(start_response, 401, "unauthenticated")
        try:
            outcome = self._latchkey.verify(key, ip=self._ip(environ), **self._demand)
        except Exception as error:
            # Fail closed. Of an error that is not ours only the kind is told: nobody knows what its text quotes.
            known = isinstance(error, LatchkeyError)
            log.error("a key could not be checked: %s", error if known else type(error).__name__)
            return refuse(start_response, 503, "unavailable")
        if outcome["valid"]:
            environ["latchkey.key"] = outcome
            return self._application(environ, start_response)
        return refuse_outcome(start_response, outcome)


def refuse_outcome(start_response, outcome):
    code = outcome["code"]
    # Why a key is no good is nobody's business who does not have a good one.
    if code in ("NOT_FOUND", "REVOKED", "DISABLED", "EXPIRED"):
        return refuse(start_response, 401, "unauthenticated")
    if code in ("RATE_LIMITED", "QUOTA_EXCEEDED"):
        return refuse(start_response, 429, code.lower(), [("Retry-After", str(outcome.get("retry_after", 1)))])
    # WRONG_ENVIRONMENT, FORBIDDEN, INSUFFICIENT_SCOPES, and whatever a later Latchkey refuses.
    missing = {"missing_scopes": outcome["missing_scopes"]} if "missing_scopes" in outcome else {}
    return refuse(start_response, 403, code.lower(), **missing)


def refuse(start_response, status, code, headers=(), **more):
    title = http.HTTPStatus(status).phrase
    body = json.dumps({"status": status, "title": title, "code": code, **more}).encode()
    challenge = [("WWW-Authenticate", "Bearer")] if status == 401 else []
    content = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {title}", [*content, *challenge, *headers])
    return [body]
