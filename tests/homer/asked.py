"""HOMER 5's API, asked in Python terms: `asked.py URL EXPRESSION...`, of `search(FIELD=VALUE, ...)` and `transaction(CALL_ID...)`, messages as rows, each its columns;
`report(KIND, CALL_ID...)`: reports of media (`rtcp`) or records (`log`)."""

import http.cookiejar
import json
import sys
import time
import urllib.request

URL = sys.argv[1]
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def post(path, body):
    request = urllib.request.Request(f"{URL}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        text = opener.open(request, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.code} {error.read().decode()[:2000]}")
    try:
        return json.loads(text)["data"]
    except (ValueError, KeyError):
        sys.exit(f"{path}: {text[:2000]}")


NOW = int(time.time() * 1000)
TIME = {"from": NOW - 600_000, "to": NOW + 60_000}


def asking(search):
    return {"timestamp": TIME, "param": {"search": search, "location": {"node": [{"name": "single"}]}, "transaction": {"call": True, "registration": False, "rest": False}, "limit": 200}}


def search(**fields):
    return post("search/data", asking(fields))


def transaction(*call_ids):
    return post("search/transaction", asking({"callid": list(call_ids), "b2b": True, "uniq": False}))["calldata"]


def report(kind, *call_ids):
    return post(f"report/{kind}", asking({"callid": list(call_ids)}))


if not post("session", {"username": "admin", "password": "test123"}):
    sys.exit("it lets nobody in")
for expression in sys.argv[2:]:
    if expression.startswith("print "):
        print(json.dumps(eval(expression[6:]), indent=1)[:6000])
    elif not eval(expression):
        sys.exit(f"not so: {expression}")
