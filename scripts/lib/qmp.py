# SPDX-License-Identifier: MIT
"""qmp - QEMU's monitor: commands and their answers"""
import contextlib
import json
import socket


class QmpError(Exception):
    """QEMU refused, or did not answer."""


class Qmp:
    """A connection to the monitor at a socket's path; QEMU takes one at a time."""

    def __init__(self, path, seconds=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        try:
            self.socket.connect(str(path))
            self.stream = self.socket.makefile("rw", encoding="utf-8")
            self.stream.readline()  # the greeting
            self.ask("qmp_capabilities")
        except OSError as error:
            self.socket.close()
            raise QmpError(f"{path}: {error}") from None
        except QmpError:
            self.socket.close()
            raise

    def ask(self, command, **arguments):
        """What a command returns; events that come in between are skipped."""
        try:
            self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.stream.flush()
            for line in self.stream:
                answer = json.loads(line)
                if "error" in answer:
                    raise QmpError(f"{command}: {answer['error'].get('desc', answer['error'])}")
                if "return" in answer:
                    return answer["return"]
        except (OSError, ValueError) as error:
            raise QmpError(f"{command}: {error}") from None
        raise QmpError(f"{command}: QEMU has closed its monitor")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(OSError):  # QEMU may be gone
            self.stream.close()
        self.socket.close()
