// Checks the API keys of an application's callers with Latchkey. Node.js 18 or newer, no dependencies: copy the file.
//
//   const latchkey = new Latchkey({ url: 'https://keys.example.com', key: process.env.LATCHKEY_KEY });
//   const outcome = await latchkey.verify(key, { scopes: 'reports:read' });
//   if (!outcome.valid) console.log(outcome.code); // NOT_FOUND, REVOKED, …
//
// or for every request, with express (app.use) and with Node's own http (demo.mjs):
//
//   app.use('/reports', protect(latchkey, { scopes: 'reports:read' }));
//
// `key` is the application's own key: it needs the scope keys:verify and no other. The client caches nothing, so a
// revoked key is refused at the next check.
import http from 'node:http';
import https from 'node:https';

// Largest accepted response. An outcome has a few hundred bytes, and at most 4 KiB of metadata.
const MAX_RESPONSE_LENGTH = 64 * 1024;
// Far above real keys. A longer one is refused without asking Latchkey, which would refuse a body that is too large.
const MAX_KEY_LENGTH = 1024;
// Milliseconds. Latchkey closes an idle connection after 60 s, which must not hit the next check.
const IDLE_TIMEOUT = 30_000;

/** The request to Latchkey failed, or its response was invalid. Says nothing about the caller's key. */
export class LatchkeyError extends Error {
  name = 'LatchkeyError';

  /** `status` is the status of the response, if there was one. The message never contains a key or a response. */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** A Latchkey server and the connections to it. Create one for the whole application. */
export class Latchkey {
  // Private, so that a logged object does not show the key.
  #url;
  #headers;
  #timeout;
  #agent;

  /** `timeout` is the longest duration of a check, in milliseconds. */
  constructor({ url, key, timeout = 2000 }) {
    this.#url = new URL('/v1/keys/verify', url);
    // Node's own error would quote the header, and with it the key.
    if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) {
      throw new TypeError("the application's own key is missing, or has invalid characters");
    }
    this.#headers = { 'Content-Type': 'application/json', 'X-API-Key': key };
    this.#timeout = timeout;
    const { Agent } = this.#url.protocol === 'https:' ? https : http;
    this.#agent = new Agent({ keepAlive: true, timeout: IDLE_TIMEOUT });
  }

  /**
   * Checks one key. Returns the outcome: `valid`, `code`, and the key's id, name, organisation and environment.
   *
   * - `scopes`: required scopes, separated by spaces
   * - `environment`: 'live' or 'test'
   * - `ip`: the address of the caller; a key with an allowlist is refused without it
   * - `cost`: the number of requests that this one counts as
   *
   * Throws a LatchkeyError if there is no outcome.
   */
  async verify(key, { scopes, environment, ip, cost, ...unknown } = {}) {
    refuseUnknown(unknown);
    const body = JSON.stringify({ key, scopes, environment, ip, cost });
    const { status, text } = await this.#post(body);
    if (status === 401 || status === 403) {
      throw new LatchkeyError(
        `the application's own key is refused (${status}): it must be valid and have the scope keys:verify`,
        status,
      );
    }
    if (status !== 200) throw new LatchkeyError(`Latchkey answers with ${status}`, status);
    return readOutcome(text);
  }

  async #post(body) {
    const signal = AbortSignal.timeout(this.#timeout);
    try {
      return await this.#exchange(body, signal, this.#agent).catch((error) => {
        // The server has closed the idle connection: repeat on a new one.
        if (error.unsent && !signal.aborted) return this.#exchange(body, signal, false);
        throw error;
      });
    } catch (error) {
      if (error instanceof LatchkeyError) throw error;
      const why = signal.aborted ? `after ${this.#timeout} ms` : (error.code ?? error.name);
      throw new LatchkeyError(`no answer from ${this.#url.host}: ${why}`);
    }
  }

  #exchange(body, signal, agent) {
    const { request: open } = this.#url.protocol === 'https:' ? https : http;
    return new Promise((resolve, reject) => {
      const options = { method: 'POST', agent, signal, headers: this.#headers };
      const request = open(this.#url, options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part) => {
          text += part;
          if (text.length > MAX_RESPONSE_LENGTH) request.destroy(new LatchkeyError('the response is too large'));
        });
        response.on('end', () => resolve({ status: response.statusCode, text }));
        response.on('error', reject);
      });
      request.on('error', (error) => {
        error.unsent = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        reject(error);
      });
      request.end(body);
    });
  }
}

/** Throws at an unknown option, because a misspelt one would check less than intended. */
function refuseUnknown(options) {
  const [name] = Object.keys(options);
  if (name !== undefined) throw new TypeError(`there is no option ${name}`);
}

/** Parses an outcome; throws if it is invalid or contradicts itself. */
function readOutcome(text) {
  let outcome;
  try {
    outcome = JSON.parse(text);
  } catch {
    // The error below, because the parser's message would quote the response.
  }
  const known = typeof outcome?.code === 'string' && typeof outcome.valid === 'boolean';
  if (!known || outcome.valid !== (outcome.code === 'VALID')) {
    throw new LatchkeyError('Latchkey sent a response that is not an outcome', 200);
  }
  return outcome;
}

/**
 * Middleware. Passes a request with a valid key on, with the outcome as `request.apiKey`, and refuses others: 401, 403,
 * 429, or 503 when Latchkey gives no outcome.
 *
 * `scopes`, `environment` and `cost` are those of `verify`. `ip` finds the caller's address in a request; behind a
 * proxy, pass your own function (express: `(request) => request.ip`, with `trust proxy` set). `log` receives one line
 * for each 503.
 */
export function protect(
  latchkey,
  { scopes, environment, cost, ip = peerAddress, log = console.error, ...unknown } = {},
) {
  refuseUnknown(unknown);
  return async (request, response, next) => {
    const key = presentedKey(request);
    if (!key || key.length > MAX_KEY_LENGTH) return refuse(response, 401, 'unauthenticated');
    let outcome;
    try {
      outcome = await latchkey.verify(key, { scopes, environment, cost, ip: ip(request) });
    } catch (error) {
      // Other errors are logged by their name only, because their text may contain a key.
      const reason = error instanceof LatchkeyError ? error.message : error.name;
      log(`cannot check a key with Latchkey; the request is refused (503): ${reason}`);
      return refuse(response, 503, 'unavailable');
    }
    if (!outcome.valid) return refuseOutcome(response, outcome);
    request.apiKey = outcome;
    next();
  };
}

function refuseOutcome(response, outcome) {
  switch (outcome.code) {
    // One response for all reasons, which a caller without a valid key must not learn.
    case 'NOT_FOUND':
    case 'REVOKED':
    case 'DISABLED':
    case 'EXPIRED':
      return refuse(response, 401, 'unauthenticated');
    case 'RATE_LIMITED':
    case 'QUOTA_EXCEEDED':
      response.setHeader('Retry-After', outcome.retry_after ?? 1);
      return refuse(response, 429, outcome.code.toLowerCase());
    // WRONG_ENVIRONMENT, FORBIDDEN, INSUFFICIENT_SCOPES, and codes of later versions.
    default:
      return refuse(response, 403, outcome.code.toLowerCase(), { missing_scopes: outcome.missing_scopes });
  }
}

function refuse(response, status, code, more) {
  response.statusCode = status;
  if (status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
  response.setHeader('Content-Type', 'application/problem+json');
  response.end(JSON.stringify({ status, title: http.STATUS_CODES[status], code, ...more }));
}

/** Returns `X-API-Key`, or else a Bearer token. With an invalid `X-API-Key`, the Bearer token is ignored. */
function presentedKey({ headers }) {
  return headers['x-api-key'] ?? /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

/** Returns the peer address: IPv4 also on a dual-stack socket, IPv6 without the zone. */
function peerAddress({ socket }) {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)|%.*$/g, '');
}
