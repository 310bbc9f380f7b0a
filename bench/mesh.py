"""The sidecar and HAProxy in TCP mode, one after the other, round by round, against one server.

CPU is what the kernel has charged to the proxy's threads (/proc/PID/task/*/schedstat), for at
least --cpu-seconds in each sample. Ratios are of neighbouring samples, so that what else the
machine does hits both.

Latency is p50 of short runs at a low rate in rotating order, with all processes started anew in
each round: where the scheduler once put a process it tends to stay, and that alone can be worth
10 us. What counts is the difference within a round, sidecar less HAProxy, and its interval.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request

import paired

CONNECTIONS = 64
BODY = 200
DEPTHS = [1, 16, 64]
AIM = {1: 1.25, 16: 1.0, 64: 1.0}
SERVICE = "com.alipay.demo.SampleService:1.0"
# Of all CPUs; what others may use when a round of latencies begins.
QUIET_SHARE = 0.1
# The load at which latency is measured: low enough that nobody queues.
SPARSE = ["--connections", "8", "--rate", "500", "--seconds", "1.5"]
# A sample ends after this many loads, whatever it has cost.
LOADS_MAX = 12


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def cpu_ns(pid):
    """Of all threads that live; none of a proxy's ends while it is measured."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def peak_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Bench:
    def __init__(self, binary, rounds, p50_rounds, cpu_seconds, fifo, pin, patience):
        self.binary = os.path.abspath(binary)
        self.rounds = rounds
        self.p50_rounds = p50_rounds
        self.cpu_seconds = cpu_seconds
        self.patience = patience
        # All alike: load generator, server and both proxies.
        self.prefix, self.how = [], "usual scheduling"
        if fifo is not None:
            self.prefix, self.how = ["chrt", "-f", str(fifo)], f"SCHED_FIFO {fifo} for all"
        if pin is not None:
            self.prefix = ["taskset", "-c", str(pin)] + self.prefix
            self.how += f", all on CPU {pin}"
        self.dir = pathlib.Path("target/bench/mesh").absolute()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.children = []
        self.wrong = 0
        self.number = 0

    def start(self, name, command, ready=True):
        log = open(self.dir / f"{name}.log", "w")
        child = subprocess.Popen(self.prefix + command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.children.append(child)
        if ready:
            line = child.stdout.readline()
            if not line.startswith("READY"):
                raise SystemExit(f"{name} did not start: {self.dir / name}.log")
            return child, line.split()[1:]
        return child, []

    def stop(self, child):
        child.terminate()
        child.wait()
        self.children.remove(child)

    def wait_for_quiet(self):
        """Until nobody else uses the machine, as far as patience lasts; whether nobody does."""
        while (used := busy(1.0)) > QUIET_SHARE and self.patience > 0:
            self.patience -= 1.0
        return used <= QUIET_SHARE

    def end(self):
        while self.children:
            child = self.children.pop()
            child.kill()
            child.wait()

    def haproxy(self, port, app):
        config = self.dir / "haproxy.cfg"
        config.write_text(
            "global\n  nbthread 1\n"
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"frontend in\n  bind 127.0.0.1:{port}\n  default_backend app\n"
            f"backend app\n  server app 127.0.0.1:{app}\n"
        )
        return [shutil.which("haproxy"), "-db", "-q", "-f", str(config)]

    def sidecar(self, name, app, inbound, outbound, api):
        config = self.dir / f"{name}.yaml"
        config.write_text(
            f"name: {name}\naddress: 127.0.0.1\nrun: {self.dir / name}\n"
            f'inbound: {{listen: "127.0.0.1:{inbound}", app: "127.0.0.1:{app}"}}\n'
            f'outbound: {{listen: "127.0.0.1:{outbound}",'
            f' routes: [{{service: "{SERVICE}", to: ["127.0.0.1:{app}"]}}]}}\n'
            f'api: "127.0.0.1:{api}"\nadmin: "127.0.0.1:0"\nlog: {{level: info}}\n'
        )
        return [self.binary, "proxy", "--config", str(config)]

    def load(self, port, *options):
        command = [self.binary, "fixture", "load", "--to", f"127.0.0.1:{port}", "--service", SERVICE,
                   "--body", str(BODY), "--first", str(self.number), *options]
        done = subprocess.run(self.prefix + command, stdout=subprocess.PIPE, text=True)
        outcome = json.loads(done.stdout)
        self.number += outcome["sent"]
        if done.returncode != 0:
            self.wrong += 1
            print(f"  WRONG: {outcome}")
        return outcome

    def cost(self, pid, port, depth):
        """Microseconds of the proxy's CPU per request."""
        before, answered = cpu_ns(pid), 0
        for _ in range(LOADS_MAX):
            outcome = self.load(port, "--connections", str(CONNECTIONS), "--depth", str(depth), "--seconds", "2")
            answered += outcome["answered"]
            spent = cpu_ns(pid) - before
            if spent >= self.cpu_seconds * 1e9:
                break
        return spent / 1e3 / max(answered, 1)

    def started(self, name, command_of):
        """Milliseconds from exec until the port is open."""
        port = free_port()
        command = command_of(port)
        begun = time.monotonic()
        child, _ = self.start(name, command, ready=False)
        while not listens(port):
            if child.poll() is not None:
                raise SystemExit(f"{name} did not start: {self.dir / name}.log")
            time.sleep(0.0002)
        took = time.monotonic() - begun
        self.stop(child)
        return took * 1e3


def busy(seconds):
    """The share of the machine's CPUs that is used in the time that follows, by anybody."""
    def ticks():
        fields = [int(one) for one in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        idle = fields[3] + fields[4]
        return idle, sum(fields)

    idle, total = ticks()
    time.sleep(seconds)
    idle_then, total_then = ticks()
    return 1 - (idle_then - idle) / max(total_then - total, 1)


def told(values, form="{:.2f}"):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{form.format(middle)} ({form.format(low)}..{form.format(high)})"


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        if not json.load(answer)["success"]:
            raise SystemExit(f"{path} was refused")


def stage(bench):
    """A server and both proxies before it; the server's port, and pid and port of each proxy."""
    app = free_port()
    bench.start("echo", [bench.binary, "fixture", "echo", "--listen", f"127.0.0.1:{app}"])
    ports = {name: free_port() for name in ["haproxy", "inbound", "outbound", "api"]}
    haproxy, _ = bench.start("haproxy", bench.haproxy(ports["haproxy"], app), ready=False)
    while not listens(ports["haproxy"]):
        time.sleep(0.01)
    sidecar, _ = bench.start(
        "sidecar", bench.sidecar("sidecar", app, ports["inbound"], ports["outbound"], ports["api"])
    )
    # As in production: a service is published, so that heartbeats to the app run.
    post(ports["api"], "/configs/application", {"appName": "bench"})
    meta = {"protocol": "bolt", "version": "4.0", "serializeType": "hessian2", "appName": "bench", "properties": {}}
    post(ports["api"], "/services/publish",
         {"serviceName": SERVICE, "protocolType": "bolt", "providerMetaInfo": meta,
          "onlyPublishInCloud": False, "group": None})
    return app, {
        "haproxy": (haproxy.pid, ports["haproxy"]),
        "inbound": (sidecar.pid, ports["inbound"]),
        "outbound": (sidecar.pid, ports["outbound"]),
    }


def cpu(bench):
    _, targets = stage(bench)
    load = os.getloadavg()[0]
    print(f"mesh: {CONNECTIONS} connections, body {BODY} B, {bench.rounds} rounds, load {load:.1f};"
          " median (min..max)")
    for depth in DEPTHS:
        costs = {name: [] for name in targets}
        ratios = {name: [] for name in ["inbound", "outbound"]}
        for turn in range(bench.rounds):
            names = list(targets) if turn % 2 == 0 else list(reversed(targets))
            for name in names:
                costs[name].append(bench.cost(*targets[name], depth))
            for name in ratios:
                ratios[name].append(costs[name][-1] / costs["haproxy"][-1])
        print(f"mesh: depth {depth}: CPU us/request: haproxy {told(costs['haproxy'])},"
              f" inbound {told(costs['inbound'])}, outbound {told(costs['outbound'])}")
        middle = statistics.median(ratios["inbound"])
        held = "held" if middle <= AIM[depth] else "NOT held"
        print(f"mesh: depth {depth}: of HAProxy's: inbound {told(ratios['inbound'])} x"
              f" (aim {AIM[depth]}: {held}), outbound {told(ratios['outbound'])} x", flush=True)

    print(f"mesh: peak memory, MiB: haproxy {peak_kib(targets['haproxy'][0]) / 1024:.1f},"
          f" sidecar {peak_kib(targets['inbound'][0]) / 1024:.1f}")
    bench.end()


def p50(bench):
    begun = os.getloadavg()[0]
    seen = {name: [] for name in ["direct", "haproxy", "inbound", "outbound"]}
    quiet = 0
    for turn in range(bench.p50_rounds):
        quiet += bench.wait_for_quiet()
        app, targets = stage(bench)
        ports = {"direct": app} | {name: port for name, (_, port) in targets.items()}
        order = list(seen)[turn % 4:] + list(seen)[:turn % 4]
        # Each stands in each place, in either direction.
        for name in order if turn % 8 < 4 else reversed(order):
            seen[name].append(bench.load(ports[name], *SPARSE)["p50_us"])
        with open(bench.dir / "p50.jsonl", "a") as rounds:
            print(json.dumps({name: values[-1] for name, values in seen.items()}), file=rounds)
        bench.end()
    print(f"mesh: p50 at 500/s on 8 connections, {bench.p50_rounds} rounds of 1.5 s each"
          f" ({quiet} begun on a quiet machine), {bench.how},"
          f" load {begun:.1f} to {os.getloadavg()[0]:.1f}: direct {told(seen['direct'], '{:.0f}')} us")
    added = {name: [one - base for one, base in zip(seen[name], seen["direct"])] for name in list(seen)[1:]}
    print("mesh: added p50, us: " + ", ".join(f"{n} {told(v, '{:.0f}')}" for n, v in added.items()))
    for name in ["inbound", "outbound"]:
        less = [one - other for one, other in zip(seen[name], seen["haproxy"])]
        estimate, low, high = paired.hodges_lehmann(less)
        print(f"mesh: p50 of {name} less HAProxy's: {estimate:+.1f} us (95 %: {low:+.1f}..{high:+.1f};"
              f" aim <= 0: {paired.verdict(low, high)})", flush=True)


def starts(bench):
    app = free_port()
    bench.start("echo", [bench.binary, "fixture", "echo", "--listen", f"127.0.0.1:{app}"])
    took = {"haproxy": [], "sidecar": []}
    for _ in range(2 * bench.rounds):
        took["haproxy"].append(bench.started("starts", lambda port: bench.haproxy(port, app)))
        took["sidecar"].append(
            bench.started("starts", lambda port: bench.sidecar("starts", app, port, free_port(), free_port()))
        )
    print("mesh: start to open port, ms: " + ", ".join(f"{n} {told(v, '{:.1f}')}" for n, v in took.items()))
    bench.end()


PARTS = {"cpu": cpu, "p50": p50, "start": starts}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bin", required=True)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--p50-rounds", type=int, default=20)
    arguments.add_argument("--cpu-seconds", type=float, default=1.0)
    arguments.add_argument("--only", choices=PARTS, help="one part instead of all")
    arguments.add_argument("--fifo", type=int, help="run everything under SCHED_FIFO at this priority")
    arguments.add_argument("--pin", type=int, help="run everything on this CPU")
    arguments.add_argument("--patience", type=float, default=0,
                           help="seconds that rounds of latencies wait in all for a quiet machine")
    arguments = arguments.parse_args()
    bench = Bench(arguments.bin, arguments.rounds, arguments.p50_rounds, arguments.cpu_seconds, arguments.fifo,
                  arguments.pin, arguments.patience)
    try:
        for name, part in PARTS.items():
            if arguments.only in (None, name):
                part(bench)
    finally:
        bench.end()
    if bench.wrong:
        raise SystemExit(f"mesh: FAIL, {bench.wrong} loads got wrong answers")


if __name__ == "__main__":
    main()
