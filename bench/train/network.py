#!/usr/bin/python3
# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.
"""network.py BUILD [round] [mnist] [timeline]: training sessions of real daemons (CURVE on, loopback, tmpfs).

round:    one averaging round of the default model, 2 peers, against the raw star zmq-star; the two take turns.
mnist:    MNIST by 2 peers, averaged every 200 steps, against one peer; epochs take turns by sessions.
timeline: what happens between `cpn train` on a table of 100 MB and the first epoch's heartbeat of two fresh peers.

Nothing is asserted. MNIST comes from CPN_TEST_DATA, or ../shared/data beside the source. Needs `ninja -C BUILD bench/train/zmq-star`."""
import gzip
import json
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("CPN_TEST_DATA", os.path.join(HERE, "../../../shared/data"))
FLOATS = 109386  # of 784-128-64-10


def load():
    return "load %.2f" % os.getloadavg()[0]


class Network:
    """A master and some workers with one slot each, as a user starts them."""

    def __init__(self, build, workers):
        self.bin = os.path.join(build, "daemons")
        self.dir = tempfile.mkdtemp(dir="/dev/shm")
        self.children = []
        ready = self.path("ready")
        self.start("master", "cpn-master", "--data", self.path("m"), "--listen", "tcp://127.0.0.1:0", "--admin-context", self.path("context"),
                   "--ready-file", ready)
        while not os.path.exists(ready):
            time.sleep(0.01)
        join = dict(line.split("=", 1) for line in open(ready).read().splitlines())["node_join"]
        for i in range(1, workers + 1):
            self.start("w%d" % i, "cpn-worker", "--data", self.path("w%d" % i), "--name", "w%d" % i, "--slots", "1", "--join", join)
        while self.cpn("nodes", "--json").count('"ready"') < workers:
            time.sleep(0.05)

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, name, program, *arguments):
        log = open(self.path(name + ".log"), "wb")
        self.children.append(subprocess.Popen([os.path.join(self.bin, program), *arguments, "--log-level", "debug", "--log-format", "json"],
                                              stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def cpn(self, *arguments):
        done = subprocess.run([os.path.join(self.bin, "cpn"), *arguments], capture_output=True, text=True,
                              env={**os.environ, "CPN_CONTEXT": self.path("context"), "TMPDIR": self.dir})
        if done.returncode != 0:
            raise SystemExit("cpn %s: %s" % (arguments[0], done.stderr or done.stdout))
        return done.stdout

    def train(self, *arguments):
        """The report of the session when it has ended."""
        session = json.loads(self.cpn("train", "--json", "--detach", *arguments).splitlines()[0])["started"]["id"]
        while True:
            report = json.loads(self.cpn("sessions", "show", session, "--json"))
            if report["session"]["ended_us"] != 0:
                if report["session"]["state"] != "completed":
                    raise SystemExit("session %s: %s" % (report["session"]["state"], report["session"]["text"]))
                return report
            time.sleep(0.25)

    def processor_s(self):
        """Of the daemons and of those runners that have ended."""
        total = 0
        for child in self.children:
            with open("/proc/%d/stat" % child.pid) as stat:
                total += sum(int(ticks) for ticks in stat.read().rsplit(")", 1)[1].split()[11:15])
        return total / os.sysconf("SC_CLK_TCK")

    def events(self, name):
        for line in open(self.path(name + ".log")):
            if line.startswith("{"):
                yield json.loads(line)

    def close(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGKILL)
            child.wait()
        shutil.rmtree(self.dir)


def stamp(event):
    whole, _, part = event["time"].rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0." + part)


def epochs_at(report, lane):
    return {point["epoch"]: point["at_s"] for point in report["points"] if point["lane"] == lane}


def write_table(path, rows, columns, classes):
    source = random.Random(1)
    with open(path, "w") as table:
        table.write("label," + ",".join("p%d" % i for i in range(columns)) + "\n")
        lines = [",".join(str(source.choice((0, 0, 0, source.randrange(256)))) for _ in range(columns)) for _ in range(100)]
        for row in range(rows):
            table.write("%d,%s\n" % (row % classes, lines[source.randrange(100)]))


# ---- one round ----

def rounds_of(network, table, steps, *more):
    """Seconds of a round of `steps` steps, from a session's epochs, and its processor time."""
    before = network.processor_s()
    report = network.train("--csv", table, "--label", "label", "--peers", "2", "--validation", "0", "--no-standardise", "--name", "round",
                           "--local-steps", str(steps), "--checkpoint", "50", "--set", "epochs=40,batch=16", *more)
    at = epochs_at(report, 0)
    spent = (max(at.values()) - at[2]) / (max(at) - 2)
    return spent / (report["lanes"][0]["steps"] / steps), (network.processor_s() - before) / report["session"]["rounds"]


def star_of(build, rounds=300):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([os.path.join(build, "bench/train/zmq-star"), "2", str(FLOATS), str(rounds)], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return float(re.search(r"p50_us=([\d.]+)", out.stdout).group(1)) / 1e6, used / rounds


def bench_round(build):
    seen = {"star": [], "float32": [], "int8": [], "steps": []}
    network = Network(build, 2)
    table = network.path("table.csv")
    write_table(table, 640, 784, 10)
    for _ in range(5):
        seen["star"].append(star_of(build))
        seen["float32"].append(rounds_of(network, table, 1))
        seen["int8"].append(rounds_of(network, table, 1, "--int8"))
        seen["steps"].append(tuple(seconds / 800 for seconds in rounds_of(network, table, 800)))
    network.close()
    print("one round, 2 peers, %d floats (%s)" % (FLOATS, load()))
    for what, name in ((what, name) for what in (0, 1) for name in seen):
        values = [pair[what] for pair in seen[name]]
        text = "%-9s %-8s %6.2f ms (%.2f to %.2f)" % (("time", "processor")[what], name, statistics.median(values) * 1e3, min(values) * 1e3,
                                                     max(values) * 1e3)
        if name in ("float32", "int8"):
            rest = [v - pair[what] for v, pair in zip(values, seen["steps"])]
            text += ", without its training step %.2f ms: %.2f of the star" % (
                statistics.median(rest) * 1e3, statistics.median(r / pair[what] for r, pair in zip(rest, seen["star"])))
        print("  " + text)


# ---- two peers against one ----

def mnist_table(path):
    images = gzip.open(os.path.join(DATA, "mnist/train-images-idx3-ubyte.gz")).read()[16:]
    labels = gzip.open(os.path.join(DATA, "mnist/train-labels-idx1-ubyte.gz")).read()[8:]
    shares = ["%.6g" % (i / 255) for i in range(256)]
    with open(path, "w") as out:
        out.write("label," + ",".join("p%d" % i for i in range(784)) + "\n")
        for row, label in enumerate(labels):
            out.write("%d,%s\n" % (label, ",".join(shares[i] for i in images[row * 784:row * 784 + 784])))


def bench_mnist(build):
    network = Network(build, 2)
    table = network.path("mnist.csv")
    mnist_table(table)
    network.train("--csv", table, "--label", "label", "--peers", "2", "--no-standardise", "--set", "epochs=1")  # all have the dataset now
    seen = {1: [], 2: []}
    for _ in range(3):
        for peers in seen:
            before = network.processor_s()
            report = network.train("--csv", table, "--label", "label", "--peers", str(peers), "--no-standardise", "--local-steps", "200",
                                   "--validation", "0.02")
            at = epochs_at(report, 0)
            session = report["session"]
            seen[peers].append(((max(at.values()) - at[1]) / (max(at) - 1), network.processor_s() - before))
            print("  %d peers: %.2f s an epoch, session %.2f s (processor %.2f s), accuracy %.2f %%, reproducible %s" % (
                peers, seen[peers][-1][0], (session["ended_us"] - session["started_us"]) / 1e6, seen[peers][-1][1],
                session["accuracy"] * 100, session["reproducible"]))
    network.close()
    print("MNIST, an epoch of 2 peers (H = 200) against one: %.2f times as fast; processor time of a session %.2f times (%s)" % (
        statistics.median(a[0] / b[0] for a, b in zip(seen[1], seen[2])),
        statistics.median(b[1] / a[1] for a, b in zip(seen[1], seen[2])), load()))


# ---- from the command to the first epoch ----

def bench_timeline(build):
    network = Network(build, 2)
    table = network.path("table.csv")
    write_table(table, 60000, 784, 10)
    size = os.path.getsize(table) / 1e6
    begun = time.time()
    session = json.loads(network.cpn("train", "--json", "--csv", table, "--label", "label", "--peers", "2", "--set", "epochs=2").splitlines()[0])
    report = json.loads(network.cpn("sessions", "show", session["started"]["id"], "--json"))

    def at(name, event, pick, text=""):
        return pick(stamp(e) - begun for e in network.events(name) if e["event"] == event and text in e.get("text", ""))

    dataset = next(e["text"] for e in network.events("w1") if e["event"] == "CPN-TRANSFER-DONE").split()[1].rstrip(",")
    started = at("master", "CPN-SESSION-STARTED", min)
    first = [point["at_s"] for point in report["points"] if point["epoch"] == 1 and point["lane"] is not None]
    marks = [("table to dataset, into the spool (parse, hash, copy)", started),
             ("client to master", at("master", "CPN-TRANSFER-DONE", max, dataset)),
             ("master to both peers", max(at(name, "CPN-TRANSFER-DONE", max, dataset) for name in ("w1", "w2"))),
             ("load: trainer made, rows mapped and divided", at("master", "CPN-SESSION-TRAINING", min)),
             ("first epoch told by the first peer", started + min(first))]
    print("from `cpn train` on %.0f MB to the first epoch of two fresh peers (%s)" % (size, load()))
    before = 0
    for name, when in marks:
        print("  %-55s %6.3f s, at %6.3f s" % (name, when - before, when))
        before = when
    network.close()


def main():
    build = sys.argv[1]
    for name in sys.argv[2:] or ["round", "mnist", "timeline"]:
        {"round": bench_round, "mnist": bench_mnist, "timeline": bench_timeline}[name](build)


main()
