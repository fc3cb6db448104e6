#!/bin/bash
# A real Prometheus scrapes the border while sipp calls through it: are the metrics as Prometheus wants them, do the alert rules hold what their tests say, can every
# question of the dashboard be asked, and do the answers tell of the calls?
. "$(dirname "$0")/lab.sh"
for tool in sipp prometheus promtool; do command -v "$tool" >/dev/null || { echo "install sip-tester and prometheus first" >&2; exit 2; }; done
DOCS=$ROOT/docs/monitoring

check "the rules can be read" promtool check rules "$DOCS/alerts.yml"
cp "$DOCS"/alerts*.yml "$WORK"
check "they raise what their tests say" promtool test rules "$WORK/alerts_test.yml"

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
border lab "$SET" 5060
cat >"$WORK/prometheus.yml" <<CONFIG
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [$WORK/alerts.yml]
scrape_configs:
  - job_name: portcullis
    static_configs: [{ targets: ["127.0.0.1:9160"] }]
CONFIG
start prometheus lab prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/tsdb" --web.listen-address=127.0.0.1:9090 --log.level=warn
listening lab 9090 || { cat "$WORK/prometheus.log"; exit 2; }

start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m 40 -nostdin
UM=$PID
listening lab 5062
check "forty calls, ten a second" at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 200 -m 40 -r 10 \
    -nostdin -timeout 50
stop "$UM"
sleep 3

at lab python3 - <<'PYTHON' >"$WORK/metrics.txt"
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9160/metrics", timeout=5).read().decode(), end="")
PYTHON
check "the metrics are as Prometheus wants them" bash -c 'promtool check metrics < "$1"' - "$WORK/metrics.txt"

# asked EXPRESSION... : each in Python terms of `value`, which asks Prometheus for one number, and `dashboard`, `answers`, `alerts`.
asked() {
    at lab timeout 60 python3 - "$DOCS/dashboard.json" "$@" <<'PYTHON'
import json, sys, urllib.parse, urllib.request
def get(path, **query):
    url = "http://127.0.0.1:9090/api/v1/" + path + "?" + urllib.parse.urlencode(query)
    try:
        return json.load(urllib.request.urlopen(url, timeout=10))["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{query}: {json.load(error)['error']}")
def value(query):
    found = get("query", query=query)["result"]
    return float(found[0]["value"][1]) if found else None
dashboard = json.load(open(sys.argv[1]))
asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])] + [note["expr"] for note in dashboard["annotations"]["list"]]
for variable, text in {"$__rate_interval": "10s", "$__range": "1m", "$instance": ".+"}.items():
    asked = [query.replace(variable, text) for query in asked]
answers = {query: get("query", query=query)["result"] for query in asked}
rules = get("rules")["groups"][0]["rules"]
broken = [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"]
firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
for expression in sys.argv[2:]:
    if not eval(expression):
        sys.exit(f"{broken} {firing}\nno answer: {[query for query, found in answers.items() if not found]}\nnot so: {expression}")
PYTHON
}
check "every question of the dashboard can be asked" asked "len(answers) > 80"
# What needs TLS, a firewall, UM's notices, faults: not here. The rest has an answer.
check "most have an answer here" asked "sum(1 for found in answers.values() if found) > 35"
check "every rule can be reckoned, none fires" asked "len(rules) > 30" "not broken" "not firing"
check "forty calls were counted" asked "value('sum(portcullis_calls_ended_total{answered=\"yes\",reason=\"call.normal\"})') == 40" "value('portcullis_call_setup_seconds_count') == 40"
check "the setup delay is told" asked "0 < value('histogram_quantile(0.95, sum by (le) (portcullis_call_setup_seconds_bucket))') < 5"
check "the process is seen" asked "value('process_resident_memory_bytes') > 1e6" "value('process_cpu_seconds_total') > 0" "value('time() - process_start_time_seconds') < 120"

stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
