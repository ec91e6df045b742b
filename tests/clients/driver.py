"""Runs a script of client commands in one process, with the client as it comes from PyPI.

A script is lines; `#` begins a comment. A line is a command, and what must come of it:

    network create red                      succeeds
    network show red -c mtu -f value => 1450    succeeds and prints exactly that
    network list -f value -c Name ~> red    succeeds and its output has that text
    network delete nope !> No Network found     fails, and says that
    id = network show red -f value -c id    succeeds; $id stands for the output from here on

Importing a client takes longer than most of its commands, so all run in one process; each has its
own shell object, as if it were called anew. Usage: driver.py openstack|neutron SCRIPT [NAME=VALUE …],
where $NAME stands for the value in the script.
"""

import contextlib
import io
import re
import shlex
import sys


def openstack(arguments):
    from openstackclient import shell

    return shell.OpenStackShell().run(arguments)


def neutron(arguments):
    from neutronclient import shell

    try:
        return shell.NeutronShell(shell.NEUTRON_API_VERSION).run(arguments)
    except SystemExit as stop:
        return stop.code


def call(client, arguments):
    """The exit code and all that the command printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = client(arguments)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:  # a client reports some refusals by raising
            code = 1
            err.write(str(error))
    return code or 0, out.getvalue().strip(), err.getvalue().strip()


def parse(line):
    """(name to keep the output in, command, kind of expectation, expected text)"""
    keep = re.match(r"^(\w+) = (.*)$", line)
    name, line = (keep.group(1), keep.group(2)) if keep else (None, line)
    expectation = re.match(r"^(.*?)\s(=>|~>|!>)(?:\s+(.*))?$", line)
    if expectation:
        command, kind, expected = expectation.groups()
        return name, command, kind, (expected or "").strip()
    return name, line, None, None


def verdict(code, out, err, kind, expected):
    """None when all is as it must be, else what is wrong."""
    if kind == "!>":
        if code == 0:
            return "succeeded, must fail"
        return None if expected in err + out else f"must say {expected!r}"
    if code != 0:
        return f"failed with {code}"
    if kind == "=>" and out != expected:
        return f"must print {expected!r}"
    if kind == "~>" and expected not in out:
        return f"must print something with {expected!r}"
    return None


def main(which, script, *given):
    client = {"openstack": openstack, "neutron": neutron}[which]
    kept, passed, failed = dict(pair.split("=", 1) for pair in given), 0, 0
    for number, line in enumerate(open(script), 1):
        line = line.split("#", 1)[0].strip() if line.lstrip().startswith("#") else line.strip()
        if not line:
            continue
        line = re.sub(r"\$(\w+)", lambda found: kept.get(found.group(1), found.group(0)), line)
        name, command, kind, expected = parse(line)
        code, out, err = call(client, shlex.split(command))
        wrong = verdict(code, out, err, kind, expected)
        if name:
            kept[name] = out
        if wrong:
            failed += 1
            print(f"{script}:{number}: {command}\n  {wrong}\n  stdout: {out}\n  stderr: {err}", flush=True)
        else:
            passed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
