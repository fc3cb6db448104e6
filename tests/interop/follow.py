"""follow.py SECONDS COMMAND... : runs it in a terminal of its own (120 by 40), presses keys as somebody would who looks for a call, and prints one JSON object:
what of a core it took (cpu), what memory (rss_mb), how long a key waited for the
screen (slowest_ms, median_ms), whether a ladder was opened, and how it ended."""
import fcntl, json, os, pty, re, select, signal, statistics, struct, sys, termios, time

seconds, command = float(sys.argv[1]), sys.argv[2:]


def begun(ignoring):
    """Process and terminal of another; `ignoring`: a hang-up is not told to it, as under nohup."""
    process, screen = pty.fork()
    if process == 0:
        if ignoring:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.kill(process, signal.SIGWINCH)
    return process, screen


def ended(process, limit):
    """Its status, killed after this time: None."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, code = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


child, terminal = begun(False)
signal.signal(signal.SIGTERM, lambda *_: (os.kill(child, signal.SIGKILL), sys.exit(1)))
seen = bytearray()


def hear(limit):
    """What is drawn within this time; None: the program has ended."""
    if not select.select([terminal], [], [], limit)[0]:
        return b""
    try:
        heard = os.read(terminal, 1 << 16)
    except OSError:
        return None
    seen.extend(heard)
    return heard


def listen(span):
    """For so long, whatever is drawn."""
    end = time.monotonic() + span
    while time.monotonic() < end and hear(max(0, end - time.monotonic())) is not None:
        pass


def press(key, much):
    """A key, and until so many bytes are drawn: what changes by itself is less."""
    listen(0.1)
    before, drawn = time.monotonic(), len(seen)
    os.write(terminal, key)
    while len(seen) - drawn < much and time.monotonic() - before < 5:
        hear(0.5)
    return (time.monotonic() - before) * 1000


def used():
    fields = open(f"/proc/{child}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


listen(3)
first, at, waits = used(), time.monotonic(), []
DOWN, UP, KEYS, ENTER, LEAVE = b"\x1b[B", b"\x1b[A", b"?", b"\r", b"q"
while time.monotonic() - at < seconds:
    for key in [DOWN] * 6 + [UP] * 3:
        os.write(terminal, key)
        listen(0.05)
    # The list of keys covers the calls, and goes: each draws a good part of the screen.
    waits += [press(KEYS, 400), press(KEYS, 400)]
mean = (used() - first) / (time.monotonic() - at)
rss = int(open(f"/proc/{child}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
listen(1.5)
listed = len(seen)
opened = press(ENTER, 1500)
listen(1.5)
ladder = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", bytes(seen[listed:])).decode("utf8", "replace")
for _ in range(2):
    os.write(terminal, LEAVE)
    listen(0.5)
status = ended(child, 5)
# Its terminal is closed while it is followed: it ends, whether the system tells it so or not.
gone = []
for ignoring in [False, True]:
    child, lost = begun(ignoring)
    begin = time.monotonic()
    while time.monotonic() - begin < 2 and select.select([lost], [], [], 0.2)[0] is not None:
        if select.select([lost], [], [], 0)[0]:
            os.read(lost, 1 << 16)
    os.close(lost)
    gone.append(ended(child, 5) is not None)
print(json.dumps({
    "cpu": round(mean, 3), "rss_mb": round(rss, 1), "slowest_ms": round(max(waits), 1), "median_ms": round(statistics.median(waits), 1), "keys": len(waits),
    "opened_ms": round(opened, 1), "drawn_kb": len(seen) // 1000, "ladder": "INVITE" in ladder, "status": status, "gone": gone,
}))
