// node seed.mjs COUNT FILE: creates the tables, one user, and COUNT keys with the plugin's own call; writes the keys to
// FILE, one per line.
import { writeFileSync } from 'node:fs';
import { getMigrations } from 'better-auth/db/migration';
import { auth } from './auth.mjs';

const [count, file] = process.argv.slice(2);
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

const { internalAdapter } = await auth.$context;
const user = await internalAdapter.createUser({ name: 'Bench', email: 'bench@example.com', emailVerified: true });
const keys = [];
for (let number = 1; number <= Number(count); number++) {
  const { key } = await auth.api.createApiKey({ body: { name: `service ${number}`, userId: user.id } });
  keys.push(`${key}\n`);
}
writeFileSync(file, keys.join(''), { mode: 0o600 });
