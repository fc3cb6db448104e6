#!/bin/bash
# The disk of the call records is full while sipp calls: calls go on, it is said everywhere an operator looks, and with room there is again nothing has to be
# started anew. The disk is a small tmpfs that only the border and this script see.
if [ -z "${IN_OWN_MOUNTS:-}" ]; then exec env IN_OWN_MOUNTS=1 unshare --mount --propagation private "$0" "$@"; fi
. "$(dirname "$0")/lab.sh"
command -v sipp >/dev/null || { echo "install sip-tester first" >&2; exit 2; }

alone lab
SET=$WORK/set
DISK=$WORK/disk
cp -r "$ROOT/policies/unsecured-lab" "$SET"
mkdir "$DISK"
mount -t tmpfs -o size=8m tmpfs "$DISK"
sed -i "/^store = /d; s|^file = .*|file = \"$DISK/records.jsonl\"\nstore = \"$DISK/records.sqlite\"\n\n[control]\nsocket = \"$WORK/control.sock\"|" "$SET/border.toml"
border lab "$SET" 5060

# of PATH : what the admin door says.
of() { at lab timeout 10 python3 -c 'import sys, urllib.request; print(urllib.request.urlopen("http://127.0.0.1:9160" + sys.argv[1], timeout=5).read().decode())' "$1"; }
says() { of "$1" | grep -q -- "$2"; }
shows() { at lab timeout 10 "$PORTCULLIS" show status --socket "$WORK/control.sock" | grep -q -- "$1"; }
# within SECONDS COMMAND... : until it holds.
within() { local most=$1; shift; for _ in $(seq $((most * 5))); do "$@" && return 0; sleep 0.2; done; return 1; }
# calls COUNT : one after the other, all of which must be answered and ended.
calls() {
    start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m "$1" -nostdin
    local um=$PID
    listening lab 5062
    at lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 100 -m "$1" -r 10 -nostdin -timeout 50
    local status=$?
    stop "$um"
    return $status
}
in_store() {
    python3 - "$DISK/records.sqlite" <<'PYTHON'
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
print(store.execute("SELECT count(*) FROM calls").fetchone()[0])
PYTHON
}
holds() { [ "$(in_store)" = "$1" ]; }

check "ten calls while there is room" calls 10
check "they are in the store" within 5 holds 10
check "nothing is said to fail" says /metrics 'portcullis_records_failing{to="store"} 0'
dd if=/dev/zero of="$DISK/filling" bs=4k 2>/dev/null
check "ten calls while the disk is full" calls 10
check "metrics say that the store fails" within 10 says /metrics 'portcullis_records_failing{to="store"} 1'
check "metrics say that the file fails" within 10 says /metrics 'portcullis_records_failing{to="file"} 1'
check "health says so, and stays well" says /healthz 'call records, store: the disk is full; make room'
check "status says so" shows 'records store .*NOT TAKEN: the disk is full'
check "the log says so, once and not for every call" bash -c '[ "$(grep -c "call records are not stored" "$1")" = 1 ] && [ "$(grep -c "call records are not written" "$1")" = 1 ]' - "$WORK/border.log"
rm "$DISK/filling"
check "the store recovers by itself" within 10 says /metrics 'portcullis_records_failing{to="store"} 0'
check "what waited is stored, and nothing is corrupt" within 5 holds 20
check "none of the store's were lost" says /metrics 'portcullis_records_lost_total{to="store"} 0'
check "ten more calls" calls 10
check "the file recovers with the next record" within 5 says /metrics 'portcullis_records_failing{to="file"} 0'
check "all thirty are in the store" within 5 holds 30
check "the log says that it is over" grep -q 'call records are stored again' "$WORK/border.log"
# A line or two may still have fitted into the last page.
LOST=$(of /metrics | sed -n 's/^portcullis_records_lost_total{to="file"} //p')
check "of the file most of ten were lost, and each is counted" python3 - "$DISK/records.jsonl" "$LOST" <<'PYTHON'
import json, sys
whole, lost = 0, int(sys.argv[2])
for line in open(sys.argv[1]):
    try:
        whole += "call" in json.loads(line)
    except ValueError:
        pass
assert whole + lost == 30 and 5 <= lost <= 10, (whole, lost)
PYTHON

# A crash while the disk is full must not take the border out of service: with a store that is there, and with none.
for store in there gone; do
    stop "$BORDER"
    if [ "$store" = gone ]; then rm -f "$DISK"/records.sqlite*; fi
    dd if=/dev/zero of="$DISK/filling" bs=4k 2>/dev/null
    border lab "$SET" 5060
    check "started on a full disk, store $store: a call" calls 1
    check "store $store: status says that it is not taken" within 10 shows 'records store .*NOT TAKEN'
    rm "$DISK/filling"
    check "store $store: it is opened when there is room" within 10 says /metrics 'portcullis_records_failing{to="store"} 0'
    check "store $store: what waited is stored" within 5 holds "$([ "$store" = there ] && echo 31 || echo 1)"
done
stop "$BORDER"
umount "$DISK"
verdict
