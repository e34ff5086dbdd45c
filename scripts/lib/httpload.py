# SPDX-License-Identifier: MIT
"""httpload - drive an HTTP server with wrk and take its figures

wrk is a closed loop: each connection sends its next request when the answer
to the last has come.  It corrects its latencies for requests that a stall kept
it from sending (coordinated omission), for both variants alike.
"""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

from guest import die_with_parent

SCRIPT = pathlib.Path(__file__).resolve().parent / "load.lua"


MOST_ERRORS = 0.001		# of all requests: with more the server did something else than serve


class LoadError(Exception):
    """No figure could be taken; the text says why."""


class Lossy(LoadError):
    """Figures were taken, but too many requests came to nothing for them to mean anything."""

    def __init__(self, errors, requests):
        super().__init__(f"{errors} errors beside {requests} requests: more than {MOST_ERRORS:.1%}")
        self.errors, self.requests = errors, requests


def error_share(errors, requests):
    """Part of all requests that came to nothing."""
    return errors / max(errors + requests, 1)


def check_errors(errors, requests):
    """Lossy when too many requests came to nothing: what hangs up on some is quick with the rest."""
    if error_share(errors, requests) > MOST_ERRORS:
        raise Lossy(errors, requests)


def version():
    if not shutil.which("wrk"):
        raise LoadError("no wrk in PATH: run scripts/install-deps")
    text = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return text.splitlines()[0] if text else "wrk"


def wait_until_served(host, port, path, bytes_wanted, deadline_s):
    """Ask until the file comes, whole; LoadError after deadline_s."""
    end = time.monotonic() + deadline_s
    last = "no answer"
    while time.monotonic() < end:
        try:
            with socket.create_connection((host, port), timeout=1) as link:
                link.settimeout(3)
                link.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while chunk := link.recv(65536):
                    answer += chunk
            head, _, body = answer.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200") and len(body) == bytes_wanted:
                return head.decode(errors="replace")
            last = f"answered {answer[:60]!r}"
        except OSError as error:
            last = str(error)
            time.sleep(0.1)
    raise LoadError(f"http://{host}:{port}{path} is not served within {deadline_s} s: {last}")


def command(url, connections, seconds):
    """One thread, and no answer in 5 s is an error."""
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT), url]


def run(url, connections, seconds, pipeline=1, upload=0, lossy=False):
    """wrk's figures as a dict (load.lua), for `seconds` (whole ones) of load.

    pipeline: requests sent together on each connection; a latency is then that of all of them.
    upload: bytes that each request carries, by PUT.  lossy: errors do not matter, as where this only warms.
    """
    argv = command(url, connections, seconds)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, check=False, preexec_fn=die_with_parent,
                              env={**os.environ, "NOM_CONNECTIONS": str(connections), "NOM_PIPELINE": str(pipeline), "NOM_UPLOAD": str(upload)})
    except subprocess.TimeoutExpired:
        raise LoadError(f"wrk did not end: {' '.join(argv)}") from None
    except OSError as error:
        raise LoadError(f"wrk does not start: {error}") from None
    if done.returncode < 0:
        raise LoadError(f"wrk was killed by signal {-done.returncode}")
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line[7:].replace("nan", "0"))
            if not result["requests"]:
                raise LoadError(f"no request was answered ({result['errors']} errors)")
            if not lossy:
                check_errors(result["errors"], result["requests"])
            groups = result["requests"] / pipeline
            if abs(result["samples"] - groups) > max(2 + connections * (pipeline > 1), groups // 1000):
                raise LoadError(f"wrk's correction could not be told apart: {result['samples']} latencies of {groups:.0f} requests")
            return result
    raise LoadError(f"wrk failed (exit {done.returncode}): {(done.stderr or done.stdout).strip()[-200:]}")
