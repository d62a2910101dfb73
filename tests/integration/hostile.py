# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""What members, disks and bytes can do to a network: messages without an end, damaged files, no room."""

import glob
import os
import subprocess

from network import SLOWER, NetworkTest, main, wait_for

FLOOD = os.environ["CPN_FLOOD"]
MASTER_PEAK_KB = 1_000_000  # of the 4 GiB that come: as much as comes in between two looks at the connections, a second


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


class Hostile(NetworkTest):
    def secrets(self, directory):
        with open(self.network.path(directory, "context"), encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(" ", 1) for line in file)

    def test_message_without_an_end(self):
        network = self.network
        network.push_echo()
        network.start_worker("w1")
        bad = network.start_worker("w2")
        bad.kill()
        keys = self.secrets("w2")
        done = subprocess.run([FLOOD, keys["endpoints"], keys["master"], keys["secret"]], stdout=subprocess.PIPE,
                              encoding="utf-8", timeout=120 * SLOWER, check=False)
        self.assertEqual(done.returncode, 0)
        cut = wait_for("the cut is logged", lambda: network.master.events("CPN-PEER-CUT"))[0]
        self.assertIn("127.0.0.1", cut["text"])
        if SLOWER == 1:  # a sanitizer's memory is not the master's
            self.assertLess(peak_kb(network.master.pid), MASTER_PEAK_KB)
        network.ok("predict", "echo", network.file("a.txt", "x"))  # and nobody else notices

    def big_bundle(self):
        return self.network.bundle("big", "echo", files=[self.network.file("big.bin", os.urandom(5_000_000))], test="1")

    def test_damaged_file_at_the_master(self):
        network = self.network
        network.start_worker("w1")
        network.ok("model", "push", self.big_bundle())
        blob = max(glob.glob(network.path("m", "**"), recursive=True), key=lambda path: os.path.isfile(path) and os.path.getsize(path))
        with open(blob, "r+b") as file:
            file.seek(2_500_000)
            byte = file.read(1)
            file.seek(2_500_000)
            file.write(bytes([byte[0] ^ 1]))
        worker = network.start_worker("w2")

        def failed():
            return [line for line in network.events("CPN-MODEL-FAILED") if line["node"] == "w2"]

        self.assertIn("does not verify", wait_for("the model fails", failed)[0]["text"])
        self.assertGreater(len(worker.events("CPN-CHUNK-REFUSED")), 1)  # fetched again, in vain
        network.ok("predict", "big", network.file("a.txt", "x"))  # by the node that has it
        with open(blob, "r+b") as file:
            file.seek(2_500_000)
            file.write(byte)
        worker.kill()
        worker = network.start_worker("w2")
        wait_for("w2 has it", lambda: worker.events("CPN-MODEL-READY"))

    def test_no_room_for_a_model(self):
        network = self.network
        network.start_worker("w1", "--disk-bytes", "1MiB")
        done = network.cpn("model", "push", self.big_bundle())
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("w1: failed: file big.bin", done.stdout + done.stderr)
        self.assertIn("quota", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
