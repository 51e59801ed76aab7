"""PORT=8000 gunicorn -c gunicorn.conf.py service:application. Prints its address when it listens."""

import os

bind = f"127.0.0.1:{os.environ.get('PORT', 0)}"
# One for each of two cores. gunicorn recommends 2 x cores + 1 for a dedicated machine, but the load generator and the
# other servers share this one.
workers = 2
# The default, `sync`, closes the connection after each response. 4 threads were the fastest of 1, 2, 4 and 16.
worker_class = "gthread"
threads = 4
# Loads the application before the address is printed.
preload_app = True
# The control socket would be in the user's home folder.
control_socket_disable = True


def when_ready(server):
    print("http://%s:%d" % server.LISTENERS[0].sock.getsockname()[:2], flush=True)
