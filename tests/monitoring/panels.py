#!/usr/bin/env python3
"""panels.py DASHBOARD PROMETHEUS: asks every question of every panel; prints those without an answer, and fails where a panel has none at all."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

DASHBOARD, PROMETHEUS = sys.argv[1:]
VARIABLES = {"$__rate_interval": "30s", "$__range": "2m", "$instance": ".+"}


def series(query):
    for variable, text in VARIABLES.items():
        query = query.replace(variable, text)
    url = PROMETHEUS + "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        return len(json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"])
    except urllib.error.HTTPError as error:
        sys.exit(f"{query}: {json.load(error)['error']}")


empty, silent, panels, questions = [], 0, 0, 0
with open(DASHBOARD, encoding="utf-8") as file:
    dashboard = json.load(file)
for panel in dashboard["panels"]:
    if panel["type"] == "row":
        continue
    panels += 1
    found = [(target["expr"], series(target["expr"])) for target in panel["targets"]]
    questions += len(found)
    for query, count in found:
        if count == 0:
            silent += 1
            print(f"no answer: {panel['title']}: {query}")
    if not any(count for _, count in found):
        empty.append(panel["title"])
print(f"{panels - len(empty)} of {panels} panels have series, {questions - silent} of {questions} questions an answer; empty: {empty}")
sys.exit(bool(empty) or panels < 50)
