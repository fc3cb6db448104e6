#!/usr/bin/env python3
"""What comes out of an OpenTelemetry collector, read by OpenTelemetry's own definitions.

otlp.py serve ADDRESS PORT FILE: takes bodies by OTLP over HTTP and appends each span to FILE as a line of JSON.
otlp.py ask FILE TRACES EXPRESSION...: waits up to fifteen seconds until the file holds so many traces, then asks in Python terms: `traces`, in the order in which their
calls began, each a Trace: `root`, `spans`, `named(NAME)`, `parent(SPAN)`, `children(SPAN)`; `t` is the newest. A span is as it came, its `values` are plain ones. `decided(FILE)`: the decisions of a ladder."""

import gzip
import http.server
import json
import sys
import time

CODES = {0: "unset", 1: "ok", 2: "error"}


def plain(value):
    return getattr(value, value.WhichOneof("value"))


def serve(address, port, path):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def lines(request):
        for resource in request.resource_spans:
            about = {pair.key: plain(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield {
                        "resource": about, "scope": scope.scope.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                        "name": span.name, "kind": span.kind, "began": span.start_time_unix_nano, "ended": span.end_time_unix_nano,
                        "values": {pair.key: plain(pair.value) for pair in span.attributes},
                        "events": [{"name": event.name, "at": event.time_unix_nano, "values": {pair.key: plain(pair.value) for pair in event.attributes}} for event in span.events],
                        "status": CODES[span.status.code], "message": span.status.message,
                    }

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            request = ExportTraceServiceRequest.FromString(body)
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines(request))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    http.server.HTTPServer((address, int(port)), Receiver).serve_forever()


class Span(dict):
    """Keys as attributes."""

    __getattr__ = dict.__getitem__


class Trace:
    def __init__(self, spans):
        self.spans = spans
        roots = [span for span in spans if not span.parent]
        if len(roots) != 1:
            sys.exit(f"{len(roots)} roots in one trace: {spans}")
        self.root = roots[0]

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def parent(self, span):
        return next((other for other in self.spans if other.id == span.parent), None)

    def children(self, span):
        return [other for other in self.spans if other.parent == span.id]


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            spans = [Span(json.loads(line)) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []
    by_trace = {}
    for span in spans:
        by_trace.setdefault(span.trace, []).append(span)
    return sorted((Trace(spans) for spans in by_trace.values()), key=lambda trace: trace.root.began)


def decided(path):
    """The decisions of a ladder, as `portcullis ladder --json` has them; of a redirect that was followed its note is none."""
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    return [(row["stage"], row["rule"]) for row in rows if row["kind"] == "decision" and " followed to " not in row["rule"]]


def ask(path, count, expressions):
    limit = time.monotonic() + 15
    traces = read(path)
    while len(traces) < count and time.monotonic() < limit:
        time.sleep(0.1)
        traces = read(path)
    if len(traces) != count:
        sys.exit(f"{len(traces)} traces, {count} wanted")
    t = traces[-1]
    for expression in expressions:
        # Names of ours must be seen inside comprehensions too, so they are globals.
        if not eval(expression, {"t": t, "traces": traces, "decided": decided}):
            print(json.dumps(t.spans, indent=1))
            sys.exit(f"not so: {expression}")


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    ask(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
