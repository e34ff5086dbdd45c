# SPDX-License-Identifier: MIT
"""tap - points of our own and of programs in guests, under one plan; test functions

    @tap.test
    def a_thing_holds():
        assert ...

    sys.exit(tap.main())

A test that returns a text is skipped for that reason.
"""
import re
import traceback

_tests = []


def test(function):
    """The function is a test, named by its name."""
    _tests.append(function)
    return function


def main():
    """Run all tests; returns the exit status."""
    print(f"1..{len(_tests)}", flush=True)
    bad = 0
    for number, function in enumerate(_tests, 1):
        name = function.__name__.replace("_", " ")
        try:
            skip = function()
            print(f"ok {number} - {name}" + (f" # SKIP {skip}" if skip else ""), flush=True)
        except Exception:  # a test may break in any way
            bad += 1
            print(f"not ok {number} - {name}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    return 1 if bad or not _tests else 0


class Points:
    """A count of points, printed as they come."""

    def __init__(self):
        self.number = self.bad = 0

    def ok(self, good, text):
        self.number += 1
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {text}", flush=True)

    def take(self, line):
        """A line of the guest's."""
        found = re.match(r"(not ok|ok) \d+ ?(.*)", line)
        if found:
            self.number += 1
            self.bad += found.group(1) == "not ok"
            line = f"{found.group(1)} {self.number} {found.group(2)}"
        if not re.match(r"1\.\.\d", line):
            print(line, flush=True)

    def console(self, said, name):
        """What flavour.reports() found of a kernel: nothing, if all is well."""
        self.ok(not said, f"the console of the {name or 'ordinary'} kernel shows no complaint")
        for report in said[:5]:
            print("\n".join("# | " + line for line in report.splitlines()))

    def end(self):
        """The plan; returns the exit status."""
        print(f"1..{self.number}", flush=True)
        return 1 if self.bad or not self.number else 0
