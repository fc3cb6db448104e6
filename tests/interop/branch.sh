#!/bin/bash
# A branch whose WAN is cut: PBX and carrier by sipp on the branch's own network, UM (sipp over TCP) and an HTTPS receiver of missed calls at the
# centre, a router between them whose link goes down. Unanswered calls go over the PSTN to the auto attendant, calls for voicemail to the subscriber
# access number, missed calls wait on disk while the border is killed and started again; with the link back they come in order, each once, and
# calls go to UM again. Then the same with a receiver that speaks SIP, sipp over TCP.
. "$(dirname "$0")/lab.sh"
for program in sipp python3 openssl; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.98.0.1/24
host pbx 10.98.0.11/24
host carrier 10.98.0.12/24
alone wan
alone centre
# link NAME HOST ADDRESS : from the WAN's router to one of its ends.
link() {
    ip link add "$1" netns "$LAB-wan" type veth peer name wan0 netns "$LAB-$2"
    ip -n "$LAB-wan" addr add "$4" dev "$1"
    ip -n "$LAB-wan" link set "$1" up
    ip -n "$LAB-$2" addr add "$3" dev wan0
    ip -n "$LAB-$2" link set wan0 up
}
link branch0 sbc 10.98.1.1/24 10.98.1.2/24
link centre0 centre 10.98.2.2/24 10.98.2.1/24
at wan sysctl -qw net.ipv4.ip_forward=1
ip -n "$LAB-sbc" route add 10.98.2.0/24 via 10.98.1.2
ip -n "$LAB-centre" route add default via 10.98.2.1

SET=$WORK/set
cp -r "$HERE/sets/branch" "$SET"
quietly() { "$@" >/dev/null 2>&1; }
quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=branch test CA" -keyout "$WORK/ca.key" -out "$SET/ca.pem"
quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=receiver" -keyout "$WORK/receiver.key" -out "$WORK/receiver.csr"
quietly openssl x509 -req -in "$WORK/receiver.csr" -CA "$SET/ca.pem" -CAkey "$WORK/ca.key" -CAcreateserial -days 2 -out "$WORK/receiver.pem" \
    -extfile <(printf 'subjectAltName=IP:10.98.2.2\nbasicConstraints=CA:FALSE\n')

start um centre sipp -sf "$HERE/sipp/um_asked.xml" -i 10.98.2.2 -p 5060 -mi 10.98.2.2 -t t1 -key contact "10.98.2.2:5060;transport=tcp" -nostdin -nd
start receiver centre python3 "$HERE/receiver.py" 10.98.2.2 8443 "$WORK/receiver.pem" "$WORK/receiver.key" "$WORK/notices.jsonl"
listening centre 5060
listening centre 8443

# A caller of its own number for each call, and what the PBX says of diversion.
for scenario in call call_cancelled; do
    sed -e '0,/Max-Forwards: 70/s//Max-Forwards: 70\n[extra]/' -e 's/2001/[caller]/g' "$HERE/sipp/$scenario.xml" >"$WORK/$scenario.xml"
done
CALLER=2100
# caller SCENARIO [MAILBOX] : a call of the PBX to 5000, diverted from the mailbox.
caller() {
    local extra="Subject: none"
    [ -z "${2:-}" ] || extra="Diversion: <sip:$2@10.98.0.11>;reason=no-answer"
    at pbx timeout 50 sipp 10.98.0.1:5060 -sf "$WORK/$1.xml" -i 10.98.0.11 -p 5060 -mi 10.98.0.11 -t u1 -s 5000 -d 200 -m 1 -nostdin -timeout 45 \
        -key extra "$extra" -key caller "$CALLER"
}
# pstn SCENARIO : the carrier, until it is stopped; every message in $WORK/pstn.msg.
pstn() {
    start "pstn-$1" carrier sipp -sf "$HERE/sipp/$1.xml" -i 10.98.0.12 -p 5060 -mi 10.98.0.12 -t u1 -key contact 10.98.0.12:5060 -nostdin \
        -trace_msg -message_file "$WORK/pstn.msg" -message_overwrite false
    PSTN=$PID
    listening carrier 5060
}
call() { CALLER=$((CALLER + 1)); check "$@"; }
dialled() { grep -q "^INVITE sip:$1@" "$WORK/pstn.msg"; }
told() { grep -q "$@" "$WORK/border.log"; }
# within SECONDS COMMAND...
within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { "$@"; return; }; sleep 0.3; done; }
shown() { timeout 10 "$PORTCULLIS" show missed-calls --socket "$SET/control.sock" --json | python3 -c "import json,sys; a = json.load(sys.stdin); sys.exit(0 if $1 else (print(a) or 1))"; }
COUNT=0
record() { COUNT=$((COUNT + 1)); check "$1: the record" records "$SET/records.jsonl" $COUNT "${@:2}"; }

border sbc "$SET" 5060
pstn um
check "the WAN is up" within 20 told "WAN to the centre is up"
call "a diverted call" caller call 1000
record "it goes to UM" "r.b.peer == 'um' and r.status == 200"

ip -n "$LAB-wan" link set centre0 down
call "the link is cut, and a call tries UM first" caller call 1000
record "the PSTN takes it" "r.b.peer == 'carrier' and r.status == 200"
check "that the WAN is down is noticed" within 60 told "WAN to the centre is down"
check "and shown" shown "a['wan'] == 'down'"
check "the auto attendant was dialled" dialled '+14255550190'
refuses "nobody dialled the subscriber access number yet" dialled '+14255550191'
call "a call for voicemail" caller call
record "goes over the PSTN at once" "r.b.peer == 'carrier' and r.status == 200 and r.setup_ms < 2000"
check "to the subscriber access number" dialled '+14255550191'
refuses "the PSTN is not told whose mailbox it is" grep -qi '^Diversion' "$WORK/pstn.msg"

stop "$PSTN"
pstn um_ringing
for mailbox in 1001 1002; do
    call "nobody answers at the PSTN, the caller of $mailbox gives up" caller call_cancelled $mailbox
    record "mailbox $mailbox" "r.reason == 'call.cancelled' and r.b.peer == 'carrier'"
done
check "two notices wait" within 5 shown "a['status']['queued'] == 2 and [n['mailbox'] for n in a['queued']] == ['1001', '1002']"
# As power fails.
kill -9 "$BORDER"; wait "$BORDER" 2>/dev/null
cp "$WORK/border.log" "$WORK/border-killed.log"
border sbc "$SET" 5060
check "they are there after kill -9" within 5 shown "a['status']['queued'] == 2"
check "the WAN is known to be down again" within 60 told "WAN to the centre is down"
call "another call is missed" caller call_cancelled 1003
record "mailbox 1003" "r.reason == 'call.cancelled'"
check "three notices wait, none came to the receiver" within 5 shown "a['status']['queued'] == 3 and a['status']['delivered'] == 0"
check "the receiver has nothing" test ! -s "$WORK/notices.jsonl"

ip -n "$LAB-wan" link set centre0 up
check "the WAN is up again" within 90 told "WAN to the centre is up again"
check "the notices are delivered" within 30 shown "a['status']['queued'] == 0 and a['status']['delivered'] == 3 and a['status']['parked'] == 0"
python3 - "$WORK/notices.jsonl" >"$WORK/order" 2>&1 <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
bodies = [json.loads(line["body"]) for line in lines]
first = {}
for line in lines:
    assert first.setdefault(line["key"], line["body"]) == line["body"], "a repeat is the same to the byte"
assert all(line["key"] == '"%s"' % body["id"] and line["token"] == "Bearer branch-token" for line, body in zip(lines, bodies))
assert [json.loads(body)["mailbox"] for body in first.values()] == ["1001", "1002", "1003"], first
assert len(lines) == 4, "the one that got a 503 came again, no other did"
assert all(body["why"] == "caller_gave_up" and body["border"] == "branch" and body["dial_plan"] == "branch" for body in bodies)
PYTHON
check "in order, each once under its key" test $? = 0 -a ! -s "$WORK/order"
cat "$WORK/order"
call "a diverted call with the WAN back" caller call 1000
record "goes to UM again" "r.b.peer == 'um' and r.status == 200"
stop "$BORDER"

# The receiver speaks SIP, and answers the first notice with 503.
ip -n "$LAB-centre" addr add 10.98.2.3/24 dev wan0
start message centre sipp -sf "$HERE/sipp/notices.xml" -i 10.98.2.3 -p 5070 -t t1 -nostdin -trace_msg -message_file "$WORK/message.msg"
listening centre 5070
sed -i 's|^target = .*|sip = { peer = "notices", uri = "sip:missed-calls@um.corp.example.com" }|; s|missed-calls.redb|over-sip.redb|' "$SET/branch.toml"
cat >>"$SET/peers.toml" <<'PEERS'

[[peer]]
name = "notices"
kind = "um-server"
hosts = "10.98.2.3"
transport = "tcp"
port = 5070
mode = "unsecured"
PEERS
ip -n "$LAB-wan" link set centre0 down
border sbc "$SET" 5060
check "SIP: the link is cut" within 60 told "WAN to the centre is down"
for mailbox in 1004 1005 1006; do
    call "SIP: the caller of $mailbox gives up" caller call_cancelled $mailbox
    record "SIP: mailbox $mailbox" "r.reason == 'call.cancelled' and r.b.peer == 'carrier'"
done
check "SIP: three notices wait" within 5 shown "a['status']['queued'] == 3 and a['status']['delivered'] == 0 and a['attempts'] > 0"
kill -9 "$BORDER"; wait "$BORDER" 2>/dev/null
border sbc "$SET" 5060
check "SIP: they are there after kill -9" within 5 shown "a['status']['queued'] == 3"
ip -n "$LAB-wan" link set centre0 up
check "SIP: the notices are delivered" within 90 shown "a['status']['queued'] == 0 and a['status']['delivered'] == 3 and a['status']['parked'] == 0"
python3 - "$WORK/message.msg" >"$WORK/order" 2>&1 <<'PYTHON'
import json, re, sys
text = open(sys.argv[1]).read().replace("\r\n", "\n")
came = re.findall(r"^MESSAGE (\S+) SIP/2.0\n((?:[^\n]+\n)+)\n(\{[^\n]*\})", text, re.M)
assert len(came) == 4, (len(came), "the one that got a 503 came again, no other did")
first = {}
for uri, head, body in came:
    key = re.search(r"^Portcullis-Notice: (\S+)$", head, re.M).group(1)
    assert uri == "sip:missed-calls@um.corp.example.com" and "Content-Type: application/json" in head and "Contact:" not in head
    assert json.loads(body)["id"] == key
    assert first.setdefault(key, body) == body, "a repeat is the same to the byte"
assert [json.loads(body)["mailbox"] for body in first.values()] == ["1004", "1005", "1006"], first
PYTHON
check "SIP: in order, each once under its id" test $? = 0 -a ! -s "$WORK/order"
cat "$WORK/order"
stop "$BORDER"
verdict
