# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Photos in, copies and tables out; inputs that are no photos; models that are none; Ctrl-C."""

import json
import os
import signal
import struct
import unittest
import zlib

from network import DOC, NetworkTest, main, wait_for


def png(width, height, rows):
    """A PNG of one bit a pixel: 40,000 x 40,000 of them fit in 200 kB."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    packer = zlib.compressobj(9)
    line = b"\0" * (1 + (width + 7) // 8)
    data = b"".join(packer.compress(line) for _ in range(rows)) + packer.flush()
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


class Echo(NetworkTest):
    def setUp(self):
        super().setUp()
        self.network.push_echo()
        self.network.start_worker("w1", slots=2)

    def predict(self, *args, **more):
        return self.network.cpn("predict", "echo", *args, **more)

    def results(self, *args):
        return [json.loads(line) for line in self.network.ok("predict", "echo", "--json", *args).stdout.splitlines()]

    def test_directories_keep_their_shape(self):
        network = self.network
        for name in ("in/a.jpg", "in/deep/er/b.PNG", "in/deep/c.txt", "more/a.jpg"):
            network.file(name, 100 * name)
        done = self.predict(network.path("in"), network.path("more") + "/", "-o", network.path("in", "out"))
        self.assertEqual(done.returncode, 0, done.stderr)
        for copy, source in (("a.jpg", "in/a.jpg"), ("deep/er/b.PNG", "in/deep/er/b.PNG"), ("a-2.jpg", "more/a.jpg")):
            with open(network.path("in", "out", copy), "rb") as file:
                self.assertEqual(file.read().decode(), 100 * source)
        self.assertIn("3 of 3 photos done, 0 failed", done.stderr)
        table = done.stdout.splitlines()
        self.assertEqual(len(table), 4)
        self.assertEqual(table[0].split(), ["PHOTO", "MODEL", "NODE", "ATTEMPT", "TIME", "LABELS"])
        again = self.predict(network.path("in"), "-o", network.path("in", "out"))  # copies are no photos of the next call
        self.assertIn("2 of 2 photos done", again.stderr)

    def test_a_link_to_a_directory(self):
        network = self.network
        network.file("in/a.jpg", "a photo")
        os.symlink(network.path("in"), network.path("link"))
        self.assertIn("1 of 1 photos done", self.predict(network.path("link")).stderr)

    def test_a_reader_that_leaves_ends_it(self):
        for i in range(60):
            self.network.file(f"in/{i:02}.jpg", "sleep 100")
        process = self.network.spawn("predict", "echo", "--json", self.network.path("in"))
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        self.assertEqual(process.wait(60), 6, told)
        self.assertRegex(told, "nobody reads the results(.|\n)* [0-9]+ not done")

    def test_inputs_are_never_overwritten(self):
        network = self.network
        photo = network.file("in/a.jpg", 100 * "a")
        done = self.predict(photo, "-o", network.path("in"))
        self.assertEqual(done.returncode, 2)
        self.one_line(done.stderr, "overwrite")

    def test_json(self):
        network = self.network
        small = network.file("small.jpg", 100 * "x")
        large = network.file("large.jpg", 1000000 * "x")
        results = self.results(small, large, "-o", network.path("out"))
        self.assertEqual(sorted(r["photo"] for r in results), [large, small])
        for result in results:
            self.assertEqual((result["model"], result["version"], result["node"], result["attempt"]), ("echo", 1, "w1", 1))
            self.assertEqual(result["labels"][0]["name"], "echo")
            self.assertEqual(os.path.getsize(result["output"]), os.path.getsize(result["photo"]))
            self.assertEqual(len(result["task"]), 32)
            self.assertGreater(result["elapsed_us"], 0)

    def test_what_is_not_there(self):
        network = self.network
        photo = network.file("a.jpg", 100 * "x")
        done = self.network.cpn("predict", "nonsense", photo)
        self.assertEqual(done.returncode, 5)
        self.assertIn("nonsense", done.stderr.splitlines()[0])
        done = self.predict(network.path("none.jpg"))
        self.assertEqual(done.returncode, 5)
        self.one_line(done.stderr, "none.jpg")

    def test_bad_inputs_disturb_nothing(self):
        network = self.network
        empty = network.file("empty.jpg", "")
        bad = network.file("bad.jpg", "bad")
        good = network.file("good.jpg", 100 * "x")
        done = self.predict(empty, bad, good, "--json")
        self.assertEqual(done.returncode, 1)
        lines = {os.path.basename(line["photo"]): line for line in map(json.loads, done.stdout.splitlines())}
        self.assertEqual(lines["empty.jpg"]["error"], "CPN_EBADINPUT")
        self.assertEqual(lines["bad.jpg"]["error"], "CPN_EBADINPUT")
        self.assertEqual(lines["bad.jpg"]["attempt"], 1)
        self.assertNotIn("error", lines["good.jpg"])

    def test_deadline(self):
        done = self.predict(self.network.file("slow.jpg", "sleep 60000"), "--deadline", "500ms")
        self.assertEqual(done.returncode, 1)
        self.assertIn("slow.jpg: ", done.stderr)

    def test_crash_is_parked_as_poison(self):
        network = self.network
        done = self.predict(network.file("crash.jpg", "crash"), network.file("good.jpg", 100 * "x"), "--json")
        self.assertEqual(done.returncode, 1)
        lines = {os.path.basename(line["photo"]): line for line in map(json.loads, done.stdout.splitlines())}
        self.assertEqual((lines["crash.jpg"]["error"], lines["crash.jpg"]["attempt"]), ("CPN_EPOISON", 3))
        self.assertNotIn("error", lines["good.jpg"])

    def test_interrupt_cancels(self):
        network = self.network
        photos = [network.file(f"{i}.jpg", "sleep 60000") for i in range(5)] + [network.file("0.jpg", 100 * "x")]
        process = network.spawn("predict", "echo", *photos)
        wait_for("tasks run", lambda: len(network.tasks("running")) == 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("Interrupted", err)
        wait_for("nothing is left at the master", lambda: network.json("tasks") == [])
        wait_for("the slots are free", lambda: network.json("nodes")[0]["busy"] == 0)
        self.assertEqual(len(self.results(network.file("after.jpg", 100 * "x"))), 1)
        self.assertNotIn("Traceback", out)


class Models(NetworkTest):
    def test_same_bundle_is_the_same_version(self):
        network = self.network
        network.start_worker("w1")
        network.push_echo()
        self.assertIn("echo@1", network.push_echo().stdout)
        self.assertIn("echo@2", network.push_echo(delay_ms="1").stdout)
        photo = network.file("a.jpg", 100 * "x")
        versions = [json.loads(network.ok("predict", m, photo, "--json").stdout)["version"] for m in ("echo", "echo@1", "echo@2")]
        self.assertEqual(versions, [2, 1, 2])
        network.ok("model", "rm", "echo@2")
        self.assertEqual(json.loads(network.ok("predict", "echo", photo, "--json").stdout)["version"], 1)

    def test_a_node_that_comes_later_prepares(self):
        network = self.network
        done = network.push_echo()
        self.assertIn("No node is connected", done.stdout)
        network.start_worker("w1")
        wait_for("it is ready", lambda: network.json("models")[0]["ready"] == 1)

    def test_model_that_cannot_be_loaded(self):
        network = self.network
        network.start_worker("w1")
        for how in ("fail", "crash"):
            done = network.cpn("model", "push", network.bundle("broken-" + how, "echo", load=how))
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("w1: failed", done.stdout)
        done = network.cpn("predict", "broken-fail", network.file("a.jpg", 100 * "x"))
        self.assertNotEqual(done.returncode, 0)
        network.push_echo()
        network.ok("predict", "echo", network.path("a.jpg"))

    def test_requirements_that_are_not_met(self):
        network = self.network
        network.start_worker("w1")
        bundle = network.bundle("big", "echo")
        with open(bundle + "/model.json", "w", encoding="utf-8") as file:
            json.dump({"name": "big", "backend": "echo", "requires": {"cores": 4000}}, file)
        done = network.cpn("model", "push", bundle)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cores", done.stdout)
        done = network.cpn("model", "push", network.bundle("alien", "no.such.backend"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such backend", done.stdout)

    def test_bundles_that_are_none(self):
        network = self.network
        for contents, word in (("", "model.json"), ("{}", "name"), ('{"name":"x"}', "backend")):
            network.file("bad/model.json", contents)
            done = network.cpn("model", "push", network.path("bad"))
            self.assertEqual(done.returncode, 5, contents)
            self.one_line(done.stderr, word)
        done = network.cpn("model", "push", network.path("nowhere"))
        self.assertEqual(done.returncode, 5)
        self.one_line(done.stderr, "nowhere")


@unittest.skipUnless(os.path.exists(DOC + "/messi5.jpg"), "needs Debian's opencv-doc")
class People(NetworkTest):
    """The real detector on real and on bad photos."""

    def setUp(self):
        super().setUp()
        network = self.network
        network.start_worker("w1")
        if not [b for b in network.json("nodes")[0]["backends"] if b.split()[0] == "opencv.people"]:
            self.skipTest("built without OpenCV")
        network.ok("model", "push", network.bundle("people", "opencv.people"))

    def test_bad_photos_are_one_line_each(self):
        network = self.network
        with open(DOC + "/messi5.jpg", "rb") as file:
            messi = file.read()
        photos = {
            "good.jpg": messi,
            "trailing.jpg": messi + b"and something behind it",
            "truncated.jpg": messi[:len(messi) // 10],
            "empty.jpg": b"",
            "text.jpg": b"I am not a photo.\n",
            "bomb.png": png(40000, 40000, 40000),
            "short.png": png(100, 100, 100)[:-12],
        }
        paths = [network.file("in/" + name, contents) for name, contents in photos.items()]
        done = network.cpn("predict", "people", *paths, "-o", network.path("out"))
        self.assertEqual(done.returncode, 1)
        self.assertEqual(sorted(os.listdir(network.path("out"))), ["good.jpg", "trailing.jpg"])
        failed = [line for line in done.stderr.splitlines() if "/in/" in line]
        self.assertEqual(len(failed), 5, done.stderr)
        for name, word in (("truncated.jpg", "truncated"), ("empty.jpg", "empty"), ("text.jpg", "JPEG"), ("bomb.png", "pixels"),
                           ("short.png", "truncated")):
            line = [line for line in failed if name in line][0]
            self.assertIn(word, line)
        self.assertEqual(network.json("nodes")[0]["state"], "ready")

    def test_copies_keep_their_kind(self):
        network = self.network
        network.ok("predict", "people", DOC + "/basketball1.png", DOC + "/messi5.jpg", "-o", network.path("out"))
        with open(network.path("out", "basketball1.png"), "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")
        with open(network.path("out", "messi5.jpg"), "rb") as file:
            self.assertEqual(file.read(3), b"\xff\xd8\xff")


if __name__ == "__main__":
    main()
