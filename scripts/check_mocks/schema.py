"""Holds recorded requests and answers (`mailwave mock graph --record`) against an OpenAPI description of Graph.

    python schema.py SCHEMA [answers:]NAME=RECORD...

Each request: its path exists with this method, its query options are known, its body is of the right type, holds no
property that is unknown and none that only the service may set. Each answer likewise. The parts of a batch count as
requests of their own. What the description cannot know (beta, tokens, upload URLs) is counted, not judged. With
`answers:` only the answers are judged.
"""

import collections
import json
import re
import sys
import urllib.parse

import yaml
from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator, oas30_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from told import check, done

# The description is derived from CSDL, which does not say who may set what. Microsoft Graph documentation, the pages of
# the resource types (`message`, `attachment`, `mailFolder`).
READ_ONLY = {
    "message": {"id", "changeKey", "createdDateTime", "lastModifiedDateTime", "bodyPreview", "conversationId",
                "conversationIndex", "hasAttachments", "isDraft", "parentFolderId", "receivedDateTime", "sentDateTime",
                "uniqueBody", "webLink"},
    "attachment": {"id", "lastModifiedDateTime", "size"},
    "mailFolder": {"id", "childFolderCount", "totalItemCount", "unreadItemCount", "parentFolderId"},
}
BASE = "urn:graph"
PREFIX = "microsoft.graph."


def absolute(node):
    """The description with references that can be followed from anywhere."""
    if isinstance(node, dict):
        return {k: BASE + v if k == "$ref" else absolute(v) for k, v in node.items()}
    return [absolute(v) for v in node] if isinstance(node, list) else node


class Description:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.all = absolute(yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self.registry = Registry().with_resource(BASE, Resource.from_contents(self.all, default_specification=DRAFT4))
        self.types = self.all["components"]["schemas"]
        self.paths = []
        for template, operations in self.all["paths"].items():
            pattern = re.sub(r"\\\{[^/]*?\\\}", "[^/]+", re.escape(template))
            self.paths.append((template.count("{"), re.compile(pattern + "$"), template, operations))
        self.paths.sort(key=lambda p: p[0])

    def find(self, path):
        path = re.sub(r"\('([^/]*?)'\)", r"/\1", path)
        for _, pattern, template, operations in self.paths:
            if pattern.match(path):
                return template, operations
        return None, {}

    def resolve(self, schema):
        return self.types[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema

    def properties(self, schema):
        """All properties of a type, those of its bases too."""
        schema = self.resolve(schema)
        found = dict(schema.get("properties", {}))
        for part in schema.get("allOf", []) + schema.get("anyOf", []):
            found.update(self.properties(part))
        return found

    def bases(self, name):
        """A type's name, and those of what it is derived from."""
        names = {name}
        for part in self.types.get(PREFIX + name, {}).get("allOf", []):
            if "$ref" in part:
                names |= self.bases(part["$ref"].rsplit("/" + PREFIX, 1)[1])
        return names

    def name(self, schema):
        for part in [schema] + schema.get("anyOf", []):
            if "$ref" in part:
                return part["$ref"].rsplit("/" + PREFIX, 1)[-1]
        return None

    def faults(self, value, schema, sent, where=""):
        """What is wrong with a value, at any depth, beyond what a validator of the schema says."""
        if isinstance(value, list):
            items = self.resolve(schema).get("items")
            return [f for n, v in enumerate(value) for f in (self.faults(v, items, sent, f"{where}/{n}") if items else [])]
        if not isinstance(value, dict):
            return []
        name, found = self.name(schema), []
        declared = str(value.get("@odata.type", "")).lstrip("#")
        if declared:
            if declared not in self.types:
                return [f"{where}: the type {declared} is not known"]
            name = declared.removeprefix(PREFIX)
            schema = {"$ref": f"{BASE}#/components/schemas/{declared}"}
            found += self.invalid(value, schema, sent, where)
        known = self.properties(schema)
        if not known:
            return found
        # Parameters of actions are known in any case of letters.
        folded = {k.lower(): v for k, v in known.items()} if name is None else {}
        forbidden = set().union(*(READ_ONLY.get(b, set()) for b in self.bases(name))) if sent and name else set()
        for key, inner in value.items():
            at = f"{where}/{key}"
            if "@" in key:
                continue
            if key in forbidden:
                found.append(f"{at}: only the service sets it")
            elif name == "itemAttachment" and key == "item":
                found += self.faults(inner, {"$ref": f"{BASE}#/components/schemas/{PREFIX}outlookItem"}, sent, at)
            elif key in known or key.lower() in folded:
                found += self.faults(inner, known.get(key) or folded[key.lower()], sent, at)
            else:
                found.append(f"{at}: {name or 'the body'} has no such property")
        return found

    def invalid(self, value, schema, sent, where=""):
        kind = OAS30WriteValidator if sent else OAS30ReadValidator
        errors = kind(schema, registry=self.registry, format_checker=oas30_format_checker).iter_errors(value)
        return [f"{where}/{'/'.join(map(str, e.path))}: {e.message[:160]}" for e in errors]

    def body(self, value, schema, sent):
        return self.invalid(value, schema, sent) + self.faults(value, schema, sent)


class Record:
    """One file of requests and answers."""

    def __init__(self, description):
        self.description = description
        self.judged, self.left = collections.Counter(), collections.Counter()
        self.asked, self.told = collections.Counter(), collections.Counter()

    def line(self, line):
        path = urllib.parse.unquote(line["path"])
        if path.endswith("/oauth2/v2.0/token"):
            self.left["requests for tokens"] += 1
        elif path.startswith("/api/v2.0/"):
            self.left["ranges of uploads"] += 1
        elif path.startswith("/beta/"):
            self.left["requests of the beta"] += 1
        elif not path.startswith("/v1.0/"):
            self.asked[f"{line['method']} of another path"] += 1
        else:
            self.one(path.removeprefix("/v1.0"), line, line.get("answer"))

    def one(self, path, line, answer):
        method = line["method"].lower()
        template, operations = self.description.find(path)
        operation = operations.get(method)
        shape = f"{method.upper()} {template or re.sub(r'[A-Za-z0-9_=-]{30,}', '*', path)}"
        if operation is None and answer is not None and answer["status"] in (404, 405) and not template:
            # The other side agrees that there is no such thing.
            self.asked[f"{shape}: no such path"] += 1
            return
        if operation is None:
            self.asked[f"{shape}: no such operation"] += 1
            return
        self.judged[shape] += 1
        known = {p["name"].lower() for p in operation.get("parameters", []) if p["in"] == "query"}
        for name, _ in urllib.parse.parse_qsl(line.get("query", ""), keep_blank_values=True):
            if name.lower() not in known:
                self.asked[f"{shape}: query option {name}"] += 1
        self.content(operation.get("requestBody"), line, self.asked, shape, True)
        if answer is None:
            return
        status = answer["status"]
        responses = operation["responses"]
        if status < 400 and str(status) not in responses:
            self.told[f"{shape}: answer {status}"] += 1
            return
        self.content(responses.get(str(status), responses.get("default")), answer, self.told, f"{shape} → {status}", False)
        if template == "/$batch":
            self.parts(line, answer)

    def content(self, declared, side, problems, shape, sent):
        declared = declared or {}
        content = declared.get("content", {})
        kind = side.get("type", "").split(";")[0].strip()
        if side["octets"] == 0:
            if declared.get("required"):
                problems[f"{shape}: a body is missing"] += 1
            return
        if kind not in content:
            if content or sent:
                problems[f"{shape}: content type {kind!r}"] += 1
            return
        if "body" in side and "json" in kind:
            for fault in self.description.body(side["body"], content[kind]["schema"], sent):
                problems[f"{shape}: {re.sub(r'/[0-9]+', '/*', fault)}"] += 1

    def parts(self, line, answer):
        told = {r["id"]: r for r in (answer.get("body") or {}).get("responses", [])}
        for part in line.get("body", {}).get("requests", []):
            path, _, query = part["url"].partition("?")
            reply = told.get(part["id"])
            sides = []
            for side in (part, reply or {}):
                headers = {k.lower(): v for k, v in side.get("headers", {}).items()}
                one = {"octets": 1 if side.get("body") is not None else 0, "type": headers.get("content-type", "")}
                if one["octets"]:
                    one["body"] = side["body"]
                sides.append(one)
            request = {**sides[0], "method": part["method"], "query": query}
            reply = {**sides[1], "status": reply["status"]} if reply and reply["status"] != 424 else None
            self.left["parts of batches (judged each)"] += 1
            self.one("/" + urllib.parse.unquote(path).lstrip("/"), request, reply)


def trial(description):
    """What is wrong is found: else nothing that follows would mean anything."""
    url, json_type = "/v1.0/users/u/messages", "application/json"
    cases = {
        "a property that is unknown": ("POST", url, {"subjekt": "x"}),
        "a property that only the service sets": ("POST", url, {"isDraft": False}),
        "a value of the wrong type": ("POST", url, {"isRead": "yes"}),
        "a word that is not one of the list": ("POST", url, {"importance": "very"}),
        "an unknown property of an attachment": ("POST", url, {"attachments": [
            {"@odata.type": "#microsoft.graph.fileAttachment", "name": "a", "bytes": ""}]}),
        "an unknown property of an attached message": ("POST", url, {"attachments": [
            {"@odata.type": "#microsoft.graph.itemAttachment", "name": "a",
             "item": {"@odata.type": "#microsoft.graph.message", "to": []}}]}),
        "a path that is unknown": ("POST", "/v1.0/users/u/mails", {}),
        "a method that is unknown": ("PUT", url, {}),
        "an unknown part of a batch": ("POST", "/v1.0/$batch", {"requests": [
            {"id": "1", "method": "PATCH", "url": "/users/u/messages/m", "body": {"read": True},
             "headers": {"Content-Type": json_type}}]}),
    }
    for what, (method, path, body) in cases.items():
        record = Record(description)
        answer = {"status": 200, "octets": 1, "type": json_type, "body": {"responses": []}} if "$batch" in path else None
        record.line({"method": method, "path": path, "query": "", "octets": 1, "type": json_type, "body": body, "answer": answer})
        check(f"{what} is found", bool(record.asked))
    record = Record(description)
    record.line({"method": "GET", "path": url, "query": "$tip=1", "octets": 0, "answer": {
        "status": 200, "octets": 1, "type": json_type, "body": {"value": [{"id": 7, "colour": "red"}]}}})
    check("a wrong answer and an unknown option are found", len(record.told) == 2 and len(record.asked) == 1, record.told)


def main():
    description = Description(sys.argv[1])
    trial(description)
    for name, path in (argument.split("=", 1) for argument in sys.argv[2:]):
        record, answers_alone = Record(description), name.startswith("answers:")
        name = name.removeprefix("answers:")
        with open(path, encoding="utf-8") as file:
            for text in file:
                record.line(json.loads(text))
        left = ", ".join(f"{n} {what}" for what, n in sorted(record.left.items()))
        print(f"      {name}: {sum(record.judged.values())} requests of {len(record.judged)} kinds judged; besides {left}")
        if not answers_alone:
            check(f"{name}: every request fits the schema", not record.asked, dict(record.asked))
        check(f"{name}: every answer fits the schema", not record.told, dict(record.told))
        check(f"{name}: there was something to judge", sum(record.judged.values()) > 20)
    done()


main()
