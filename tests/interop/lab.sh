# Sourced by every script here: network namespaces, the border, its peers, the count of what held. Linux, root, bash.
#
# A lab is a bridge in a namespace of its own and one namespace for each host; nothing of it reaches the machine's network. What a script
# starts it ends itself, by process number, and every wait has a limit.

set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PORTCULLIS=${PORTCULLIS:-$ROOT/target/release/portcullis}
[ -x "$PORTCULLIS" ] || PORTCULLIS=$ROOT/target/debug/portcullis
[ -x "$PORTCULLIS" ] || { echo "build it first: cargo build --release" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "needs root, for network namespaces" >&2; exit 2; }

NAME=$(basename "$0" .sh)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/portcullis-$NAME.XXXXXX")
LAB=pc$$
STARTED=()
SPACES=()
PASSED=0
FAILED=0
ulimit -c 0

finish() {
    local pid space
    for pid in ${STARTED[@]+"${STARTED[@]}"}; do kill "$pid" 2>/dev/null; done
    for pid in ${STARTED[@]+"${STARTED[@]}"}; do
        for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    for space in ${SPACES[@]+"${SPACES[@]}"}; do ip netns del "$LAB-$space" 2>/dev/null; done
    if [ "$FAILED" -gt 0 ] && [ -z "${KEEP:-}" ]; then echo "$NAME: logs are kept in $WORK"; elif [ -z "${KEEP:-}" ]; then rm -rf "$WORK"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

# host NAME ADDRESS... : a namespace on the lab's bridge.
host() {
    local name=$1 address
    shift
    if [[ " ${SPACES[*]-} " != *" switch "* ]]; then
        ip netns add "$LAB-switch" && SPACES+=(switch)
        ip -n "$LAB-switch" link add br0 type bridge
        ip -n "$LAB-switch" link set br0 up
    fi
    ip netns add "$LAB-$name" && SPACES+=("$name")
    ip -n "$LAB-$name" link set lo up
    ip link add "v-$name" netns "$LAB-switch" type veth peer name eth0 netns "$LAB-$name"
    ip -n "$LAB-switch" link set "v-$name" master br0 up
    for address in "$@"; do ip -n "$LAB-$name" addr add "$address" dev eth0; done
    ip -n "$LAB-$name" link set eth0 up
}

# alone NAME : a namespace with nothing but its loopback.
alone() {
    ip netns add "$LAB-$1" && SPACES+=("$1")
    ip -n "$LAB-$1" link set lo up
}

# at HOST COMMAND... : runs it there.
at() { local name=$1; shift; ip netns exec "$LAB-$name" "$@"; }

# start LOG HOST COMMAND... : in the background, output to $WORK/LOG.log; its process number in $PID.
start() {
    local log=$1 name=$2
    shift 2
    ip netns exec "$LAB-$name" "$@" >"$WORK/$log.log" 2>&1 </dev/null &
    PID=$!
    STARTED+=("$PID")
}

# stop PID : ends one of ours and waits for it, five seconds at most.
stop() {
    kill "$1" 2>/dev/null
    for _ in $(seq 25); do kill -0 "$1" 2>/dev/null || break; sleep 0.2; done
    kill -9 "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# listening HOST PORT : waits until something does, ten seconds at most.
listening() {
    for _ in $(seq 50); do
        at "$1" ss -Hltun "sport = :$2" | grep -q . && return 0
        sleep 0.2
    done
    echo "nothing listens on port $2 of $1" >&2
    return 1
}

# border HOST SET PORT : starts the border on a policy set, which must be writable (its call records go there).
border() {
    "$PORTCULLIS" check --offline "$2" >"$WORK/check.log" 2>&1 || { cat "$WORK/check.log"; exit 2; }
    start border "$1" "$PORTCULLIS" run "$2"
    BORDER=$PID
    listening "$1" "$3" || { cat "$WORK/border.log"; exit 2; }
}

# ended PID [SECONDS] : whether what was started comes to its own end in that time, fifteen seconds where nothing is said, and well.
ended() {
    for _ in $(seq $((${2:-15} * 5))); do kill -0 "$1" 2>/dev/null || { wait "$1"; return; }; sleep 0.2; done
    return 1
}

# take_over LOG HOST : another process in the place of $BORDER, waited for; the one before is $OLD.
take_over() {
    OLD=$BORDER
    start "$1" "$2" "$PORTCULLIS" run "$SET" --take-over
    BORDER=$PID
    for _ in $(seq 75); do grep -q "in force from here on" "$WORK/$1.log" && return 0; sleep 0.2; done
    cat "$WORK/$1.log"
    return 1
}

# check WHAT COMMAND... : one expectation.
check() {
    local what=$1
    shift
    if "$@" >"$WORK/last.log" 2>&1; then
        PASSED=$((PASSED + 1))
        echo "ok     $NAME: $what"
    else
        FAILED=$((FAILED + 1))
        echo "FAILED $NAME: $what"
        sed 's/^/       | /' "$WORK/last.log" | tail -n 15
    fi
}

# refuses WHAT COMMAND... : the command must fail.
refuses() { local what=$1; shift; check "$what" fails "$@"; }
fails() { ! "$@"; }

# records SET COUNT EXPRESSION... : the newest call records, in Python terms; see record.py.
records() { timeout 20 python3 "$HERE/record.py" "$@"; }

verdict() {
    echo "$NAME: $PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
}
