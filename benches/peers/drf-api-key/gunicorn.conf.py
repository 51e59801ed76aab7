"""PORT=8000 gunicorn -c gunicorn.conf.py service:application. Prints its address when it listens."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', 0)}"
# One for each of two cores. gunicorn advises 2 x cores + 1 for a machine of its own, but here the load
# generator and the other servers share it.
workers = 2
# The default, `sync`, closes the connection after each answer. Of 1, 2, 4 and 16 threads 4 were the fastest.
worker_class = "gthread"
threads = 4
# The application is loaded before the address is printed.
preload_app = True
# It would be in the user's home.
control_socket_disable = True


def when_ready(server):
    print("http://%s:%d" % server.LISTENERS[0].sock.getsockname()[:2], flush=True)
