// An application with Latchkey: GET / needs a key with the scope reports:read.
//
//   LATCHKEY_URL=http://127.0.0.1:3000 LATCHKEY_KEY=hs_live_… PORT=8000 node demo.mjs
import { createServer } from 'node:http';
import { Latchkey, protect } from './latchkey.mjs';

const latchkey = new Latchkey({ url: process.env.LATCHKEY_URL, key: process.env.LATCHKEY_KEY });
const guard = protect(latchkey, { scopes: 'reports:read' });

const server = createServer((request, response) => {
  guard(request, response, () => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ hello: request.apiKey.name }));
  });
});
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
