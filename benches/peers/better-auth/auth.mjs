// better-auth and its API key plugin on SQLite, as their pages "SQLite" and "API Key" set them up.
import { randomBytes } from 'node:crypto';
import { apiKey } from '@better-auth/api-key';
import { betterAuth } from 'better-auth';
import Database from 'better-sqlite3';

const database = new Database('auth.db');
// What better-sqlite3 asks for where speed counts. The check of a key writes its row, and with the journal
// that is SQLite's default each check would wait for the disk.
database.pragma('journal_mode = WAL');

export const auth = betterAuth({
  database,
  baseURL: 'http://localhost',
  // Signs cookies, of which there are none here.
  secret: process.env.BETTER_AUTH_SECRET ?? randomBytes(32).toString('hex'),
  // Otherwise a key has 10 requests a day.
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});
