"""Small migrations with the program itself, from Maildirs into mocks of Graph that record what is asked and answered.

    python recorded.py PROGRAM DIRECTORY

Leaves json.jsonl and mime.jsonl in DIRECTORY. Seen are: messages of many kinds, a large attachment, a nested message,
changed flags, a message moved, one removed, a folder renamed, a second run that finds nothing to do, and a verify.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from told import Part, check, done

program, work = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
FIXTURES = pathlib.Path("fixtures/quickstart/maildir").resolve()
OFFICE = "office@example.org"


def extra(root):
    """Messages that the fixtures do not have."""
    head = ("From: Bo <bo@example.org>\r\nTo: Ann <ann@example.org>\r\nDate: Tue, 02 Jan 2001 03:04:05 +0000\r\n"
            "Message-ID: <extra-{0}@example.org>\r\nSubject: =?utf-8?Q?Gr=C3=BCsse?= {0}\r\nMIME-Version: 1.0\r\n"
            "X-Own: kept\r\nX-Priority: 1\r\nReferences: <a@example.org>\r\nReply-To: <c@example.org>\r\n")
    mixed = 'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n{}\r\n--b--\r\n'
    big = base64.encodebytes(os.urandom(5_000_000)).decode().replace("\n", "\r\n")
    small = base64.encodebytes(os.urandom(2_000)).decode().replace("\n", "\r\n")
    file = 'Content-Type: application/octet-stream; name="{}"\r\nContent-Disposition: attachment; filename="{}"\r\nContent-Transfer-Encoding: base64\r\n\r\n{}'
    nested = ("Content-Type: message/rfc822\r\n\r\nFrom: d@example.org\r\nTo: e@example.org\r\nSubject: inner\r\n"
              "Date: Tue, 02 Jan 2001 03:04:05 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nInner\r\n")
    inline = ('Content-Type: multipart/related; boundary="r"\r\n\r\n--r\r\nContent-Type: text/html; charset=utf-8\r\n\r\n'
              '<p>Hi<img src="cid:i@x"></p>\r\n--r\r\nContent-Type: image/png; name="i.png"\r\nContent-ID: <i@x>\r\n'
              f"Content-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\n{small}--r--\r\n")
    bodies = [mixed.format(file.format("big.bin", "big.bin", big)), mixed.format(file.format("s.bin", "s.bin", small)),
              mixed.format(nested), inline]
    for n, body in enumerate(bodies):
        octets = (head.format(n) + body).encode()
        (root / OFFICE / "cur" / f"16000000{n:02}.X{n}P1.mail,S={len(octets)}:2,{'FS' if n % 2 else ''}").write_bytes(octets)


def change(root):
    """What users do between two runs."""
    box = root / OFFICE
    flip = next((box / "cur").glob("*.M9P1.*"))
    flip.rename(str(flip).rsplit(":2,", 1)[0] + ":2,FS")
    seen = next((box / "cur").glob("*.M2P1.*"))
    seen.rename(str(seen).rsplit(":2,", 1)[0] + ":2,")
    next((box / "cur").glob("*.M4P1.*")).unlink()
    moved = next((box / "cur").glob("*.M6P1.*"))
    moved.rename(box / ".R&-D" / "cur" / moved.name)
    (box / ".a.b.c.d").rename(box / ".a.b.c.renamed")


WANTED = {
    "json": {
        "a message": r"^POST \S*/messages$", "an upload session": r"^POST \S*/createUploadSession$", "a range": r"^PUT ",
        "a move": r"^POST \S*/messages/\*/move$", "changed flags": r"^PATCH \S*/messages/\*$",
        "a renamed folder": r"^PATCH \S*/mailFolders/\*$", "a batch": r"^POST /v1.0/\$batch$",
    },
    "mime": {"a message of MIME": r"^POST /beta/\S*/importMime$"},
}


def kinds(record):
    """Each kind of request, ids left out; those within batches too."""
    found = set()
    for line in map(json.loads, record.read_text().splitlines()):
        found.add(f"{line['method']} {line['path']}")
        for part in (line.get("body") or {}).get("requests", []) if line["path"].endswith("/$batch") else []:
            found.add(f"{part['method']} /v1.0{part['url'].partition('?')[0]}")
    return {re.sub(r"[A-Za-z0-9_=-]{40,}", "*", kind) for kind in found}


def run(directory, verb, *more, good=(0,)):
    done = subprocess.run([program, verb, "mailwave.toml", *more], cwd=directory, capture_output=True, text=True,
                          timeout=100, env={**os.environ, "MAILWAVE_GRAPH_SECRET": "secret"})
    if done.returncode not in good:
        print((done.stdout + done.stderr)[-1500:])
    return done.returncode


def migration(name, modes, mailboxes):
    directory = work / name
    (directory / "maildir").mkdir(parents=True)
    for mailbox in mailboxes:
        shutil.copytree(FIXTURES / mailbox, directory / "maildir" / mailbox)
    if OFFICE in mailboxes:
        extra(directory / "maildir")
    (directory / "options.json").write_text('{"import_mime": true, "mail_advanced": true}')
    mock = subprocess.Popen(
        [program, "mock", "graph", "--tls", "--ca", directory / "ca.pem", "--options", directory / "options.json",
         "--record", work / f"{name}.jsonl"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        base = mock.stdout.readline().split()[1].removesuffix("/v1.0")
        (directory / "mailboxes.csv").write_text(
            "source,target\n" + "".join(f"{m},{m.replace('.org', '.net')}\n" for m in mailboxes))
        (directory / "mailwave.toml").write_text(f"""
source_name = "recorded"
mailboxes = "mailboxes.csv"
ledger = "ledger"
report = "report"
[run]
settle = "100ms"
spool = "spool"
[source.old]
kind = "maildir"
root = "maildir"
received = "name"
[target.new]
kind = "graph"
modes = {modes}
base_url = "{base}/v1.0"
authority = "{base}"
ca_file = "ca.pem"
tenant = "contoso.onmicrosoft.com"
client_id = "00000000-0000-0000-0000-000000000000"
client_secret = {{ env = "MAILWAVE_GRAPH_SECRET" }}
""")
        check(f"{name}: mailboxes are moved", run(directory, "run", good=(0, 1)) in (0, 1))
        if OFFICE in mailboxes:
            change(directory / "maildir")
            check(f"{name}: what users changed is carried over", run(directory, "run", "--final", "--allow-removals", good=(0, 1)) in (0, 1))
        before = (work / f"{name}.jsonl").read_text().count("\n")
        check(f"{name}: nothing is left to do", run(directory, "run", good=(0, 1)) in (0, 1))
        # Counted in the record: tokens and reads are asked for again, nothing is written.
        later = (work / f"{name}.jsonl").read_text().splitlines()[before:]
        writes = [line[:100] for line in later if '"method":"PATCH"' in line or '"method":"DELETE"' in line or '/messages","' in line and '"method":"POST"' in line]
        check(f"{name}: the third run writes nothing", not writes, writes)
        check(f"{name}: the copies are verified", run(directory, "verify", good=(0, 1)) in (0, 1))
        seen = kinds(work / f"{name}.jsonl")
        for what, pattern in WANTED[name].items():
            check(f"{name}: {what} is on record", any(re.search(pattern, kind) for kind in seen), sorted(seen))
        if name == "json":
            code = run(directory, "check", "--canary", "new", "canary@example.net", good=(0, 1))
            check(f"{name}: trial messages are written and read back", code in (0, 1), code)
    finally:
        mock.terminate()
        mock.wait()


with Part("a migration by JSON"):
    migration("json", '["json"]', [OFFICE, "lab@example.org"])
with Part("a migration by MIME"):
    migration("mime", '["import-mime", "json"]', ["ward3@example.org"])
done()
