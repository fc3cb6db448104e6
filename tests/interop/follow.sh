#!/bin/bash
# `portcullis ladder --follow` in a terminal, over the control socket and over the network, on a border with 2,000 calls up and new ones coming: it answers keys, takes
# little of a core and of memory, of the border's as well, and leaves when asked.
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }
ulimit -n "$(ulimit -Hn)"
CALLS=${CALLS:-2000}

alone lab
SET=$WORK/set
cp -r "$ROOT/policies/unsecured-lab" "$SET"
sed -i 's/^silence = .*/silence = "0s"/' "$SET/border.toml"
TOKEN=$("$PORTCULLIS" token follow --role read 2>&1 | sed -n 's/^# The token.*: //p')
cat >>"$SET/border.toml" <<CONFIG

[control]
socket = "control.sock"

[ladder]
calls = 4000

[api]
listen = "127.0.0.1:9161"

[[api.token]]
name = "follow"
role = "read"
sha256 = "$(printf %s "$TOKEN" | sha256sum | cut -d ' ' -f 1)"
CONFIG
border lab "$SET" 5060
start um lab timeout 120 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -nostdin
listening lab 5062
start held lab timeout 120 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -nostdin -m "$CALLS" -l "$CALLS" -r 250 -d 100000
up() { "$PORTCULLIS" show status --json --socket "$SET/control.sock" | python3 -c 'import json, sys; print(json.load(sys.stdin)["calls"])'; }
for _ in $(seq 60); do UP=$(up); [ "${UP:-0}" -ge "$CALLS" ] && break; sleep 0.5; done
check "$CALLS calls are up" test "${UP:-0}" -ge "$CALLS"
start coming lab timeout 90 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5070 -mi 127.0.0.2 -t u1 -s 5000 -nostdin -m 2000 -r 20 -d 500

# of_border : seconds of a core the border has taken.
of_border() { awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); split($0, f, " "); print (f[12] + f[13]) / tick }' "/proc/$BORDER/stat"; }
# holds EXPRESSION : of what follow.py told last.
holds() { python3 -c 'import json, sys; told = json.load(open(sys.argv[1])); print(told); sys.exit(not eval(sys.argv[2], {}, told))' "$WORK/follow.json" "$1"; }
followed() {
    local way=$1 before after
    shift
    before=$(of_border)
    check "$way: followed" bash -c 'timeout 40 "$@" >"$0"' "$WORK/follow.json" ip netns exec "$LAB-lab" env HOME="$WORK" PORTCULLIS_TOKEN="$TOKEN" \
        python3 "$HERE/follow.py" 4 "$PORTCULLIS" ladder --follow "$@"
    after=$(of_border)
    check "$way: a ladder is opened, and it leaves when asked" holds "ladder and status == 0"
    check "$way: it ends with its terminal" holds "gone == [True, True]"
    check "$way: it takes less than half a core and 64 MB" holds "cpu < 0.5 and rss_mb < 64"
    check "$way: a key waits less than half a second" holds "median_ms < 500 and opened_ms < 1500"
    echo "       | $way: $(cut -d , -f 1-7 "$WORK/follow.json")}, border $(python3 -c "print(round($after - $before, 2))") s of a core"
}
followed socket --socket "$SET/control.sock"
followed network --url http://127.0.0.1:9161
verdict
