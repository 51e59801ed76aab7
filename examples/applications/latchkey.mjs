// Checks the API keys of an application's callers with Latchkey. Node.js 18 or newer, no dependencies: copy it.
//
//   const latchkey = new Latchkey({ url: 'https://keys.example.com', key: process.env.LATCHKEY_KEY });
//   const outcome = await latchkey.verify(key, { scopes: 'reports:read' });
//   if (!outcome.valid) console.log(outcome.code); // NOT_FOUND, REVOKED, …
//
// or for every request, with express (app.use) and with Node's own http (demo.mjs):
//
//   app.use('/reports', protect(latchkey, { scopes: 'reports:read' }));
//
// `key` is the application's own: it needs the scope keys:verify and no other. Nothing is remembered from one
// check to the next, so a revoked key is refused by the next one.
import http from 'node:http';
import https from 'node:https';

// An outcome has a few hundred bytes, and metadata of 4 KiB at most.
const LONGEST_ANSWER = 64 * 1024;
// Far more than a key has. What is longer is refused unasked, so that nobody can make Latchkey refuse to answer.
const LONGEST_KEY = 1024;
// Latchkey closes a connection that was silent for 60 s; it must not do so just when the next check is sent.
const KEEP_CONNECTION = 30_000;

/** Latchkey could not be asked, or did not answer as it should. It says nothing about the caller's key. */
export class LatchkeyError extends Error {
  name = 'LatchkeyError';

  /** `status` is what was answered, if anything was. No text here has a key in it, nor what somebody sent. */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** A Latchkey server and the connections to it. One for the whole application. */
export class Latchkey {
  // Private: an object that is logged shows none of it.
  #url;
  #headers;
  #timeout;
  #agent;

  /** `timeout` is how many milliseconds a check may take, whatever it waits for. */
  constructor({ url, key, timeout = 2000 }) {
    this.#url = new URL('/v1/keys/verify', url);
    // Node would say which header it cannot send, and with it the key.
    if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) {
      throw new TypeError("the application's own key is missing, or has characters that no key has");
    }
    this.#headers = { 'Content-Type': 'application/json', 'X-API-Key': key };
    this.#timeout = timeout;
    const { Agent } = this.#url.protocol === 'https:' ? https : http;
    this.#agent = new Agent({ keepAlive: true, timeout: KEEP_CONNECTION });
  }

  /**
   * Asks about one key. Answers the outcome: `valid`, `code`, and whose key it is.
   *
   * - `scopes`: what the key must be allowed to do, names separated by spaces
   * - `environment`: 'live' or 'test'
   * - `ip`: the address of the caller; a key with an allowlist is refused without it
   * - `cost`: how many requests this one counts as
   *
   * Throws a LatchkeyError whenever there is no outcome.
   */
  async verify(key, { scopes, environment, ip, cost, ...unknown } = {}) {
    refuseUnknown(unknown);
    const body = JSON.stringify({ key, scopes, environment, ip, cost });
    const { status, text } = await this.#post(body);
    if (status === 401 || status === 403) {
      throw new LatchkeyError(
        `the application's own key is refused (${status}): it must be a good one that has the scope keys:verify`,
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
        // Closed by the server since the last check: a new connection will do.
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
          if (text.length > LONGEST_ANSWER) request.destroy(new LatchkeyError('an answer without end'));
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

/** A misspelt option would check less than was meant, so it is an error. */
function refuseUnknown(options) {
  const [name] = Object.keys(options);
  if (name !== undefined) throw new TypeError(`there is no option ${name}`);
}

/** Anything that is no outcome is an error, and so is one that contradicts itself. */
function readOutcome(text) {
  let outcome;
  try {
    outcome = JSON.parse(text);
  } catch {
    // Below: the parser's words would quote the answer.
  }
  const known = typeof outcome?.code === 'string' && typeof outcome.valid === 'boolean';
  if (!known || outcome.valid !== (outcome.code === 'VALID')) {
    throw new LatchkeyError('Latchkey answers with something else than an outcome', 200);
  }
  return outcome;
}

/**
 * Middleware that lets a request through when its key is good, with the outcome as `request.apiKey`, and answers
 * it itself when not: 401, 403, 429, or 503 when Latchkey cannot be asked.
 *
 * `scopes`, `environment` and `cost` are those of `verify`. `ip` finds the caller's address in a request: behind
 * a proxy give a function that does (express: `(request) => request.ip`, with `trust proxy` set). `log` is given
 * one line for each 503.
 */
export function protect(
  latchkey,
  { scopes, environment, cost, ip = peerAddress, log = console.error, ...unknown } = {},
) {
  refuseUnknown(unknown);
  return async (request, response, next) => {
    const key = presentedKey(request);
    if (!key || key.length > LONGEST_KEY) return refuse(response, 401, 'unauthenticated');
    let outcome;
    try {
      outcome = await latchkey.verify(key, { scopes, environment, cost, ip: ip(request) });
    } catch (error) {
      // Fail closed. Of an error that is not ours only the kind is told: nobody knows what its text quotes.
      log(`a key could not be checked: ${error instanceof LatchkeyError ? error.message : error.name}`);
      return refuse(response, 503, 'unavailable');
    }
    if (!outcome.valid) return refuseOutcome(response, outcome);
    request.apiKey = outcome;
    next();
  };
}

function refuseOutcome(response, outcome) {
  switch (outcome.code) {
    // Why a key is no good is nobody's business who does not have a good one.
    case 'NOT_FOUND':
    case 'REVOKED':
    case 'DISABLED':
    case 'EXPIRED':
      return refuse(response, 401, 'unauthenticated');
    case 'RATE_LIMITED':
    case 'QUOTA_EXCEEDED':
      response.setHeader('Retry-After', outcome.retry_after ?? 1);
      return refuse(response, 429, outcome.code.toLowerCase());
    // WRONG_ENVIRONMENT, FORBIDDEN, INSUFFICIENT_SCOPES, and whatever a later Latchkey refuses.
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

/** `X-API-Key`, or else a Bearer token. One that is there and bad does not make the other count. */
function presentedKey({ headers }) {
  return headers['x-api-key'] ?? /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
}

/** The peer: an IPv4 address also where the socket takes both kinds, an IPv6 address without its interface. */
function peerAddress({ socket }) {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)|%.*$/g, '');
}
