# SPDX-License-Identifier: MIT
"""guesterr - what goes wrong with a guest, and run-guest's exit codes for it"""
import os

# CMD's own codes never lie in this range (see exit_code()).
EX_CMD_RANGE = 119
EX_USAGE = 120
EX_HOST = 121
EX_KERNEL = 122
EX_BOOT = 123
EX_TIMEOUT = 124
EX_CRASH = 125
EX_LOST = 126
EX_FILES = 127


class GuestError(Exception):
    """What went wrong and what to do about it; .code is run-guest's exit code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class CommandTimeout(GuestError):
    """A command did not end in time; it was killed, .output is what it printed."""

    def __init__(self, text, output):
        super().__init__(EX_TIMEOUT, text)
        self.output = output


def exit_code(status):
    """A wait status as run-guest's exit code: (code, note or None)."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return 128 + number, f"command killed by signal {number}"
    code = os.WEXITSTATUS(status)
    if EX_CMD_RANGE <= code <= EX_FILES:
        return EX_CMD_RANGE, f"command exited with {code}, reported as {EX_CMD_RANGE}"
    return code, None
