"""How exact the delay of a bad link is, and what passes it, beside Toxiproxy.

Two pods; the fault is put into the link of one. A round trip is a byte there and back on one
connection, in the pods; its error is what it took, less the median without the fault, less the
delay that was asked for. Bytes are counted where they arrive. Ways take turns, so that what else
the machine does hits all of them; ratios are of medians of one run.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import urllib.request

PORT, PROXIED, CONTROL = 12200, 12300, 8474
DELAYS_MS = [1, 5, 20, 100]
# More than the wire passes: nothing waits, and large frames stay large.
GOOD = "{id: wire, kind: link, rate: 1000gbit, direction: in}"
LATE = "{id: wire, kind: link, delay: 1ms, direction: in}"


# What runs in the pods.


def serve():
    """Answers `e` with every byte that comes, `s` with how many came in a second."""
    with socket.create_server(("0.0.0.0", PORT)) as listener:
        print("listens", flush=True)
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=answer, args=(stream,), daemon=True).start()


def answer(stream):
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError), stream:
        if stream.recv(1) == b"e":
            while byte := stream.recv(1):
                stream.sendall(byte)
            return
        # For so many seconds: not every proxy passes the end of one direction alone.
        seconds = struct.unpack("!d", stream.recv(8, socket.MSG_WAITALL))[0]
        count, begun, room = 0, time.perf_counter(), bytearray(1 << 20)
        while (took := time.perf_counter() - begun) < seconds:
            count += stream.recv_into(room)
        stream.sendall(json.dumps(count / took / 1e6).encode() + b"\n")
        while stream.recv_into(room):
            pass


def times(host, count):
    stream = socket.create_connection((host, PORT))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.sendall(b"e")
    took = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        stream.sendall(b"x")
        stream.recv(1)
        took.append(time.perf_counter_ns() - begun)
        time.sleep(0.001)
    print(json.dumps(took))


def bulk(host, port, seconds):
    stream = socket.create_connection((host, port))
    stream.sendall(b"s" + struct.pack("!d", seconds))
    told = []

    def listen():
        told.append(stream.makefile().readline())

    listener = threading.Thread(target=listen)
    listener.start()
    part = bytes(1 << 18)
    while not told:
        stream.sendall(part)
    listener.join()
    print(told[0])


def toxic(latency_ms):
    """Makes the proxy where there is none, with this latency or none."""
    base = f"http://127.0.0.1:{CONTROL}/proxies"

    def ask(path, body, method):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(base + path, data, method=method)
        return urllib.request.urlopen(request, timeout=10).read()

    with contextlib.suppress(urllib.error.HTTPError):
        ask("", {"name": "bench", "listen": f"0.0.0.0:{PROXIED}",
                 "upstream": f"127.0.0.1:{PORT}", "enabled": True}, "POST")
    with contextlib.suppress(urllib.error.HTTPError):
        ask("/bench/toxics/late", None, "DELETE")
    if latency_ms:
        ask("/bench/toxics", {"name": "late", "type": "latency", "stream": "upstream",
                              "attributes": {"latency": latency_ms}}, "POST")


# What measures.


class Bench:
    def __init__(self, args):
        self.bin = os.path.abspath(args.bin)
        self.name = f"bench-link-{os.getpid()}"
        self.runs = pathlib.Path(f"target/bench/link-{os.getpid()}")
        self.started = []

    def own(self, *words):
        return [self.bin, *words]

    def inside(self, pod, *words):
        return self.own("env", "exec", "--runs", str(self.runs), "--env", self.name, pod, "--",
                        *map(str, words))

    def helper(self, pod, *words):
        return self.inside(pod, sys.executable, os.path.abspath(__file__), *words)

    def ask(self, pod, *words):
        done = subprocess.run(self.helper(pod, *words), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{words}: {done.stderr}")
        return json.loads(done.stdout or "null")

    def start(self, words, says):
        """Starts a program and waits for a line that says so."""
        program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(program)
        said = []
        for line in program.stdout:
            said.append(line)
            if says in line:
                # What it says later must not hold it up.
                threading.Thread(target=program.stdout.read, daemon=True).start()
                return program
        raise SystemExit("".join(said))

    @contextlib.contextmanager
    def bad(self, fault):
        words = ["fault", "inject", fault, "--runs", str(self.runs), "--env", self.name,
                 "--pod", "far", "--for", "10m"]
        keeper = self.start(self.own(*words), "is in force")
        try:
            yield
        finally:
            keeper.send_signal(signal.SIGINT)
            keeper.wait()

    def __enter__(self):
        up = self.own("env", "up", "--pods", "near,far", "--detach", "--for", "30m", "--name",
                      self.name, "--runs", str(self.runs))
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        self.start(self.helper("far", "serve"), "listens")
        return self

    def __exit__(self, *_):
        down = self.own("env", "down", self.name, "--runs", str(self.runs))
        subprocess.run(down, stdout=subprocess.DEVNULL)
        for program in self.started:
            program.wait()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, round(share * (len(values) - 1)))]


def accuracy(bench, count):
    base = statistics.median(bench.ask("near", "times", "far", count))
    print(f"delay asked for and measured, {count} round trips each (direct: {base / 1e6:.3f} ms)")
    for delay in DELAYS_MS:
        with bench.bad(f"{{id: late, kind: link, delay: {delay}ms, direction: in}}"):
            took = bench.ask("near", "times", "far", count)
        errors = [(each - base) / 1e6 - delay for each in took]
        print(f"  {delay:3} ms: {delay + statistics.median(errors):7.3f} ms at the median; error "
              f"{statistics.median(errors):+.3f} ms at the median, "
              f"{percentile(errors, 0.99):+.3f} ms at p99, {max(errors):+.3f} ms at most")


def throughput(bench, rounds, seconds, proxied):
    def through(port):
        return bench.ask("near", "bulk", "far", port, seconds)

    def wire(fault):
        with bench.bad(fault):
            return through(PORT)

    def proxy(latency_ms):
        bench.ask("far", "toxic", latency_ms)
        return through(PROXIED)

    ways = {"direct": lambda: through(PORT), "wire": lambda: wire(GOOD),
            "wire, 1 ms": lambda: wire(LATE)}
    if proxied:
        ways |= {"toxiproxy": lambda: proxy(0), "toxiproxy, 1 ms": lambda: proxy(1)}
    told = {way: [] for way in ways}
    for _ in range(rounds):
        for way, measure in ways.items():
            told[way].append(measure())
    medians = {way: statistics.median(each) for way, each in told.items()}
    print(f"one connection, MB/s, median of {rounds} rounds of {seconds} s")
    for way, each in told.items():
        print(f"  {way:16} {medians[way]:8.0f}   ({', '.join(f'{one:.0f}' for one in each)})")
    if proxied:
        for late in ["", ", 1 ms"]:
            ratio = medians[f"wire{late}"] / medians[f"toxiproxy{late}"]
            print(f"  wire{late} / toxiproxy{late}: {ratio:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--toxiproxy", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--times", type=int, default=200)
    args = parser.parse_args()
    proxied = os.access(args.toxiproxy, os.X_OK)
    print(f"== a bad link, load {pathlib.Path('/proc/loadavg').read_text().split()[0]}")
    with Bench(args) as bench:
        accuracy(bench, args.times)
        if proxied:
            server = [os.path.abspath(args.toxiproxy), "-host", "127.0.0.1", "-port", CONTROL]
            bench.start(bench.inside("far", *server), "Starting")
        else:
            print("SKIPPED: toxiproxy, needs go to make it")
        throughput(bench, args.rounds, args.seconds, proxied)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["times", host, count]:
            times(host, int(count))
        case ["bulk", host, port, seconds]:
            bulk(host, int(port), float(seconds))
        case ["toxic", latency_ms]:
            toxic(int(latency_ms))
        case _:
            main()
