# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""The programs of examples/, run against a real network as their readers would."""

import os
import signal
import subprocess

from network import NetworkTest, main, wait_for

EXAMPLES = os.environ["CPN_EXAMPLES"]


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


if __name__ == "__main__":
    main()
