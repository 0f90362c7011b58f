"""Drives the mock of Exchange Web Services with exchangelib, a client that knows nothing of this project.

    python ews.py URL TRUTH_URL TRUTH_TOKEN

Prints one line for each thing checked; the exit code is 0 if all hold.
"""

import datetime
import os
import sys
import time

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the mock speaks plain HTTP here

from exchangelib import (  # noqa: E402
    BASIC, IMPERSONATION, OAUTH2, Account, Configuration, Credentials, ExtendedProperty, FailFast,
    FaultTolerance, FileAttachment, HTMLBody, Identity, Mailbox, Message, OAuth2Credentials, Q, UTC, Version, EWSDateTime)
from exchangelib.errors import (  # noqa: E402
    ErrorFolderExists, ErrorItemNotFound, UnauthorizedError)
from exchangelib.folders import Folder  # noqa: E402
from exchangelib.version import EXCHANGE_2016  # noqa: E402

from told import Part, Truth, check, done  # noqa: E402

url, truth = sys.argv[1], Truth(sys.argv[2], sys.argv[3])
BASE = url.rsplit("/EWS/", 1)[0]
ANN = f"ann-{os.getpid()}@example.org"


class Flags(ExtendedProperty):
    property_tag = 0x0E07
    property_type = "Integer"


class Received(ExtendedProperty):
    property_tag = 0x0E06
    property_type = "SystemTime"


class Submitted(ExtendedProperty):
    property_tag = 0x0039
    property_type = "SystemTime"


class Stamp(ExtendedProperty):
    property_set_id = "8ecce264-1111-4222-8333-444455556666"
    property_name = "Stamp"
    property_type = "String"


for name, kind in (("flags_", Flags), ("received_", Received), ("submitted_", Submitted), ("stamp", Stamp)):
    Message.register(name, kind)


def account(address=ANN, retry=None, password="secret", name="migrator@example.org"):
    config = Configuration(
        service_endpoint=url, credentials=Credentials(name, password), auth_type=BASIC,
        version=Version(EXCHANGE_2016), retry_policy=retry or FaultTolerance(max_wait=60), max_connections=2)
    return Account(address, config=config, autodiscover=False, access_type=IMPERSONATION, default_timezone=UTC)


def mime(number, subject="=?utf-8?Q?Gr=C3=BCsse?=", size=0):
    return (f"From: Bo <bo@example.org>\r\nTo: Ann <ann@example.org>\r\nSubject: {subject} {number}\r\n"
            f"Date: Tue, 02 Jan 2001 03:04:05 +0000\r\nMessage-ID: <{number}@example.org>\r\nX-Own: kept\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            f"Hällo {number}\r\n" + "x" * size).encode()


def at(*parts):
    return EWSDateTime(*parts, tzinfo=UTC)


ann = account()

with Part("folders"):
    tree = {f.name: f for f in ann.msg_folder_root.walk()}
    check("the tree of folders is walked", {"Inbox", "Drafts", "Sent Items", "Calendar"} <= set(tree), sorted(tree))
    check("the inbox is found by its distinguished id", ann.inbox.name == "Inbox" and ann.inbox.folder_class == "IPF.Note")
    check("a calendar is no mail folder", tree["Calendar"].folder_class == "IPF.Appointment")
    made = [Folder(parent=ann.msg_folder_root, name=f"Projekt {n} / ä&<").save() for n in range(3)]
    check("folders are made", len({f.id for f in made}) == 3)
    try:
        Folder(parent=ann.msg_folder_root, name="PROJEKT 1 / Ä&<").save()
        check("a doubled name is refused in any case", False)
    except ErrorFolderExists:
        check("a doubled name is refused in any case", True)
    child = Folder(parent=made[0], name="below").save()
    ann.root.clear_cache()
    below = [f.name for f in ann.msg_folder_root.glob("Projekt 0*/below")] or [
        f.name for f in ann.msg_folder_root.walk() if f.name == "below"]
    check("a folder below a folder is listed", below == ["below"], below)
    many = [Folder(parent=made[1], name=f"n{n:03}").save() for n in range(120)]
    ann.root.clear_cache()
    seen = [f.name for f in ann.msg_folder_root.walk() if f.name.startswith("n")]
    check("more folders than a page holds are listed", len(seen) == 120, len(seen))
    made[2].name = "renamed"
    made[2].save(update_fields=["name"])
    made[2].refresh()
    check("a folder is renamed", made[2].name == "renamed")
    made[2].move(to_folder=made[0])
    check("a folder is moved", "Projekt 0 \\/ ä&</renamed" in truth.mailbox(ANN)["folders"])
    made[2].delete()
    check("a folder is deleted", "Projekt 0 \\/ ä&</renamed" not in truth.mailbox(ANN)["folders"])
    place = made[0]

with Part("a message of MIME"):
    octets = mime(1)
    stored = Message(
        account=ann, folder=place, mime_content=octets, is_read=True, categories=["Red", "Grün"], importance="High",
        flags_=1, received_=at(2001, 2, 3, 4, 5, 6), submitted_=at(2001, 2, 3, 4, 0, 0), stamp="mw1:a:1")
    stored.save()
    check("it is stored", bool(stored.id and stored.changekey))
    got = place.get(id=stored.id)
    check("it is no draft", got.is_draft is False)
    check("it is read", got.is_read is True)
    check("its dates are kept", (got.datetime_received, got.datetime_sent) == (at(2001, 2, 3, 4, 5, 6), at(2001, 2, 3, 4, 0, 0)))
    check("subject and author are told", (got.subject, got.author.email_address) == ("Grüsse 1", "bo@example.org"), got.subject)
    check("categories and importance are kept", (got.categories, got.importance) == (["Red", "Grün"], "High"))
    check("message id is kept", got.message_id == "<1@example.org>")
    check("the stamp is told", got.stamp == "mw1:a:1")
    check("the body is told", "Hällo 1" in str(got.body), got.body)
    check("its header fields are told", any((h.name, h.value) == ("X-Own", "kept") for h in got.headers or []))
    check("MIME comes back made anew, with what it said", b"<1@example.org>" in got.mime_content
          and "Hällo 1".encode() in got.mime_content and got.mime_content != octets)
    draft = Message(account=ann, folder=ann.drafts, mime_content=mime(2))
    draft.save()
    check("without flags it is a draft", ann.drafts.get(id=draft.id).is_draft is True)
    dated = ann.drafts.get(id=draft.id)
    check("sent is the Date of the message, received is now",
          dated.datetime_sent == at(2001, 1, 2, 3, 4, 5) and abs((datetime.datetime.now(UTC) - dated.datetime_received).total_seconds()) < 300)
    dated.flags_ = 1
    dated.save(update_fields=["flags_"])
    check("a draft stays a draft", ann.drafts.get(id=draft.id).is_draft is True)
    results = ann.bulk_create(folder=place, items=[
        Message(account=ann, folder=place, mime_content=mime(n), flags_=0, stamp=f"mw1:b:{n:03}") for n in range(100, 150)])
    check("fifty in one request", len({r.id for r in results}) == 50)
    big = Message(account=ann, folder=place, mime_content=mime(3, size=20_000_000), flags_=0)
    big.save()
    check("twenty megabytes in one message", place.get(id=big.id).size > 20_000_000)
    held = [m for f in truth.mailbox(ANN)["folders"].values() for m in f["messages"]]
    check("the mock holds as many", len(held) == 53, len(held))

with Part("a message of properties"):
    written = Message(
        account=ann, folder=place, subject="Own <words> & more", body=HTMLBody("<p>Hüh</p>"),
        to_recipients=[Mailbox(name="Bo", email_address="bo@example.org")], flags_=1,
        attachments=[FileAttachment(name="a.bin", content=b"\0\1\2")])
    written.save()
    got = place.get(id=written.id)
    check("it is stored and told", (got.subject, got.to_recipients[0].email_address, got.is_draft) == ("Own <words> & more", "bo@example.org", False))
    check("its body is HTML", "<p>Hüh</p>" in str(got.body), got.body)
    got.delete()

with Part("searches"):
    check("all are counted", place.all().count() == 52, place.all().count())
    found = list(place.filter(stamp="mw1:a:1").only("id", "stamp"))
    check("one is found by its stamp", [f.id for f in found] == [stored.id])
    found = list(place.filter(stamp__startswith="mw1:b:").only("stamp"))
    check("many are found by the beginning of their stamps, over pages", len(found) == 50, len(found))
    found = list(place.filter(Q(stamp="mw1:b:101") | Q(stamp="mw1:b:102"), stamp__exists=True).only("stamp"))
    check("and, or and exists are understood", sorted(f.stamp for f in found) == ["mw1:b:101", "mw1:b:102"])
    check("by date", place.filter(datetime_received__lt=at(2002, 1, 1, 0, 0, 0)).count() == 1)
    check("by read", place.filter(is_read=True).count() == 1)
    check("by subject", place.filter(subject__icontains="GRÜSSE 1").count() > 0)
    order = [m.stamp for m in place.filter(stamp__startswith="mw1:b:").only("stamp").order_by("-subject")[:3]]
    check("sorted", order == ["mw1:b:149", "mw1:b:148", "mw1:b:147"], order)

with Part("changes"):
    item = place.get(id=stored.id)
    old = item.changekey
    item.is_read, item.categories = False, ["Blue"]
    item.save(update_fields=["is_read", "categories"])
    check("flags are changed, and the change key", item.changekey != old)
    item = place.get(id=stored.id)
    check("they are told", (item.is_read, item.categories) == (False, ["Blue"]))
    moved = item.move(to_folder=ann.inbox)
    check("a move changes the id", item.id != stored.id and ann.inbox.filter(stamp="mw1:a:1").count() == 1)
    try:
        gone = list(ann.fetch([(stored.id, stored.changekey)]))
        check("the old id is gone", isinstance(gone[0], ErrorItemNotFound), gone)
    except ErrorItemNotFound:
        check("the old id is gone", True)
    copy = item.copy(to_folder=place)
    check("a copy is another item", copy and copy[0] != item.id and place.filter(stamp="mw1:a:1").count() == 1)
    item.move_to_trash()
    check("moved to the trash", ann.trash.filter(stamp="mw1:a:1").count() == 1)
    trashed = ann.trash.get(stamp="mw1:a:1")
    trashed.soft_delete()
    check("soft-deleted it is recoverable", ann.recoverable_items_deletions.filter(stamp="mw1:a:1").count() == 1)
    place.get(stamp="mw1:a:1").delete()
    check("hard-deleted it is gone", place.filter(stamp="mw1:a:1").count() == 0)
    results = ann.bulk_delete(place.filter(stamp__startswith="mw1:b:14").only("id", "changekey"))
    check("several are deleted", all(r is True for r in results) and len(results) == 10)

with Part("synchronisation"):
    watched = Folder(parent=ann.msg_folder_root, name="watched").save()
    ann.bulk_create(folder=watched, items=[
        Message(account=ann, folder=watched, mime_content=mime(n), flags_=0, stamp=f"s{n}") for n in range(30)])
    first = list(watched.sync_items(only_fields=["subject", "stamp"], max_changes_returned=7))
    state = watched.item_sync_state
    check("all are told, over pages", len(first) == 30 and {c for c, _ in first} == {"create"}, len(first))
    check("then nothing", list(watched.sync_items(sync_state=state)) == [])
    one, two, three = [watched.get(stamp=f"s{n}") for n in range(3)]
    one.is_read = True
    one.save(update_fields=["is_read"])
    two.categories = ["x"]
    two.save(update_fields=["categories"])
    three.move(to_folder=place)
    Message(account=ann, folder=watched, mime_content=mime(99), flags_=0).save()
    kinds = sorted(c for c, _ in watched.sync_items(sync_state=state))
    check("changes are told by their kinds", kinds == ["create", "delete", "read_flag_change", "update"], kinds)
    list(ann.msg_folder_root.sync_hierarchy())
    state = ann.msg_folder_root.folder_sync_state
    fresh = Folder(parent=ann.msg_folder_root, name="fresh").save()
    kinds = [(c, getattr(f, "name", None)) for c, f in ann.msg_folder_root.sync_hierarchy(sync_state=state)]
    check("a new folder is told", kinds == [("create", "fresh")], kinds)
    fresh.delete()

with Part("streams"):
    source = watched.get(stamp="s5")
    data = list(ann.export([source]))
    check("an item is exported", isinstance(data[0], str) and len(data[0]) > 100, str(data)[:100])
    ids = list(ann.upload([(place, data[0])]))
    check("and imported elsewhere", ids and place.filter(stamp="s5").count() == 1, ids)
    broken = ann.upload([(place, data[0][:40])])
    check("a stream that is cut is refused", isinstance(list(broken)[0], Exception))

with Part("who may"):
    try:
        account(password="wrong", retry=FailFast()).inbox.refresh()
        check("a wrong password is refused", False)
    except UnauthorizedError:
        check("a wrong password is refused", True)
    token = Configuration(
        service_endpoint=url, auth_type=OAUTH2, version=Version(EXCHANGE_2016),
        credentials=OAuth2Credentials(client_id="app", client_secret="secret", tenant_id="tenant", identity=Identity(primary_smtp_address=ANN)))
    type(token.credentials).token_url = property(lambda self: f"{BASE}/tenant/oauth2/v2.0/token")
    by_token = Account(ANN, config=token, autodiscover=False, access_type=IMPERSONATION, default_timezone=UTC)
    check("a token serves as well", by_token.inbox.name == "Inbox")

with Part("a busy server"):
    ann = account()
    for envelope in ("Fault", "Message", "Wrapped", "Unavailable"):
        truth.faults({"name": envelope, "operation": "CreateItem", "when": {"Nth": [1]},
                      "fault": {"Busy": {"envelope": envelope, "wait_ms": 1500}}})
        type(ann.protocol).RETRY_WAIT = 2  # where this client reads no wait out of the answer, it has one of its own
        began = time.monotonic()
        message = Message(account=ann, folder=ann.inbox, mime_content=mime(7), flags_=0, stamp=f"busy-{envelope}")
        message.save()
        waited, fired = time.monotonic() - began, truth.ask("/faults")[envelope]
        check(f"{envelope}: the client waits and tries again", fired == 1 and waited >= 1.4, (fired, waited))
        check(f"{envelope}: stored once", ann.inbox.filter(stamp=f"busy-{envelope}").count() == 1)
    truth.faults()

counters = truth.ask("/counters")
check("the client did nothing a correct client never does", counters["violations"] == {}, counters["violations"])
done()
