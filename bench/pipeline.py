#!/usr/bin/env python3
"""What reading a capture costs, beside other programs that read it; and whether all was found.

Two parts, on generated captures with the truth beside them:
1. speed: decode, reassembly and exchanges of a large capture, as CPU ratios to reading the file,
   to tcpdump writing it to /dev/null and to tshark. The programs take turns, so that what else
   the machine does falls on all of them; frames are checked in the same run.
2. loss: 0.05 % of the segments missing, 30 % of the connections begun before the capture. Every
   frame that comes out is compared with the list of those that were sent.

Exit 1 where frames are wrong or missing or memory is exceeded; slowness is a warning.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MESHPROOF = ROOT / "target/release/meshproof"
FOLDER = ROOT / "target/bench"
MEMORY_MAX_MIB = 64
FOUND_MIN = 0.995
READER = "import os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\nb=bytearray(262144)\nwhile os.readv(f,[b]): pass\n"


def run(command, out=subprocess.DEVNULL):
    """CPU seconds (user and system) and peak memory in MiB of a command, by wait4."""
    process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}: exit {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def generate(name, megabytes, *options):
    """A capture and its truth; generated once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    capture = FOLDER / f"{name}-{megabytes}.pcap"
    truth = Path(f"{capture}.truth.json")
    if not truth.exists() or truth.stat().st_mtime < MESHPROOF.stat().st_mtime:
        run([MESHPROOF, "fixture", "capture", "--out", capture, "--megabytes", megabytes, *options])
    return capture, json.loads(truth.read_text())


def ledger(capture):
    """Cost of one pass, and what it counted."""
    with tempfile.TemporaryFile() as out:
        cost = run([MESHPROOF, "ls", "--ledger", "--format", "json", capture], out)
        out.seek(0)
        return cost, json.load(out)["ledger"]


def check_counts(found, truth):
    """The counts of a capture without loss are the truth's."""
    wrong = []
    for name in ("total", "requests", "oneways", "responses", "heartbeats"):
        if found["frames"][name] != truth["frames_sent"][name]:
            wrong.append(f"{name}: {found['frames'][name]} found, {truth['frames_sent'][name]} sent")
    if found["bytes"]["framed"] != truth["frames_sent"]["bytes"]:
        wrong.append(f"bytes: {found['bytes']['framed']} framed, {truth['frames_sent']['bytes']} sent")
    for name, there in (("packets", "total"), ("bytes", "payload")):
        expected = truth["packets" if name == "packets" else "payload_bytes"]
        if found[name][there] != expected:
            wrong.append(f"{name}: {found[name][there]} found, {expected} written")
    return wrong


def spread(values):
    return f"{statistics.median(values):8.3f}  {min(values):.3f}..{max(values):.3f}"


def speed(megabytes, rounds):
    capture, truth = generate("plain", megabytes)
    sample_megabytes = max(1, megabytes // 10)
    sample, _ = generate("sample", sample_megabytes, "--seed", "2")
    run(["cat", capture])  # into the page cache
    scale = capture.stat().st_size / sample.stat().st_size
    # What starting the interpreter costs is no part of reading.
    starting = statistics.median(run([sys.executable, "-c", "pass"])[0] for _ in range(5))
    costs = {"reading": [], "tcpdump": [], "tshark": [], "meshproof": []}
    memory, wrong = 0.0, []
    for _ in range(rounds):
        costs["reading"].append(run([sys.executable, "-c", READER, capture])[0] - starting)
        costs["tcpdump"].append(run(["tcpdump", "-r", capture, "-w", "/dev/null"])[0])
        (cpu, peak), found = ledger(capture)
        costs["meshproof"].append(cpu)
        memory = max(memory, peak)
        wrong = wrong or check_counts(found, truth)
    for _ in range(min(rounds, 3)):
        costs["tshark"].append(run(["tshark", "-r", sample, "-q", "-z", "conv,tcp"])[0] * scale)
    size = capture.stat().st_size / 1e6
    print(f"decode, reassembly and exchanges: {size:.0f} MB, {truth['packets']} packets, "
          f"{truth['frames_sent']['total']} frames; {rounds} rounds in turn; load {os.getloadavg()[0]:.1f}")
    print("  CPU seconds     median  min..max")
    for name in ("reading", "meshproof", "tcpdump", "tshark"):
        note = f"  (a {sample_megabytes} MB sample, scaled)" if name == "tshark" else ""
        print(f"  {name:12} {spread(costs[name])}{note}")
    print("  meshproof's ratio to   median  min..max")
    medians = {}
    for name in ("reading", "tcpdump"):
        ratios = [ours / max(theirs, 1e-6) for ours, theirs in zip(costs["meshproof"], costs[name])]
        medians[name] = statistics.median(ratios)
        print(f"  {name:16} {spread(ratios)}")
    ratio = statistics.median(costs["meshproof"]) / statistics.median(costs["tshark"])
    print(f"  {'tshark':16} {ratio:8.3f}")
    print(f"  peak memory {memory:.0f} MiB (at most {MEMORY_MAX_MIB})")
    if medians["tcpdump"] > 1.0:
        print(f"  WARNING: {medians['tcpdump']:.2f} times tcpdump's CPU; the aim is 1.0")
    failures = [f"frames: {line}" for line in wrong]
    if memory > MEMORY_MAX_MIB:
        failures.append(f"memory: {memory:.0f} MiB, more than {MEMORY_MAX_MIB}")
    if not wrong:
        print(f"  frames: all {truth['frames_sent']['total']} found, by kind and to the byte")
    return failures


def key_of(exchange, half, side):
    kinds = {
        ("call", "request"): "request",
        ("call", "response"): "response",
        ("oneway", "request"): "oneway",
        ("heartbeat", "request"): "heartbeat",
        ("heartbeat", "response"): "heartbeat-ack",
    }
    asks = "to-opener" if exchange["from"] == "server" else "to-acceptor"
    other = {"to-opener": "to-acceptor", "to-acceptor": "to-opener"}
    direction = asks if side == "request" else other[asks]
    kind = kinds.get((exchange["kind"], side), f"{exchange['kind']}-{side}")
    return (f"{exchange['flow']} {exchange['connection']} {direction} {kind} "
            f"{exchange['id']} {half['bytes']}")


def loss(megabytes, seed):
    capture, truth = generate(
        f"lossy-{seed}", megabytes, "--seed", seed, "--loss", "0.0005", "--midstream", "0.3")
    sent = {}
    for line in Path(f"{capture}.frames.txt").read_text().splitlines():
        key, _, whole = line.rpartition(" ")
        sent[key] = whole == "whole"
    found, wrong, cut = set(), [], 0
    with tempfile.TemporaryFile() as out:
        run([MESHPROOF, "ls", "--format", "jsonl", capture], out)
        out.seek(0)
        for line in out:
            exchange = json.loads(line)
            if "outcome" not in exchange:
                continue
            for side in ("request", "response"):
                half = exchange[side]
                if half is None:
                    continue
                if half.get("missing"):
                    cut += 1
                    continue
                key = key_of(exchange, half, side)
                if key in found or not sent.get(key):
                    wrong.append(key)
                found.add(key)
    whole = truth["frames_whole"]["total"]
    part = len(found - set(wrong)) / whole
    print(f"loss: {megabytes} MiB, {truth['segments']['missing']} of {truth['segments']['sent']} segments missing, "
          f"{truth['midstream_connections']} of {truth['connections']} connections begun before")
    print(f"  {part:.4%} of the {whole} frames whose bytes are all there were found "
          f"(at least {FOUND_MIN:.1%}); {len(wrong)} wrong; {cut} cut ones listed")
    failures = []
    if part < FOUND_MIN:
        failures.append(f"loss: {part:.4%} of the frames found, less than {FOUND_MIN:.1%}")
    failures += [f"wrong frame: {key}" for key in wrong[:5]]
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the capture for speed")
    parser.add_argument("--lossy-megabytes", type=int, default=50, help="size of the capture with loss")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, at least 5 for a fair median")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    failures = speed(options.megabytes, options.rounds)
    failures += loss(options.lossy_megabytes, 3)
    for failure in failures:
        print(f"FAIL {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
