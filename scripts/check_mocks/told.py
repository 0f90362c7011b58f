"""What both programs need: the line for each thing checked, and the port that tells the truth."""

import json
import sys
import traceback
import urllib.request

failed = 0


def check(what, holds, seen=None):
    """One line for one thing."""
    global failed
    failed += not holds
    print("ok    " if holds else "FAILED", what, "" if holds or seen is None else f"(saw {seen!r})", flush=True)


class Part:
    """A group of checks; an exception in it is one failure, and the next group goes on."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if value is not None and isinstance(value, Exception):
            traceback.print_exception(kind, value, trace)
            check(f"{self.name}: no exception", False, str(value)[:300])
            return True


class Truth:
    """The mock's port that tells what is really there."""

    def __init__(self, url, token):
        self.url, self.token = url, token

    def ask(self, path, body=None):
        request = urllib.request.Request(
            self.url + path, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"}, method="GET" if body is None else "POST")
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def mailbox(self, address):
        return self.ask("/truth")["mailboxes"][address.lower()]

    def faults(self, *rules):
        self.ask("/faults", {"rules": list(rules)})


def done():
    print(f"{failed} failed" if failed else "all hold", flush=True)
    sys.exit(1 if failed else 0)
