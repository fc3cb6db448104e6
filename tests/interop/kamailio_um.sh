#!/bin/bash
# A UM whose call router and UM service are Kamailio, over mutual TLS: it redirects twice, by two ports, to a simulated worker, and once to a worker in
# clear, where the border must not follow.
. "$(dirname "$0")/lab.sh"
for program in kamailio python3; do command -v $program >/dev/null || { echo "install $program first" >&2; exit 2; }; done

host sbc 10.99.0.1/24 10.99.0.2/24
host alice 10.99.0.11/24
host bob 10.99.0.12/24
host router 10.99.0.13/24
SET=$WORK/set
cp -r "$HERE/sets/secured" "$SET"
"$PORTCULLIS" certs init "$SET/certs" --name sbc.example.test --name alice.example.test --name bob.example.test --name router.example.test >/dev/null || exit 2
border sbc "$SET" 5061

sed "s#TLS_CONFIG#$WORK/tls.cfg#" "$HERE/kamailio_um.cfg" >"$WORK/kamailio.cfg"
for role in server:default client:default; do
    printf '%s\n' "[$role]" "method = TLSv1.2+" "verify_certificate = yes" "require_certificate = yes" "certificate = $SET/certs/router.example.test.pem" \
        "private_key = $SET/certs/router.example.test.key" "ca_list = $SET/certs/ca.pem"
done >"$WORK/tls.cfg"
start kamailio router kamailio -f "$WORK/kamailio.cfg" -DD -E -m 64 -M 8 -Y "$WORK" -P "$WORK/kamailio.pid"
listening router 5061
listening router 5063

party() { printf '%s ' --remote --certificate "$SET/certs/$1.example.test.pem" --key "$SET/certs/$1.example.test.key" --ca "$SET/certs/ca.pem"; }
# shellcheck disable=SC2046
start um bob "$PORTCULLIS" simulate um --for 2m --address 10.99.0.12 --mode secured --digits 4 --ports 5061,5063,5066,5068 --gateway-names sbc.example.test $(party bob)
listening bob 5066
# In clear, where nobody may be led.
start clear bob "$PORTCULLIS" simulate um --for 2m --address 10.99.0.12 --remote --ports 6061,6063,5065,6068
listening bob 5065

# shellcheck disable=SC2046
trunk() { at alice timeout 60 "$PORTCULLIS" simulate trunk --border 10.99.0.1:5061 --border-name sbc.example.test --media 10.99.0.11 --to 5001 $(party alice) "$@"; }
check "the call is answered behind two redirects, with SRTP, and heard" trunk --from 2001 --lasting 3s
check "Kamailio verified the border's certificate on both its ports" grep -q "INVITE on port 5061 from .* verified 1" "$WORK/kamailio.log"
check "and redirected it from the second port" grep -q "INVITE on port 5063 from .* verified 1" "$WORK/kamailio.log"
check "the worker took it" grep -q "worker: takes the call to 5001" "$WORK/um.log"
check "the worker heard the caller" grep -Eq "worker: recorded: [0-9]+ packets, [1-9][0-9]+ frames of the tone, [0-9]+ of something else, 0 refused" "$WORK/um.log"
check "the record: two redirects, secured on both legs" records "$SET/records.jsonl" 1 "r.status == 200 and r.reason == 'call.normal'" \
    "[hop.to for hop in r.redirects] == ['10.99.0.13:5063', '10.99.0.12:5066']" "r.b.peer == 'bob' and 'bob.example.test' in r.b.tls.names" \
    "r.a.mode == r.b.mode == 'secured'" "r.media.a_to_b.lost == r.media.b_to_a.lost == 0"
refuses "a redirect to TCP is not followed" trunk --from +15550002666 --lasting 1s
check "the record says why" records "$SET/records.jsonl" 2 "r.reason == 'redirection.downgrade'" "len(r.redirects) == 1"
refuses "nothing reached the worker in clear" grep -q "takes the call\|refused INVITE" "$WORK/clear.log"
verdict
