#!/bin/bash
# Call records to a real PostgreSQL server while sipp calls: over TLS with a password; the server is killed in the middle and comes back; each call is there once.
. "$(dirname "$0")/lab.sh"
BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$BIN" ] || { echo "install postgresql first" >&2; exit 2; }
for tool in sipp openssl runuser; do command -v "$tool" >/dev/null || { echo "install sip-tester, openssl and util-linux first" >&2; exit 2; }; done

alone lab
SET=$WORK/set
DB=$WORK/db
cp -r "$ROOT/policies/unsecured-lab" "$SET"
chmod 755 "$WORK"
mkdir "$DB" && chown postgres "$DB"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }
for ca in ours other; do key "$WORK/$ca.key" && openssl req -x509 -new -key "$WORK/$ca.key" -days 2 -subj "/CN=$ca" -out "$WORK/$ca.pem"; done
key "$DB/server.key"
printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n' >"$WORK/leaf"
openssl req -new -key "$DB/server.key" -subj /CN=localhost | openssl x509 -req -CA "$WORK/ours.pem" -CAkey "$WORK/ours.key" -CAcreateserial -days 2 -extfile "$WORK/leaf" -out "$DB/server.pem" 2>/dev/null
printf 'a secret of the test\n' >"$DB/password"
chown postgres "$DB"/* && chmod 600 "$DB"/server.key
as() { at lab runuser -u postgres -- "$@"; }
as "$BIN/initdb" -D "$DB/data" -A scram-sha-256 -U portcullis --pwfile="$DB/password" -N >"$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log"; exit 2; }
cat >>"$DB/data/postgresql.conf" <<CONFIG
listen_addresses = '127.0.0.1'
unix_socket_directories = '$DB'
ssl = on
ssl_cert_file = '$DB/server.pem'
ssl_key_file = '$DB/server.key'
shared_buffers = 16MB
CONFIG
sed -i 's/^host .*all .*127.*/hostssl all all 127.0.0.1\/32 scram-sha-256/; s/^local .*all .*all .*/local all all trust/' "$DB/data/pg_hba.conf"
server() { start postgres lab runuser -u postgres -- "$BIN/postgres" -D "$DB/data" && SERVER=$PID && listening lab 5432; }
# Without a word of good-bye: all its processes at once.
crash() {
    local main
    main=$(head -n 1 "$DB/data/postmaster.pid")
    # shellcheck disable=SC2046
    kill -9 "$main" $(pgrep -P "$main")
    wait "$SERVER" 2>/dev/null
    rm -f "$DB/data/postmaster.pid"
}
sql() { as timeout 10 "$BIN/psql" -h "$DB" -U portcullis -d postgres -qAt -c "$1"; }
is() { [ "$(sql "$1")" = "$2" ] || { sql "$1"; return 1; }; }

sed -i "s|^file = .*|file = \"records.jsonl\"\n[records.postgres]\nhost = \"localhost\"\nuser = \"portcullis\"\ndatabase = \"postgres\"\npassword_file = \"$WORK/password\"\nca = \"$WORK/ca.pem\"\n\n[control]\nsocket = \"$WORK/control.sock\"|" "$SET/border.toml"
cp "$WORK/other.pem" "$WORK/ca.pem"
printf 'a wrong one\n' >"$WORK/password"
border lab "$SET" 5060
says() { at lab timeout 10 "$PORTCULLIS" show status --socket "$WORK/control.sock" | grep -q -- "$1"; }
within() { local most=$1; shift; for _ in $(seq $((most * 5))); do "$@" && return 0; sleep 0.2; done; return 1; }

check "a server that is away is told of, and what to do" within 10 says 'records postgres NOT TAKEN: localhost, port 5432: .*see whether it runs'
server
check "a certificate of nobody we know is refused" within 20 says 'NOT TAKEN: .*no TLS with localhost.*see its certificate and the file ca'
cp "$WORK/ours.pem" "$WORK/ca.pem"
check "a wrong password is told of" within 20 says 'NOT TAKEN: FATAL: password authentication failed for user "portcullis"; see user and password_file'
printf 'a secret of the test\n' >"$WORK/password"
check "with the right one it connects by itself" within 35 grep -q 'call records go to PostgreSQL' "$WORK/border.log"

start um lab timeout 60 sipp -sf "$HERE/sipp/um.xml" -i 127.0.0.3 -p 5062 -mi 127.0.0.3 -t t1 -key contact "127.0.0.3:5062;transport=tcp" -m 200 -nostdin
UM=$PID
listening lab 5062
start calls lab timeout 60 sipp 127.0.0.1:5060 -sf "$HERE/sipp/call.xml" -i 127.0.0.2 -p 5060 -mi 127.0.0.2 -t u1 -s 5000 -d 100 -m 200 -r 40 -nostdin -timeout 50
CALLS=$PID
sleep 1.5
check "rows arrive while calls are made" within 5 is 'SELECT count(*) > 0 FROM portcullis_calls' t
crash
sleep 1.5
server
check "two hundred calls while the server is killed and started again" wait "$CALLS"
stop "$UM"
check "each call is there, and once" within 40 is 'SELECT count(*), count(DISTINCT call) FROM portcullis_calls' '200|200'
check "the record is JSON that can be asked" is "SELECT count(*) FROM portcullis_calls WHERE record->>'reason' = 'call.normal' AND a_peer = record->'a'->>'peer' AND answered" 200
check "began is when the call did" is "SELECT count(*) FROM portcullis_calls WHERE abs(extract(epoch FROM began - (record->>'began')::timestamptz)) < 0.002" 200
check "it went over TLS" is "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'portcullis'" t
check "none were lost" says 'records postgres 200 written'
refuses "no password is in the log" grep -q 'a secret of the test\|a wrong one' "$WORK/border.log" "$WORK/check.log"
sql 'UPDATE portcullis_schema SET version = 99' >/dev/null
stop "$BORDER"
border lab "$SET" 5060
check "tables of a newer version are left alone" within 10 says 'NOT TAKEN: its tables are of a newer version'
stop "$BORDER"
stop "$SERVER"
verdict
