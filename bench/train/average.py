#!/usr/bin/python3
"""average.py BUILD [PEERS [EPOCHS [SEED]]]: bench-average on MNIST (CPN_TEST_DATA, or ../shared/data beside the source)."""
import gzip
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(os.environ.get("CPN_TEST_DATA", os.path.join(HERE, "../../../shared/data")), "mnist")
build, peers, epochs, seed = (sys.argv[1:] + ["4", "10", "1"][len(sys.argv) - 2:])[:4]


def convert(directory, part):
    images = gzip.open(os.path.join(ROOT, part + "-images-idx3-ubyte.gz")).read()[16:]
    labels = gzip.open(os.path.join(ROOT, part + "-labels-idx1-ubyte.gz")).read()[8:]
    shares = ["%.6g" % (i / 255) for i in range(256)]
    table, dataset = os.path.join(directory, part + ".csv"), os.path.join(directory, part + ".set")
    with open(table, "w") as out:
        out.write("label," + ",".join("p%d" % i for i in range(784)) + "\n")
        for row, label in enumerate(labels):
            out.write("%d,%s\n" % (label, ",".join(shares[i] for i in images[row * 784:row * 784 + 784])))
    subprocess.run([os.path.join(build, "bench/train/bench-csv"), table, "label", "0", dataset], check=True, stdout=subprocess.DEVNULL)
    os.unlink(table)
    return dataset


with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
    sets = [convert(directory, part) for part in ("train", "t10k")]
    subprocess.run([os.path.join(build, "bench/train/bench-average"), *sets, peers, epochs, seed], check=True)
