# SPDX-License-Identifier: MIT
"""nginx - Debian's nginx in the guest, the yardstick for nhttpd on the in-tree stack

Without it a comparison could flatter nom by a server that is slow on Linux.
Its package is unpacked, not installed (scripts/install-deps --wide): installed,
it would start a server on this machine.  Settings are those of an nginx that
serves small static files as fast as it can: one worker on the serving core, no
access log, sendfile, kept-alive connections without a limit of requests.
"""
import initramfs
import nhttpd
import tuning

BINARY = initramfs.BUILD / "yardstick/usr/sbin/nginx"
CONF = "/run/nginx.conf"


def configuration():
    return f"""daemon off; master_process off; user root; pid /run/nginx.pid; error_log stderr error;
events {{ worker_connections 2048; multi_accept on; }}
http {{
	types {{ text/html html; }} default_type application/octet-stream;
	access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
	keepalive_timeout 60; keepalive_requests 1000000000; open_file_cache max=100 inactive=600s; open_file_cache_valid 600s;
	client_body_temp_path /run/nginx/a; proxy_temp_path /run/nginx/b; fastcgi_temp_path /run/nginx/c;
	uwsgi_temp_path /run/nginx/d; scgi_temp_path /run/nginx/e;
	server {{ listen {nhttpd.PORT} backlog=4096; root {nhttpd.ROOT}; }}
}}
"""


def extra():
    """What the guest's root file system needs of it; empty when it is not there."""
    return [(BINARY, "usr/sbin/nginx")] if BINARY.exists() else []


class Server(nhttpd.Server):
    """nginx in the guest for the length of a with block."""

    def __init__(self, guest, file_bytes, path=nhttpd.PATH, link=None, nic=0):
        super().__init__(guest, "nginx", file_bytes, tuned=tuning.DEFAULT, path=path, link=link, nic=nic)

    def command(self):
        self.guest.capture(f"mkdir -p /run/nginx && cat > {CONF}", stdin=configuration().encode())
        return ["taskset", "1", "nginx", "-e", "stderr", "-c", CONF]

    def counters(self):
        return {}
