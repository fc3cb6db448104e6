#!/bin/bash
# The kernel's firewall with real packets: whom it lets in over UDP, TCP and TLS, IPv4 and IPv6, and whom it drops; that scans and floods of
# strangers are banned and a peer that knocks as hard is not; that media ports are open only while a call is up; that another program's table
# beside ours is not touched, ours is repaired when somebody flushes everything, and is gone after a clean stop. Then without privilege.
. "$(dirname "$0")/lab.sh"
for program in nft sipp nping ncat openssl python3 setpriv setcap; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.97.0.1/24 fd97::1/48
host udp 10.97.0.11/24 fd97::11/48
host um 10.97.0.12/24 fd97:0:0:2::12/48
host tls 10.97.0.13/24 fd97::13/48
host stranger 10.97.0.66/24 fd97:0:0:66::1/48
for space in sbc udp um tls stranger; do ip -n "$LAB-$space" addr show dev eth0 tentative | grep -q tentative && TENTATIVE=yes; done
[ -z "${TENTATIVE:-}" ] || sleep 2
SET=$WORK/set
cp -r "$HERE/sets/firewall" "$SET"
CERTS=$SET/certs
"$PORTCULLIS" certs init "$CERTS" --name sbc.example.test --name peer.example.test >/dev/null || exit 2

# Another program's table, without counters, so that it stays the same to the byte. It has connections tracked.
at sbc nft -f - <<'OTHER'
table inet other {
  set friends { type ipv4_addr; flags interval; elements = { 10.97.0.0/24 } }
  chain input {
    type filter hook input priority filter; policy accept;
    ct state invalid drop
    ip saddr @friends accept
    tcp dport 22 drop
  }
}
table ip portcullis {
  chain mine {
    type filter hook output priority 5; policy accept;
  }
}
OTHER
others() { at sbc nft list table inet other; at sbc nft list table ip portcullis; }
others >"$WORK/others"
border sbc "$SET" 5061

# halt : the border ends, and what it said is kept.
halt() { stop "$BORDER"; cat "$WORK/border.log" >>"$WORK/all.log"; }
probe() { at "$1" timeout 20 python3 "$HERE/probe.py" "${@:2}"; }
is() { [ "$1" = "$2" ] || { echo "$2, not $1"; return 1; }; }
told() { grep -q "$@" "$WORK/border.log"; }
# soon COMMAND... : within five seconds.
soon() { for _ in $(seq 50); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; "$@"; }
ask() { timeout 10 "$PORTCULLIS" "$@" --socket "$SET/control.sock"; }
dropped() { at sbc nft list counter inet portcullis "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
holds() { at sbc nft get element inet portcullis "$1" "{ $2 }"; }
# secured HOST ADDRESS : whether an OPTIONS over mutual TLS gets its 200.
secured() {
    local to=$2
    { printf 'OPTIONS sip:sbc.example.test SIP/2.0\r\nVia: SIP/2.0/TLS peer.example.test:5061;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\nFrom: <sip:a@peer.example.test>;tag=s\r\nTo: <sip:sbc.example.test>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n' $RANDOM $RANDOM; sleep 1; } |
        at "$1" timeout 4 openssl s_client -connect "$to:5061" -CAfile "$CERTS/ca.pem" -cert "$CERTS/peer.example.test.pem" -key "$CERTS/peer.example.test.key" -quiet 2>&1 |
        grep -q "^SIP/2.0 200"
}
export PROBE_SECONDS=1
V4=10.97.0.1
V6=fd97::1

check "in force" soon told "firewall in force"
for to in $V4 $V6; do
    check "$to: a peer over UDP is answered" is answered "$(probe udp udp $to 5060)"
    check "$to: a peer over TCP is answered" is answered "$(probe um tcp $to 5060)"
done
check "$V4: a peer over TLS is answered" secured tls $V4
check "$V6: a peer over TLS is answered" secured tls "[$V6]"
before=$(dropped stranger)
for to in $V4 $V6; do
    check "$to: a stranger over UDP hears nothing" is silent "$(probe stranger udp $to 5060)"
    check "$to: a stranger's connection is not even refused" is silent "$(probe stranger tcp $to 5061)"
done
check "the kernel dropped all of it" test "$(dropped stranger)" -gt "$((before + 8))"
check "and none of it came to the border" fails told "stranger .*from="
check "a peer of another transport is dropped" is silent "$(probe udp tcp $V4 5060)"
check "and counted as that" test "$(dropped transport)" -gt 0
check "ICMP is none of our business" at stranger ping -c 1 -W 2 $V4
start other sbc ncat -lk 8080
listening sbc 8080
check "nor is another program's port" at stranger ncat -z -w 2 $V4 8080

# Knocking: forty datagrams, forty connections; the same by a peer at the same ports.
knock() { at "$1" timeout 10 nping -q "${@:3}" --rate 50 -c 40 "$2" >/dev/null 2>&1; }
knock stranger $V4 --udp -p 5060
check "a scan is banned" holds scan4 10.97.0.66
knock stranger $V6 -6 --tcp --flags syn -p 5061
check "a flood of connections is banned, IPv6 by its /64" holds flood6 fd97:0:0:66::
before=$(dropped stranger)
probe stranger udp $V4 5060 >/dev/null
check "who is banned is counted as banned" is "$before" "$(dropped stranger)"
check "the bans are told of" soon told "banned net=10.97.0.66/32 cause=\"scan\" by=kernel"
listed() { ask show bans --json >"$WORK/bans" && grep -q "\"$1\"" "$WORK/bans"; }
check "and listed, as the kernel's" soon listed fd97:0:0:66::/64
knock udp $V4 --udp -p 5060
knock udp $V4 --tcp --flags syn -p 5061
knock udp $V6 -6 --tcp --flags syn -p 5061
refuses "a peer that knocks as hard is not" holds scan4 10.97.0.11
check "and is served" is answered "$(probe udp udp $V4 5060)"
check "over IPv6 as well" is answered "$(probe udp udp $V6 5060)"

# A call, and media ports.
port() { at sbc nft -j list set inet portcullis media4 | python3 -c 'import json,sys; print(min(e["concat"][1] for o in json.load(sys.stdin)["nftables"] for e in o.get("set",{}).get("elem",[])))'; }
send() { at udp timeout 5 nping -q --udp -g "${2:-4000}" -p "$1" -c 5 --rate 50 $V4 >/dev/null 2>&1; }
received() { at sbc timeout 5 curl -s http://127.0.0.1:9160/metrics | sed -n 's/^portcullis_media_plane_total{event="received"} //p'; }
before=$(dropped media_closed)
send 20000
check "no media port is open without a call" is $((before + 5)) "$(dropped media_closed)"
send 20000 53
check "but answers of DNS are let through" is $((before + 5)) "$(dropped media_closed)"
start um um timeout 40 sipp -sf "$HERE/sipp/um.xml" -i 10.97.0.12 -p 5062 -mi 10.97.0.12 -t t1 -key contact "10.97.0.12:5062;transport=tcp" -m 1 -nostdin
listening um 5062
start call udp timeout 30 sipp $V4:5060 -sf "$HERE/sipp/call.xml" -i 10.97.0.11 -p 5060 -mi 10.97.0.11 -t u1 -s 5000 -d 2500 -m 1 -nostdin -timeout 25
CALL=$PID
check "a call opens its ports" soon port
OPEN=$(port)
before="$(dropped media_closed) $(received)"
send "$OPEN"
check "what is sent there comes to the border" soon is "$(echo "$before" | awk '{print $1, $2 + 5}')" "$(sleep 0.3; echo "$(dropped media_closed) $(received)")"
check "the call is carried" wait "$CALL"
check "and its ports are shut when it is over" soon fails port
before=$(dropped media_closed)
send "$OPEN"
check "for packets as well" is $((before + 5)) "$(dropped media_closed)"

tracked() { at sbc grep -E "[sd]port=($1) " /proc/net/nf_conntrack; }
check "connections of others are tracked" tracked 8080
refuses "SIP and media are not, either way" tracked "5060|5061|20[0-9]{3}"

# Operators.
refused() { ! ask ban "$1" >"$WORK/refused" && grep -q "$2" "$WORK/refused"; }
check "no operator bans a peer, and is told which it is" refused 10.97.0.0/24 'peer "udp4" lives there'
check "an operator bans for a while" ask ban 10.97.0.66 --for 3s --reason "toll fraud"
check "which the kernel has at once" holds ban4 10.97.0.66
ask show bans --json >"$WORK/bans"
check "with owner, reason and time left" grep -q '"why": "toll fraud"' "$WORK/bans"
check "it ends by itself" soon fails holds ban4 10.97.0.66
ask ban fd97:0:0:66::/64 >/dev/null
check "or is lifted" ask unban fd97:0:0:66::/64
refuses "at once" holds ban6 fd97:0:0:66::1

others >"$WORK/others.now"
check "other tables are the same to the byte" cmp "$WORK/others" "$WORK/others.now"
check "a ban by automation ends by itself" soon fails holds scan4 10.97.0.66
at sbc nft flush ruleset
check "a foreign flush is repaired" soon holds udp4 10.97.0.11
check "and told of" soon told "firewall rebuilt.*missing=the whole table"
check "strangers are dropped again" is silent "$(probe stranger tcp $V4 5061)"
check "and peers are not" is answered "$(probe udp udp $V4 5060)"

# Peers that come and go.
sed -i 's/hosts = "10.97.0.11"/hosts = "10.97.0.66"/' "$SET/peers.toml"
kill -HUP "$BORDER"
check "a reload lets a new peer in" soon holds udp4 10.97.0.66
check "and answers it" is answered "$(probe stranger udp $V4 5060)"
check "and the old one is out" soon fails holds udp4 10.97.0.11
check "kernel and core agree, and how soon is told" told "kernel and core go by the same peer table"
echo "       $(grep "kernel and core go by" "$WORK/border.log" | tail -1 | sed 's/.*number/number/')"
halt
check "a clean stop takes the table out" is "" "$(at sbc nft list tables)"

# Without privilege.
sed -i 's/hosts = "10.97.0.66"/hosts = "10.97.0.11"/' "$SET/peers.toml"
chown -R 65534:65534 "$WORK"
chmod 755 "$WORK"
as() { start border sbc setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; BORDER=$PID; }
as --inh-caps=-all --bounding-set=-all "$PORTCULLIS" run "$SET"
check "without privilege the border runs" listening sbc 5061
check "says plainly what is missing and how to grant it" soon told "firewall not in force.*CAP_NET_ADMIN.*setcap"
check "and turns strangers away by itself" is closed "$(probe stranger tcp $V4 5061)"
check "and serves peers" is answered "$(probe udp udp $V4 5060)"
halt
sed -i 's/mode = "on"/mode = "required"/' "$SET/border.toml"
required() { at sbc timeout 10 setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$PORTCULLIS" run "$SET" 2>&1 | tee "$WORK/required.log"; return "${PIPESTATUS[0]}"; }
refuses "a firewall that is required is not done without" required
check "and the refusal has a remedy" grep -q 'mode = "required".*CAP_NET_ADMIN.*AmbientCapabilities' "$WORK/required.log"
as --inh-caps=+net_admin --ambient-caps=+net_admin "$PORTCULLIS" run "$SET"
check "CAP_NET_ADMIN is all it needs" soon holds udp4 10.97.0.11
halt
cp "$PORTCULLIS" "$WORK/portcullis" && setcap cap_net_admin=+p "$WORK/portcullis"
as --inh-caps=-all "$WORK/portcullis" run "$SET"
check "also where it is permitted by the program's file alone" soon holds udp4 10.97.0.11
capable() { for thread in /proc/"$1"/task/*; do echo "$(cat "$thread/comm") $((0x$(sed -n 's/CapEff:\t//p' "$thread/status")))"; done | sed -n 's/ 4096$//p'; }
check "and then only the firewall's thread has it" is firewall "$(capable "$BORDER")"
halt
check "no panic" fails grep -q panicked "$WORK/all.log"
verdict
