# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""The programs of examples/, run against a real network as their readers would."""

import os
import signal
import subprocess
import unittest
from random import Random

from network import BIN, NetworkTest, main, wait_for

EXAMPLES = os.environ["CPN_EXAMPLES"]
TRAINER = os.path.join(BIN, "..", "lib", "cpn", "trainers", "cpn-trainer-dnn.so")


class Examples(NetworkTest):
    def test_a_callback_answers_the_client(self):
        network = self.network
        keys = network.path("callback.context")
        worker = subprocess.Popen([os.path.join(EXAMPLES, "worker_callback"), network.node_line, keys], stdin=subprocess.DEVNULL)
        try:
            wait_for("the node is there", lambda: [n for n in network.json("nodes") if n["state"] == "ready"])
            text = network.file("text", "hello")
            done = subprocess.run([os.path.join(EXAMPLES, "client"), network.context, "upper", text], capture_output=True,
                                  encoding="utf-8", timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout.split()[0]), (0, "HELLO"), done.stderr)
            book = network.file("book", "x" * 1000)
            done = subprocess.run([os.path.join(EXAMPLES, "client"), network.context, "upper", book], capture_output=True,
                                  encoding="utf-8", timeout=60, check=False)
            self.assertEqual(done.returncode, 1)
            self.one_line(done.stderr, "at most 95 bytes")
            worker.send_signal(signal.SIGTERM)
            self.assertEqual(worker.wait(timeout=30), 0)
        finally:
            worker.kill()
            worker.wait()

    @unittest.skipUnless(os.path.exists(TRAINER), "no trainer was built")
    def test_a_table_becomes_a_model(self):
        network = self.network
        network.start_worker("w1")
        network.start_worker("w2")
        random = Random(1)
        rows = [f"{random.gauss(place, 0.3):.3f},{random.gauss(-place, 0.3):.3f},{name}" for place, name in enumerate("abc") for _ in range(100)]
        table = network.file("flowers.csv", "\n".join(["width,height,kind"] + rows) + "\n")
        arguments = [os.path.join(EXAMPLES, "train"), network.context, table, "kind"]
        done = subprocess.run(arguments + ["2", "flowers"], capture_output=True, encoding="utf-8", timeout=120, check=False, env=network.env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        self.assertRegex(lines[0], "^session [0-9a-f]{32}$")
        self.assertGreater(float(lines[-2].split()[-1].rstrip("%")), 90, done.stdout)
        self.assertEqual(lines[-1], "published as flowers@1")
        done = subprocess.run(arguments + ["3", "flowers"], capture_output=True, encoding="utf-8", timeout=120, check=False, env=network.env)
        self.assertEqual(done.returncode, 1)
        self.one_line(done.stderr, "needs 3", "w1", "w2")


if __name__ == "__main__":
    main()
