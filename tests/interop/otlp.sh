#!/bin/bash
# Traces by way of an OpenTelemetry collector of others (rotel), as it hands them on: our OTLP over HTTP goes in, its own comes out and is read by OpenTelemetry's official
# definitions. Is each call one trace, is every decision a span under the chapter it belongs to, are both legs there, does nothing get lost while the collector is away,
# and over HTTPS? PEERS: the folder with the Python packages rotel and opentelemetry-proto.
. "$(dirname "$0")/lab.sh"
PEERS=${PEERS:-$ROOT/target/peers}
ROTEL=$PEERS/rotel/rotel-agent
export PYTHONPATH=$PEERS
for program in sipp socat openssl python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done
python3 -c "import opentelemetry.proto.collector.trace.v1.trace_service_pb2" && [ -f "$ROTEL" ] ||
    { echo "install the collector first: /usr/bin/python3 -m pip install --target $PEERS rotel==0.0.1a15 opentelemetry-proto" >&2; exit 2; }
cp "$ROTEL" "$WORK/rotel" && chmod +x "$WORK/rotel" || exit 2
"$WORK/rotel" version >"$WORK/version.log" 2>&1 || { cat "$WORK/version.log" >&2; echo "the collector does not start here (it needs libpython3.11)" >&2; exit 2; }

alone lab
SPANS=$WORK/spans.jsonl
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
cp "$SET/border.toml" "$WORK/border.toml"
# A worker for the redirect to lead to.
cat >>"$SET/peers.toml" <<'PEER'

[[peer]]
name = "um-worker"
kind = "um-server"
hosts = "127.0.0.4"
transport = "tcp"
port = 5062
mode = "unsecured"
listener = "tcp"
PEER
echo 'servers = ["um-worker"]' >>"$SET/um_pools.toml"

# A certificate for the collector's address, of a CA of its own.
ec() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "$@" 2>/dev/null; }
ec -subj "/CN=collector CA" -keyout "$WORK/ca.key" -out "$SET/collector-ca.pem"
ec -subj "/CN=collector" -addext "subjectAltName=IP:127.0.0.1" -addext "basicConstraints=critical,CA:FALSE" -CA "$SET/collector-ca.pem" -CAkey "$WORK/ca.key" \
    -keyout "$WORK/collector.key" -out "$WORK/collector.pem"

start receiver lab timeout 120 python3 "$HERE/otlp.py" serve 127.0.0.1 4319 "$SPANS"
listening lab 4319 || { cat "$WORK/receiver.log"; exit 2; }
collector() {
    start collector lab timeout 120 "$WORK/rotel" start --pid-file "$WORK/rotel.pid" --log-file "$WORK/rotel.log" --otlp-grpc-endpoint 127.0.0.1:4317 \
        --otlp-http-endpoint 127.0.0.1:4318 --exporter otlp --otlp-exporter-endpoint http://127.0.0.1:4319 --otlp-exporter-protocol http --debug-log traces
    COLLECTOR=$PID
    listening lab 4318 || { cat "$WORK/collector.log"; exit 2; }
}
# to KEYS... : the border, its traces sent by these.
to() {
    { cat "$WORK/border.toml"; printf '\n[control]\nsocket = "control.sock"\n\n[otlp]\n'; printf '%s\n' "$@"; } >"$SET/border.toml"
    border lab "$SET" 5060
}
um() {
    start "um-$1" lab timeout 60 sipp -sf "$HERE/sipp/$1.xml" -i "$2" -p 5062 -mi "$2" -t t1 -key contact "$2:5062;transport=tcp" -key worker 127.0.0.4:5062 -m "${3:-1}" -nostdin
    UM=$PID
    for _ in $(seq 50); do at lab ss -Hltn "src $2:5062" | grep -q . && return; sleep 0.1; done
}
caller() {
    local scenario=$1
    shift
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/$scenario.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 300 -m 1 -nostdin -timeout 50 "$@"
}
told() { timeout 30 python3 "$HERE/otlp.py" ask "$SPANS" "$@"; }

collector
to 'url = "http://127.0.0.1:4318"'
um um_redirecting 127.0.0.3
ROUTER=$UM
um um 127.0.0.4
WORKER=$UM
check "a call that is redirected" caller call
check "comes out of the collector as one trace, of this border" told 1 "t.root.name == 'call'" "len({span.trace for span in t.spans}) == 1 and len({span.id for span in t.spans}) == len(t.spans)" \
    "t.root.resource['service.name'] == 'portcullis' and t.root.resource['service.instance.id'] == 'unsecured-lab'" "t.root.kind == 2"
check "each span has its parent, and lies within it" told 1 "all(t.parent(span) for span in t.spans if span is not t.root)" \
    "all(t.parent(span).began <= span.began <= span.ended <= t.parent(span).ended for span in t.spans if span is not t.root)"
check "the chapters: setup, then talk" told 1 "[span.name for span in t.children(t.root)] == ['setup', 'talk']" "t.named('setup')[0].ended == t.named('talk')[0].began" \
    "0.3e9 <= t.named('talk')[0].ended - t.named('talk')[0].began < 5e9"
check "both legs at the root, and what became of the call" told 1 "t.root['values']['portcullis.a.peer'] == 'trunk' and t.root['values']['portcullis.b.peer'] == 'um-worker'" \
    "t.root['values']['portcullis.a.mode'] == t.root['values']['portcullis.b.mode'] == 'unsecured'" \
    "t.root['values']['portcullis.status'] == 200 and t.root['values']['portcullis.reason'] == 'call.normal' and t.root.status == 'unset'"
check "each target that was tried, in order, with its place" told 1 "[span['values']['portcullis.peer'] for span in t.named('target')] == ['um', 'um-worker']" \
    "[span['values']['network.peer.address'] for span in t.named('target')] == ['127.0.0.3', '127.0.0.4']" \
    "all(span['values']['network.peer.port'] == 5062 and span['values']['network.transport'] == 'tcp' and span.kind == 3 and span['values']['peer.service'] == span['values']['portcullis.peer'] for span in t.named('target'))" \
    "t.named('target')[0].ended <= t.named('target')[1].began"
check "each decision, with its rule and what was compared" told 1 "{'access_control', 'admission', 'hunt_group', 'dial_plan', 'security_mode', 'routing'} <= {span.name for span in t.children(t.named('setup')[0])}" \
    "all('portcullis.rule' in span['values'] for span in t.children(t.named('setup')[0]) if span.name != 'target')" \
    "any(key.startswith('portcullis.compared.') for key in t.named('routing')[0]['values'])"
"$PORTCULLIS" ladder 1 --json --socket "$SET/control.sock" >"$WORK/ladder.json"
check "the decisions that the call's ladder has, in their order" told 1 "len(decided('$WORK/ladder.json')) >= 8" \
    "[(span.name, span['values']['portcullis.rule']) for span in t.spans if 'portcullis.rule' in span['values']] == decided('$WORK/ladder.json')"
check "the redirect and the answer as events" told 1 "[event['name'] for event in t.root.events][-1] == 'answered'" \
    "[(event['values']['sip.status'], event['values']['portcullis.to']) for event in t.root.events if event['name'] == 'redirected'] == [(302, '127.0.0.4:5062')]"
stop "$ROUTER"
stop "$WORKER"

um um_busy 127.0.0.3
check "a call that is busy" caller call_refused
check "is a trace without talk, and the fault of the called side" told 2 "[span.name for span in t.children(t.root)] == ['setup']" \
    "t.root['values']['portcullis.status'] == 486 and t.root['values']['portcullis.fault'] == 'peer'" "t.root.status == 'error' and t.root.message.startswith('call.rejected: ')"
stop "$UM"
check "a call nobody is there to take" fails caller call
check "is an error at the root, in setup and at the target, with its reason" told 3 "t.root.status == 'error' and t.named('setup')[0].status == 'error' and t.named('target')[-1].status == 'error'" \
    "t.root.message.startswith(t.root['values']['portcullis.reason'] + ': ')" "t.named('target')[-1].message.startswith('failover.')"

um um 127.0.0.3 40
stop "$COLLECTOR"
check "forty calls while the collector is away" caller call -m 40 -r 40
sleep 1
told 3 "True" >"$WORK/last.log" 2>&1 || { FAILED=$((FAILED + 1)); cat "$WORK/last.log"; }
check "which the border says" grep -q "the OpenTelemetry receiver takes no traces" "$WORK/border.log"
collector
check "are there when it is back, a trace each" told 43 "len({trace.root['values']['portcullis.call'] for trace in traces}) == 43" \
    "all(len(trace.spans) >= 8 and trace.root['values']['portcullis.reason'] == 'call.normal' for trace in traces[3:])"
check "and none was lost" at lab python3 -c "
import urllib.request
text = urllib.request.urlopen('http://127.0.0.1:9160/metrics', timeout=5).read().decode()
assert 'portcullis_otlp_spans_total{result=\"lost\"} 0' in text and 'portcullis_otlp_spans_total{result=\"refused\"} 0' in text, text"
stop "$UM"
stop "$BORDER"

start tls lab socat "OPENSSL-LISTEN:4443,bind=127.0.0.1,fork,reuseaddr,verify=0,cert=$WORK/collector.pem,key=$WORK/collector.key" TCP:127.0.0.1:4318
listening lab 4443
to 'url = "https://127.0.0.1:4443"' 'ca = "collector-ca.pem"' 'token = "for-traces"' 'calls = "failed"'
um um 127.0.0.3
check "over HTTPS, only what failed: a call that is well" caller call
check "and one nobody takes" fails caller call
stop "$BORDER"
check "come to one trace, sent before the border ends" told 44 "t.root.status == 'error'"
check "no panic" fails grep -q panicked "$WORK/border.log"
verdict
