// better-auth and its API key plugin on SQLite, as their pages "SQLite" and "API Key" set them up.
import { randomBytes } from 'node:crypto';
import { apiKey } from '@better-auth/api-key';
import { betterAuth } from 'better-auth';
import Database from 'better-sqlite3';

const database = new Database('auth.db');
// The documentation of better-sqlite3 recommends WAL for speed. A check writes the row of its key, and with SQLite's
// default journal each check would wait for the disk.
database.pragma('journal_mode = WAL');

export const auth = betterAuth({
  database,
  baseURL: 'http://localhost',
  // Signs cookies, which are not used here.
  secret: process.env.BETTER_AUTH_SECRET ?? randomBytes(32).toString('hex'),
  // The default allows a key 10 requests a day.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});
