"""An application with Latchkey: GET / needs a key with the scope reports:read.

    LATCHKEY_URL=http://127.0.0.1:3000 LATCHKEY_KEY=hs_live_… PORT=8000 python3 demo.py
"""

import json
import os
import socketserver
from wsgiref.simple_server import WSGIServer, make_server

from latchkey import Latchkey, Protect


def application(environ, start_response):
    body = json.dumps({"hello": environ["latchkey.key"]["name"]}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


latchkey = Latchkey(os.environ["LATCHKEY_URL"], os.environ["LATCHKEY_KEY"])
protected = Protect(application, latchkey, scopes="reports:read")
with make_server("127.0.0.1", int(os.environ.get("PORT", 0)), protected, server_class=Server) as server:
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
