#!/usr/bin/python3
"""run.py BUILD [ROUNDS]: the training figures of bench/README.md, as ratios of medians of runs that take turns.

Compares bench-dnn with python3-torch, and bench-csv with python3-pandas, on MNIST (CPN_TEST_DATA, or ../shared/data beside
the source) or, without it, on made-up data of the same shape. What runs on one thread is measured in processor time, so that
other work on the machine disturbs it less. Needs Debian's python3-numpy, -pandas and -torch."""
import gzip
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

os.environ["OPENBLAS_NUM_THREADS"] = "1"
HERE = os.path.dirname(os.path.abspath(__file__))


def mnist():
    root = os.environ.get("CPN_TEST_DATA", os.path.join(HERE, "../../../shared/data"))
    try:
        images = gzip.open(os.path.join(root, "mnist/train-images-idx3-ubyte.gz")).read()
        labels = gzip.open(os.path.join(root, "mnist/train-labels-idx1-ubyte.gz")).read()
    except OSError:
        print("no MNIST here: made-up data of its shape")
        random = np.random.default_rng(1)
        labels = random.integers(0, 10, 60000)
        centres = random.integers(0, 256, (10, 784)) * (random.random((10, 784)) < 0.2)
        noise = random.integers(-60, 60, (60000, 784))
        return np.clip(centres[labels] + noise * (centres[labels] > 0), 0, 255).astype(np.uint8), labels.astype(np.uint8)
    return (np.frombuffer(images, np.uint8)[16:].reshape(-1, 784), np.frombuffer(labels, np.uint8)[8:])


def write_table(path, x, y):
    with open(path, "w") as table:
        table.write("label," + ",".join("p%d" % i for i in range(x.shape[1])) + "\n")
        for label, row in zip(y, x):
            table.write("%s,%s\n" % (label, ",".join(map(str, row.tolist()))))


def take_turns(contenders, rounds):
    """{name: command}; returns {name: [words of each run]}."""
    seen = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            seen[name].append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return seen


def median(runs, word=0):
    return statistics.median(float(run[word]) for run in runs)


def csv(build, name, table, rounds, directory):
    out = os.path.join(directory, "out.set")
    ours = os.path.join(build, "bench/train/bench-csv")
    pandas = ["/usr/bin/python3", os.path.join(HERE, "pandas_csv.py"), table]
    seen = take_turns({"1 thread": [ours, table, "label", "1", out], "2 threads": [ours, table, "label", "2", out],
                       "pandas": pandas, "pandas, cast": pandas + ["cast"]}, rounds)
    size = os.path.getsize(table) / 1e6
    for contender, runs in seen.items():
        print("%-8s %-13s %6.0f MB/s, %5.2f times as fast as pandas to float32; processor time %5.2f times less" %
              (name, contender, size / median(runs), median(seen["pandas"]) / median(runs),
               median(seen["pandas"], 1) / median(runs, 1)))


def dnn(build, dataset, arrays, rounds):
    torch = ["/usr/bin/python3", os.path.join(HERE, "torch_lean.py"), arrays, "2"]
    ours = os.path.join(build, "bench/train/bench-dnn")
    seen = take_turns({"dnn": [ours, dataset, "2"], "torch": torch, "dnn, avx2": [ours, dataset, "2", "avx2"],
                       "torch, foreach": torch + ["foreach"]}, rounds)
    best = max(median(seen["torch"]), median(seen["torch, foreach"]))
    for contender, runs in seen.items():
        print("%-16s %7.0f samples/s  %5.2f times as fast as torch (%.2f its faster loop)  loss %.4f" %
              (contender, median(runs), median(runs) / median(seen["torch"]), median(runs) / best, median(runs, 1)))


def main():
    build, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = lambda name: os.path.join(directory, name)
        x, y = mnist()
        write_table(path("pixels.csv"), x, y)
        floats = np.random.default_rng(2).standard_normal((100000, 50))
        write_table(path("floats.csv"), floats, np.arange(100000) % 7)
        csv(build, "pixels", path("pixels.csv"), rounds, directory)
        csv(build, "floats", path("floats.csv"), rounds, directory)
        write_table(path("scaled.csv"), np.round(x / 255, 6), y)
        subprocess.run([os.path.join(build, "bench/train/bench-csv"), path("scaled.csv"), "label", "0", path("out.set")],
                       check=True, stdout=subprocess.DEVNULL)
        np.savez(path("data.npz"), x=np.round(x / 255, 6).astype(np.float32), y=y)
        dnn(build, path("out.set"), path("data.npz"), rounds)


main()
