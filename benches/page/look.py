#!/usr/bin/env python3
"""What an operator's browser feels while thousands of calls are up, others begin and end, and the store holds very many records.

Run by ./run in a network namespace of its own: the border on core 1, sipp on core 0, headless Chromium wherever there is room. For each view: how long from choosing it until
it is painted; then, while changes keep coming, the longest time the page's thread was not at hand, how late keys and scrolling were shown, and how often it was drawn anew.

Arguments, as key=value:
  store     the folder of a store of records (copied)
  held      calls up meanwhile, with four descriptors each as long as there are any; the rest ring, and have no media yet
  rate      calls a second while they are set up
  churn     calls a second that begin and end meanwhile
  seconds   how long each view is looked at
  shots     a folder for pictures
  url       where the page is, if not at the border: behind a proxy, say, that has other files of it
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "calls"))
import compare  # noqa: E402
import page  # noqa: E402
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402

SETTINGS = {"store": "", "held": 5000, "rate": 250, "churn": 20, "seconds": 8, "shots": "", "url": "http://127.0.0.1:9161/"}
SIPP, QUIET = page.SIPP, page.QUIET

# In the page: what is measured stands in `window.felt` and begins anew with `begin`.
WATCH = """
const felt = window.felt = { begin() { Object.assign(felt, { tasks: [], events: [], frames: [], drawn: 0, last: performance.now() }); } };
felt.begin();
new PerformanceObserver((list) => list.getEntries().forEach((entry) => felt.tasks.push(entry.duration))).observe({ type: "longtask" });
new PerformanceObserver((list) => list.getEntries().forEach((entry) => felt.events.push([entry.name, entry.duration]))).observe({ type: "event", durationThreshold: 16 });
const frame = (now) => { felt.frames.push(now - felt.last); felt.last = now; requestAnimationFrame(frame); };
requestAnimationFrame(frame);
new MutationObserver(() => { felt.drawn += 1; }).observe(document.querySelector("#main"), { childList: true });
"""
# Milliseconds until a view is painted that has been asked for by its address.
PAINTED = """
const [hash, title, done] = arguments;
const main = document.querySelector("#main"), began = performance.now();
const seen = new MutationObserver(() => {
  if (!main.querySelector("h2")?.textContent.includes(title)) return;
  seen.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
});
seen.observe(main, { childList: true });
location.hash = hash;
"""
VIEWS = [
    ("overview", "Overview"),
    ("calls", "calls"),
    ("calls?number=2001", "calls"),
    ("history", "History"),
    ("history?number=*1234*", "History"),
    ("history?peer=trunk1&reason=call.rejected", "History"),
    ("history?audio_fault=true", "History"),
    ("peers", "Peers"),
    ("bans", "Bans"),
    ("explain", "Explain"),
    ("certificates", "Certificates"),
    ("audit", "Audit"),
]
# Those that change comes to all the time.
FLOODED = ["overview", "calls", "call", "history"]


class Border(page.Border):
    """With a door for the browser."""

    def command(self):
        command = super().command()
        made = json.loads(subprocess.run([command[0], "token", "alice", "--role", "operate", "--json"], capture_output=True, text=True, check=True).stdout)
        self.token, digest = made["token"], made["sha256"]
        with open(command[-1] / "border.toml", "a", encoding="utf-8") as file:
            file.write(f'[api]\nlisten = "127.0.0.1:9161"\n[[api.token]]\nname = "alice"\nrole = "operate"\nsha256 = "{digest}"\n')
        return command


def browser():
    options = webdriver.ChromeOptions()
    for option in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,900", "--disable-background-networking", "--enable-precise-memory-info"]:
        options.add_argument(option)
    options.binary_location = "/usr/bin/chromium"
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def answer(border, path):
    return json.loads(page.asked(border, path)[1])


def status(border):
    return answer(border, "/v1/status")


def looked(chrome, name, seconds, shots):
    """What is felt while a view is looked at, keys pressed and the page scrolled."""
    chrome.execute_script("felt.begin()")
    end, down = time.monotonic() + seconds, True
    field = chrome.execute_script("return !!document.querySelector('main input')")
    while time.monotonic() < end:
        # A wheel first, then keys into the search field, as many as an operator types, then out of it so that the page goes on.
        chrome.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseWheel", "x": 700, "y": 500, "deltaX": 0, "deltaY": 240 if down else -240})
        down = not down
        if field:
            chrome.execute_script("document.querySelector('main input').focus({ preventScroll: true })")
            for letter in "4930":
                for kind in ("keyDown", "keyUp"):
                    chrome.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, "text": letter, "key": letter, "code": f"Digit{letter}"})
            chrome.execute_script("const field = document.querySelector('main input'); field.value = ''; field.blur()")
        time.sleep(0.4)
    if shots:
        chrome.save_screenshot(f"{shots}/{name}.png")
    felt = chrome.execute_script("return { ...felt, heap: performance.memory.usedJSHeapSize, nodes: document.querySelectorAll('*').length }")
    tasks, keys = felt["tasks"], [span for kind, span in felt["events"] if kind.startswith(("key", "input", "beforeinput"))]
    wheel = [span for kind, span in felt["events"] if kind in ("wheel", "scroll", "mousewheel")]
    print(f"{name:12}{felt['drawn']:>8}{len(tasks):>12}{max(tasks, default=0):>10.0f}{max(keys, default=0):>10.0f}{max(wheel, default=0):>10.0f}"
          f"{max(felt['frames'], default=0):>10.0f}{felt['nodes']:>8}{felt['heap'] / 1e6:>8.1f}", flush=True)


def measured(chrome, border, settings):
    chrome.set_script_timeout(30)
    chrome.get(settings["url"])
    time.sleep(1)
    chrome.execute_script("document.querySelector('#token').value = arguments[0]; document.querySelector('#enter').click()", border.token)
    time.sleep(2)
    chrome.execute_script(WATCH)
    now = status(border)
    kept = answer(border, "/v1/records-store")
    print(f"{now['calls']} calls up, {settings['churn']} a second come and go; {kept['held']} records, {kept['size'] >> 20} MB\n")
    print("from choosing a view until it is painted, ms; five times each")
    print(f"{'':46}{'median':>9}{'longest':>9}")
    shots = settings["shots"]
    for hash, title in VIEWS:
        spans = []
        for _ in range(5):
            # From a view that is far from it.
            chrome.execute_async_script(PAINTED, "#certificates" if hash != "certificates" else "#audit", "Certificates" if hash != "certificates" else "Audit")
            spans.append(chrome.execute_async_script(PAINTED, f"#{hash}", title))
        if shots:
            chrome.save_screenshot(f"{shots}/{hash.replace('?', '-').replace('*', '')}.png")
        print(f"{hash:46}{statistics.median(spans):9.0f}{max(spans):9.0f}", flush=True)
    print(f"\nlooked at for {settings['seconds']} s each, while calls come and go, keys are pressed and the wheel is turned; ms, the longest")
    print(f"{'':12}{'drawn':>8}{'over 50 ms':>12}{'task':>10}{'key':>10}{'wheel':>10}{'frame':>10}{'nodes':>8}{'MB':>8}")
    for view in FLOODED:
        # The last of those that stay up: the ladders of the last calls are held.
        held = [call["call"] for call in answer(border, "/v1/calls?limit=10000")["calls"] if call["answered_seconds"] and call["answered_seconds"] > 5]
        chrome.execute_async_script(PAINTED, f"#call/{held[-1]}" if view == "call" else f"#{view}", {"call": "Call", "calls": "calls"}.get(view, view.capitalize()))
        looked(chrome, view, settings["seconds"], shots)
    before = chrome.execute_script("return performance.memory.usedJSHeapSize")
    chrome.execute_async_script(PAINTED, "#calls", "calls")
    time.sleep(settings["seconds"])
    chrome.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    after = chrome.execute_script("return performance.memory.usedJSHeapSize")
    print(f"\nthe page's heap: {before / 1e6:.1f} MB while looked at, {after / 1e6:.1f} MB when tidied up")


def main():
    settings = compare.arguments(SETTINGS, __doc__)
    folder = Path(tempfile.mkdtemp(prefix="page-", dir=settings["store"] or None))
    Border.store = Path(settings["store"]) / "records.sqlite" if settings["store"] else None
    if settings["shots"]:
        Path(settings["shots"]).mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(folder)
    held, rate = settings["held"], settings["rate"]
    running = []
    try:
        with Border("border", folder) as border:
            running.append(subprocess.Popen(compare.pinned(0, "sipp", "-sf", page.UM, "-i", "127.0.0.3", "-p", "5062", "-mi", "127.0.0.3", "-t", "t1", *SIPP),
                                            cwd=folder, **QUIET))
            compare.await_listener("5062")
            sounding = page.with_media(held, settings["churn"])
            running.append(page.caller(folder, 5060, rate, 1_000_000, "-m", str(sounding)))
            if held > sounding:
                print(f"{held - sounding} of the calls ring and have no media: there are no more descriptors")
                running.append(page.caller(folder, 5070, rate, 1_000_000, "-m", str(held - sounding), scenario=page.RINGING))
            limit = time.monotonic() + held / rate + 30
            while status(border)["calls"] < held * 0.99 and time.monotonic() < limit:
                time.sleep(0.5)
            running.append(page.caller(folder, 5090, settings["churn"], 1000))
            chrome = browser()
            try:
                measured(chrome, border, settings)
            finally:
                chrome.quit()
    finally:
        for process in running:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


main()
