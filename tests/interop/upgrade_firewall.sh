#!/bin/bash
# One process of the border takes over from another while the kernel's firewall guards both: media of a call of the old process goes on through it, as
# does that of a call of the new one; strangers stay out, bans stay; the old process's ports are shut when it ends. Then a new process that dies: the old
# one has the table back. Last one with the firewall after one without.
. "$(dirname "$0")/lab.sh"
for program in nft sipp nping python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.97.0.1/24 fd97::1/48
host udp 10.97.0.11/24
host um 10.97.0.12/24
host stranger 10.97.0.66/24
SET=$WORK/set
cp -r "$HERE/sets/firewall" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name peer.example.test >/dev/null || exit 2
at sbc ping -6 -c 1 -W 3 fd97::1 >/dev/null 2>&1
sed -i 's/ban = "10s"/ban = "120s"/' "$SET/border.toml"
border sbc "$SET" 5061

V4=10.97.0.1
export PROBE_SECONDS=1
soon() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; "$@"; }
told() { grep -q "$2" "$WORK/$1.log"; }
ask() { timeout 10 "$PORTCULLIS" "$@"; }
probe() { at "$1" timeout 20 python3 "$HERE/probe.py" "${@:2}"; }
holds() { at sbc nft get element inet portcullis "$1" "{ $2 }"; }
ports() { at sbc nft -j list set inet portcullis media4 | python3 -c 'import json,sys; print(sum(1 for o in json.load(sys.stdin)["nftables"] for e in o.get("set",{}).get("elem",[])))'; }
dropped() { at sbc nft list counter inet portcullis "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
is() { [ "$1" = "$2" ] || { echo "$2, not $1"; return 1; }; }
same() { [ "$(ports)" = "$1" ]; }

# caller NAME PORT SECONDS RTP_PORT : one call, in the background.
caller() {
    start "$1" udp timeout 60 sipp $V4:5060 -sf "$HERE/sipp/call.xml" -i 10.97.0.11 -p "$2" -mi 10.97.0.11 -mp "$4" -t u1 -s 5000 -d "$(($3 * 1000))" -m 1 -nostdin -timeout 55
}
# talk NAME FROM TO SECONDS : a packet each 20 ms from the caller's own media port, in the background.
talk() { start "$1" udp nping -q --udp -g "$2" -p "$3" -c "$(($4 * 50))" --rate 50 --data-length 172 $V4; }
# Every open media port.
open() { at sbc nft -j list set inet portcullis media4 | python3 -c 'import json,sys; print(*sorted(e["concat"][1] for o in json.load(sys.stdin)["nftables"] for e in o.get("set",{}).get("elem",[])))'; }

start um um timeout 80 sipp -sf "$HERE/sipp/um.xml" -i 10.97.0.12 -p 5062 -mi 10.97.0.12 -t t1 -key contact "10.97.0.12:5062;transport=tcp" -nostdin
listening um 5062
check "in force" soon told border "firewall in force"
check "an operator bans" ask ban 203.0.113.0/24 --reason "toll fraud" --socket "$SET/control.sock"
at stranger timeout 10 nping -q --udp -p 5060 --rate 50 -c 40 $V4 >/dev/null 2>&1
check "a scan is banned" soon holds scan4 10.97.0.66
caller first 5060 16 6000
FIRST=$PID
soon same 4
OLD_PORTS=$(open)
check "a call opens its ports" is 4 "$(ports)"
talk sound 6000 "$(cut -d' ' -f1 <<<"$OLD_PORTS")" 12
check "another process takes over" take_over border-second sbc
check "and has the table" soon told border-second "firewall in force"
for port in $OLD_PORTS; do check "the call's port $port stays open" holds media4 "10.97.0.1 . $port"; done
check "the operator's ban stays, in the kernel" holds ban4 203.0.113.9
ask show bans --json --socket "$SET/control.sock" >"$WORK/bans"
check "and in the list of the new process" grep -q '"why": "toll fraud"' "$WORK/bans"
check "the scanner stays banned" holds scan4 10.97.0.66
check "a stranger over TCP hears nothing" is silent "$(probe stranger tcp $V4 5061)"
check "a peer is answered" is answered "$(probe udp udp $V4 5060)"
caller second 5070 5 6100
SECOND=$PID
check "a call of the new process opens ports beside" soon same 8
check "and is carried" wait $SECOND
check "whose ports are shut after it, and no others" soon same 4
check "all of its sound is sent" soon told sound "Raw packets sent: 600"
check "and none was dropped" is 0 "$(dropped media_closed)"
check "the old process's call is carried" wait $FIRST
check "its ports are shut by the new one" soon same 0
check "the old process ends" soon fails kill -0 "$OLD"
check "and has left the table" holds udp4 10.97.0.11
check "lifted in the new process" ask unban 203.0.113.0/24 --socket "$SET/control.sock"
refuses "it is out of the kernel" holds ban4 203.0.113.9

# A new process that dies: the old one goes on, with the table.
caller third 5080 12 6200
THIRD=$PID
soon same 4
check "a third takes over" take_over border-third sbc
check "and has it as well" soon told border-third "firewall in force"
LAST=$OLD
kill -9 "$BORDER"
check "which dies; the one before is in its place again" soon told border-second "takes its place again"
twice() { [ "$(grep -c "firewall in force" "$WORK/border-second.log")" = 2 ]; }
check "and has the table" soon twice
check "with its call's ports" soon same 4
BORDER=$LAST
check "a peer is answered by it" is answered "$(probe udp udp $V4 5060)"
check "its call is carried" wait $THIRD
check "and its ports shut" soon same 0
stop "$BORDER"
check "a clean stop takes the table out" is "" "$(at sbc nft list tables)"

# From off to on: the old process can tell nobody its ports, so that the table comes when it has ended.
sed -i 's/mode = "on"/mode = "off"/' "$SET/border.toml"
border sbc "$SET" 5061
caller fourth 5090 6 6300
FOURTH=$PID
sleep 1
sed -i 's/mode = "off"/mode = "on"/' "$SET/border.toml"
check "a process with the firewall takes over from one without" take_over border-fifth sbc
check "it says when the table comes" told border-fifth "when that has ended its last call"
check "there is none yet" is "" "$(at sbc nft list tables)"
check "a peer is answered" is answered "$(probe udp udp $V4 5060)"
check "a stranger is not" is silent "$(probe stranger udp $V4 5060)"
check "the old one's call is carried" wait $FOURTH
check "the old one ends" soon fails kill -0 "$OLD"
check "then the table is in force" soon told border-fifth "firewall in force"
check "with the peers" holds udp4 10.97.0.11
caller fifth 5095 2 6400
FIFTH=$PID
check "and a call's ports" soon same 4
check "which is carried" wait $FIFTH
stop "$BORDER"
check "no panic" fails grep -q panicked "$WORK"/border*.log
verdict
