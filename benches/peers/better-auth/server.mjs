// PORT=8000 node server.mjs: POST /verify {key} answers {valid}. Prints its address when it listens.
import { createServer } from 'node:http';
import { auth } from './auth.mjs';

// Initialises everything before the first request.
await auth.$context;

async function verify(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { key } = JSON.parse(Buffer.concat(chunks));
  const { valid } = await auth.api.verifyApiKey({ body: { key } });
  return { valid };
}

const server = createServer(async (request, response) => {
  let body;
  if (request.method !== 'POST' || request.url !== '/verify') {
    response.statusCode = 404;
    body = { error: 'not found' };
  } else {
    try {
      body = await verify(request);
    } catch {
      response.statusCode = 400;
      body = { error: 'a JSON object with a key is expected' };
    }
  }
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(body));
});

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
process.once('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
