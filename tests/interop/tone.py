#!/usr/bin/env python3
"""tone.py make FILE HZ SECONDS: a sine of that frequency, 8000 Hz, 16 bit, mono.
tone.py check HZ SECONDS FILE...: whether the recordings together hold so many seconds of it, and at most a tenth as much of any other sound.

Goertzel's algorithm over frames of 20 ms: a frame counts as the tone if four fifths of its energy are there."""

import array
import math
import sys
import wave

RATE = 8000
# Below this mean amplitude a frame is silence.
SILENCE = 60


def make(path, hertz, seconds):
    samples = array.array("h", (int(9000 * math.sin(2 * math.pi * hertz * i / RATE)) for i in range(int(RATE * seconds))))
    with wave.open(path, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.tobytes())


def load(path):
    """Rate and samples of the first channel. A recorder that was killed leaves a header without the length: then everything there is."""
    with wave.open(path, "rb") as file:
        rate, channels = file.getframerate(), file.getnchannels()
        data = file.readframes(file.getnframes() or 1 << 28)
    samples = array.array("h", data[: len(data) // 2 * 2])
    return rate, samples[::channels]


def power(frame, rate, hertz):
    turn = 2 * math.cos(2 * math.pi * hertz / rate)
    last = before = 0.0
    for sample in frame:
        last, before = sample + turn * last - before, last
    return last * last + before * before - turn * last * before


def check(hertz, seconds, paths):
    tone = other = silent = 0
    for path in paths:
        rate, samples = load(path)
        length = rate // 50
        for start in range(0, len(samples) - length, length):
            frame = samples[start : start + length]
            energy = sum(sample * sample for sample in frame)
            if energy < length * SILENCE * SILENCE:
                silent += 1
            elif 2 * power(frame, rate, hertz) > 0.8 * length * energy:
                tone += 1
            else:
                other += 1
    print(f"{hertz:.0f} Hz: {tone} frames, other sounds {other}, silence {silent}, in {len(paths)} recordings")
    return tone * 0.02 >= seconds and other <= tone * 0.1


def main():
    if sys.argv[1] == "make":
        make(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    else:
        sys.exit(0 if check(float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]) else 1)


main()
