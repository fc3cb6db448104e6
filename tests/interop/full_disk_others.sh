#!/bin/bash
# The disk of everything but call records is full while sipp calls: log, audit, missed calls, policy sets to go back to. Calls go on, each is said to fail wherever an operator looks, each is taken again once
# there is room; and what was kept before is whole after kill -9. The disk is a small tmpfs that only the border and this script see.
if [ -z "${IN_OWN_MOUNTS:-}" ]; then exec env IN_OWN_MOUNTS=1 unshare --mount --propagation private "$0" "$@"; fi
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
DISK=$WORK/disk
SOCKET=$WORK/control.sock
cp -r "$ROOT/policies/unsecured-lab" "$SET"
mkdir "$DISK"
# The store of missed calls alone takes some 1.5 MB.
mount -t tmpfs -o size=4m tmpfs "$DISK"
cat >>"$SET/border.toml" <<TOML

[control]
socket = "$SOCKET"

[api]
audit = "$DISK/audit.jsonl"

[policy_sets]
kept_in = "$DISK/sets"
TOML
printf 'version = 1\n[missed_calls]\nstore = "%s/missed.redb"\ntarget = { url = "http://127.0.0.1:9/missed", timeout = "1s" }\n' "$DISK" >"$SET/branch.toml"
sed -e '0,/Max-Forwards: 70/s//Max-Forwards: 70\nDiversion: <sip:1003@127.0.0.2>;reason=no-answer/' "$HERE/sipp/call_cancelled.xml" >"$WORK/call_missed.xml"

# begun : the border, its log on that disk.
begun() {
    start border lab sh -c 'exec "$0" run "$1" 2>>"$2"' "$PORTCULLIS" "$SET" "$DISK/border.log"
    BORDER=$PID
    listening lab 5060 || { cat "$DISK/border.log"; exit 2; }
}
ask() { at lab timeout 20 "$PORTCULLIS" "$@" --socket "$SOCKET"; }
# of PATH : what the admin door says.
of() { at lab timeout 10 python3 -c 'import sys, urllib.request; print(urllib.request.urlopen("http://127.0.0.1:9160" + sys.argv[1], timeout=5).read().decode())' "$1"; }
says() { of "$1" | grep -q -- "$2"; }
shows() { ask show status | grep -q -- "$1"; }
failing() { says /metrics "portcullis_writing_failing{what=\"$1\"} $2"; }
# within SECONDS COMMAND... : until it holds.
within() { local most=$1; shift; for _ in $(seq $((most * 5))); do "$@" && return 0; sleep 0.2; done; return 1; }
# called UM CALLER COUNT : so many calls one after the other, all of which must end as their scenarios have it.
called() {
    start um lab timeout 60 sipp -sf "$HERE/sipp/$1.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m "$3" -nostdin
    local um=$PID
    listening lab 5062
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$2" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 100 -m "$3" -r 10 -nostdin -timeout 50
    local status=$?
    stop "$um"
    return $status
}
calls() { called um "$HERE/sipp/call.xml" "$1"; }
missed() { called um_ringing "$WORK/call_missed.xml" 1; }
notices() { ask show missed-calls --json | python3 -c "import json, sys; status = json.load(sys.stdin)['status']; print(status); sys.exit(not ($1))"; }
# other NUMBER : another policy set comes into force.
other() {
    rm -rf "$WORK/other"
    cp -r "$SET" "$WORK/other"
    echo "# $1" >>"$WORK/other/peers.toml"
    ask set policy "$WORK/other" --yes
}
# kept COUNT : so many sets to go back to, each whole.
kept() { [ "$(ask show policy --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["earlier"]))')" = "$1" ]; }

begun
check "calls while there is room" calls 5
check "a missed call, and nobody to be told" missed
check "it waits on the disk" within 5 notices "status['queued'] == 1 and status['unwritten'] == 0"
check "another policy set" other one
check "the one before is kept" kept 1
for what in log audit missed_calls policy_sets; do check "$what is written" failing $what 0; done

dd if=/dev/zero of="$DISK/filling" bs=4k 2>/dev/null
dd if=/dev/zero of="$DISK/filling" bs=1 count=4096 oflag=append conv=notrunc 2>/dev/null
# Its last page may still take some lines.
busy() { for number in $(seq 40); do ask ban "192.0.2.$number"; done >/dev/null; }
check "operators go on" busy
check "calls while the disk is full" calls 10
check "a missed call meanwhile" missed
check "another policy set meanwhile" other two
for what in log audit missed_calls policy_sets; do check "metrics say that $what fails" within 10 failing $what 1; done
for what in log audit 'missed calls' 'policy sets'; do check "health says so of $what, and stays well" says /healthz "^$what: .*calls go on"; done
for what in log audit 'missed calls' 'policy sets'; do check "status says so of $what" shows "^$what .*NOT TAKEN: "; done
check "the page is told the same" bash -c 'test "$(echo "$1" | grep -c "\"error\": \".*full\|\"error\": \".*No space")" -ge 3' - "$(ask show status --json)"
check "the notice waits in memory" notices "status['unwritten'] == 1"

rm "$DISK/filling"
check "log: it recovers by itself" within 10 bash -c "$(declare -f failing says of at ask); LAB=$LAB; timeout 5 ip netns exec $LAB-lab '$PORTCULLIS' unban 192.0.2.1 --socket '$SOCKET' >/dev/null; failing log 0"
check "the log says how many lines were lost" within 5 grep -q "lines of this log were lost.*lost=[1-9]" "$DISK/border.log"
check "audit: what waited is in it" within 5 failing audit 0
check "and nothing of it is lost" says /metrics 'portcullis_writing_lost_total{what="audit"} 0'
check "missed calls: what waited is written by itself" within 10 notices "status['queued'] == 2 and status['unwritten'] == 0 and status['dropped'] == 0"
check "reload" ask reload
for what in log audit missed_calls policy_sets; do check "metrics say that $what is well" within 5 failing $what 0; done
check "calls go on" calls 5

kill -9 "$BORDER"; wait "$BORDER" 2>/dev/null
printf '{"time":"half a li' >>"$DISK/audit.jsonl"
begun
check "after kill -9 the sets are whole" within 5 kept 2
check "and the notices" within 5 notices "status['queued'] == 2"
check "an operator changes something" ask reload
check "half a line of the audit takes no other with it, and none was lost to the full disk" python3 - "$DISK/audit.jsonl" <<'PYTHON'
import json, sys
whole, halves = [], []
for line in open(sys.argv[1]):
    try:
        whole.append(json.loads(line)["request"])
    except ValueError:
        halves.append(line)
assert len(halves) <= 2 and any("half a li" in line for line in halves), halves
assert whole[-1] == "POST /v1/reload" and len(whole) >= 45, whole
PYTHON
check "no thread panicked" bash -c '! grep -a panicked "$1"' - "$DISK/border.log"
stop "$BORDER"
umount "$DISK"
verdict
