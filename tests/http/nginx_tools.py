"""nginx with the example configuration in front of a real `ml-dash serve`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

from http_tools import ROOT, Client
from test_serve import COMMAND, Command

NAME = "dash.example.org"
EXAMPLE = ROOT / "examples/server/nginx.conf"

# What surrounds the example in a distribution's own nginx.conf, without root and in one process.
FRAME = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format counted escape=json '{{"status":$status,"to":"$upstream_addr",'
        '"upstream_status":"$upstream_status","request":"$request"}}';
    access_log {folder}/access.log counted;
    include {folder}/site.conf;
}}
"""


def find_nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Behind:
    """The server (`server`), nginx before it on `port`, and a user with a token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        data = folder / "data"
        self.server = Command(
            folder, "--public-url", f"https://{NAME}", "--trusted-proxy", "127.0.0.1"
        )
        admin = [COMMAND, "user", "create", "ada", "--no-password", "--data", data]
        subprocess.run(admin, check=True, capture_output=True)
        made = subprocess.run(
            [COMMAND, "token", "create", "ada", "--json", "--data", data],
            check=True,
            capture_output=True,
            text=True,
        )
        self.token = json.loads(made.stdout)["token"]
        self.port = free_port()
        self.start_nginx()

    def start_nginx(self) -> None:
        folder = self.folder
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
            + ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"]
            + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True,
            capture_output=True,
        )
        (folder / "site.conf").write_text(self.site(EXAMPLE.read_text()))
        (folder / "nginx.conf").write_text(FRAME.format(folder=folder))
        command = [find_nginx(), "-c", folder / "nginx.conf", "-p", folder]
        command += ["-e", folder / "start.log"]
        self.nginx = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for _ in range(500):
            assert self.nginx.poll() is None, self.nginx.stderr.read()
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise TimeoutError("nginx does not listen")

    def site(self, text: str) -> str:
        """The example with other ports and paths, and nothing else."""
        changes = (
            (r"server 127\.0\.0\.1:3000;", f"server 127.0.0.1:{self.server.port};", 1),
            (r"listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl", 1),
            (r"listen 80;", f"listen 127.0.0.1:{free_port()};", 1),
            (r" *listen \[::\].*\n", "", 2),
            (r"ssl_certificate_key .*;", f"ssl_certificate_key {self.folder}/key.pem;", 1),
            (r"ssl_certificate  .*;", f"ssl_certificate {self.folder}/cert.pem;", 1),
        )
        for pattern, to, count in changes:
            text, n = re.subn(pattern, to, text)
            assert n == count, f"{EXAMPLE} has changed: {pattern}"
        return text

    def connect(self) -> Client:
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        context.set_alpn_protocols(["http/1.1"])
        sock = socket.create_connection(("127.0.0.1", self.port))
        return Client(context.wrap_socket(sock, server_hostname=NAME))

    def handled(self) -> int:
        """Requests that the server has logged, each with a line of its own."""
        lines = self.server.log.read_text().splitlines()
        return sum("method" in json.loads(line) for line in lines)

    def forwarded(self) -> list[dict]:
        """Requests that nginx says it has passed on."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["to"]]

    def stop(self) -> None:
        self.nginx.send_signal(signal.SIGQUIT)
        self.nginx.communicate(timeout=30)
        self.server.stop()
