# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Rows of a table through `cpn predict`: labelled, in their order, as they were; what is wrong costs its own row only."""

import csv
import io
import json
import os
import signal
import stat
import subprocess
import unittest
import zlib

from network import NetworkTest, main, wait_for
from predict import png

TRAINED = os.environ.get("CPN_TRAINED_BUNDLE", "")
DATA = os.environ.get("CPN_TEST_DATA", os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data"))


def table(rows):
    """Two kinds that differ in size, with a place as category and now and then a missing value."""
    lines = ["size,place,kind"]
    for i in range(rows):
        kind = i % 2
        lines.append(f"{'' if i % 50 == 7 else i % 10 + 20 * kind},{'north' if i % 3 else 'south'},{'large' if kind else 'small'}")
    return "\n".join(lines) + "\n"


@unittest.skipUnless(TRAINED, "built without training")
class Table(NetworkTest):
    def setUp(self):
        super().setUp()
        self.network.start_worker("w1", slots=2)
        if not [b for b in self.network.json("nodes")[0]["backends"] if b.split()[0] == "opencv.dnn"]:
            self.skipTest("built without OpenCV")

    def push(self, name, contents, label, image="", *categorical):
        bundle = self.network.path(name)
        os.makedirs(bundle)
        path = self.network.file(name + "-train.csv", contents)
        subprocess.run([TRAINED, path, label, name, bundle, image, *categorical], check=True, timeout=120)
        self.network.ok("model", "push", bundle)

    def predict(self, contents, *args, name="rows.csv"):
        path = self.network.file(name, contents)
        return self.network.cpn("predict", "kinds", path, *args)

    def labelled(self, contents, *args, status=0):
        out = self.network.path("out.csv")
        done = self.predict(contents, "-o", out, *args)
        self.assertEqual(done.returncode, status, done.stderr)
        with open(out, "rb") as file:
            return file.read().decode(), done.stderr

    def push_kinds(self):
        self.push("kinds", table(200), "kind", "", "place")

    def test_rows_come_back_in_order(self):
        self.push_kinds()
        rows = 5000  # some parts, two slots
        text, told = self.labelled(table(rows))
        read = list(csv.reader(io.StringIO(text)))
        self.assertEqual(read[0], ["size", "place", "kind", "label", "confidence"])
        self.assertEqual(len(read), rows + 1)
        self.assertEqual([row[:3] for row in read], list(csv.reader(io.StringIO(table(rows)))))
        wrong = [row for row in read[1:] if row[3] != row[2] and row[0] != ""]
        self.assertEqual(wrong, [])
        self.assertTrue(all(0.5 <= float(row[4]) <= 1 for row in read[1:]))
        self.assertIn(f"{rows} rows done, 0 failed", told)

    def test_rows_are_copied_as_they_are(self):
        self.push_kinds()
        text = ('\ufeffplace;"note; with ""quotes""";size;label\r\n'
                'north;"two\r\nlines; ""quoted""";25;\r\n\r\nsouth;plain;"3";x')
        out, _ = self.labelled(text)
        self.assertRegex(out, '^\ufeffplace;"note; with ""quotes""";size;label;predicted;confidence\r\n'
                              'north;"two\r\nlines; ""quoted""";25;;large;(0[.][0-9]+|1)\r\n\r\nsouth;plain;"3";x;small;(0[.][0-9]+|1)$')

    def test_what_is_no_file_is_written_to_as_it_is(self):
        self.push_kinds()
        network = self.network
        rows, pipe, link = network.file("rows.csv", table(20)), network.path("pipe"), network.path("link")
        os.mkfifo(pipe)
        process = network.spawn("predict", "kinds", rows, "-o", pipe)
        with open(pipe, encoding="utf-8") as file:
            text = file.read()
        _, told = process.communicate(timeout=60)
        self.assertEqual((process.returncode, len(text.splitlines())), (0, 21), told)
        self.assertTrue(stat.S_ISFIFO(os.lstat(pipe).st_mode))
        target = network.file("target", "before")
        os.symlink(target, link)
        network.ok("predict", "kinds", rows, "-o", link)
        self.assertTrue(os.path.islink(link))
        with open(target, encoding="utf-8") as file:
            self.assertEqual(file.read(), text)

    def test_a_wrong_row_costs_itself(self):
        self.push_kinds()
        lines = table(3000).splitlines()
        lines[16] = "five,north,small"  # row 17 of the file
        lines[2000] = "5,nowhere,small"
        lines[2001] = "5,north"
        lines[2999] = '5,"north" no,small'
        out, told = self.labelled("\n".join(lines) + "\n", status=1)
        self.assertEqual(told.splitlines()[:4], [
            f"{self.network.path('rows.csv')}: " + text for text in (
                'row 17, column 1 "size": "five" is not a number (a column of words must be left out or declared categorical)',
                'row 2001, column 2 "place": the model knows no "nowhere"',
                "row 2002, 2 cells; expected 3, as in row 1",
                'row 3000, column 2 "place": text follows the closing quote; expected a delimiter (quotes inside a cell are doubled)')])
        self.assertIn("2996 rows done, 4 failed", told)
        rows = out.splitlines()
        self.assertEqual(rows[16], "five,north,small,,")
        self.assertEqual(rows[2001], "5,north,,")
        self.assertEqual(sum(row.endswith(",,") for row in rows), 4)
        self.assertEqual(len(rows), 3001)

    def test_every_row_wrong(self):
        self.push_kinds()
        out, told = self.labelled("size,place\n" + 1500 * "x,north\n", status=1)
        self.assertIn("0 rows done, 1500 failed", told)
        self.assertEqual(len(told.splitlines()), 101)  # told to a person: the first 100
        self.assertEqual(out.splitlines()[1:], 1500 * ["x,north,,"])

    def test_json_and_standard_output(self):
        self.push_kinds()
        done = self.predict("size,place\n3,north\nx,north\n29,south\n", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["row"] for line in lines], [2, 3, 4])
        self.assertEqual((lines[0]["label"], lines[0]["model"], lines[0]["version"], lines[0]["node"]), ("small", "kinds", 1, "w1"))
        self.assertEqual((lines[1]["error"], lines[2]["label"]), ("CPN_EBADINPUT", "large"))
        self.assertTrue(lines[1]["detail"].startswith('row 3, column 1 "size": "x" is not a number'))
        done = self.predict("size,place\n3,north\n")
        self.assertRegex(done.stdout, r"^size,place,label,confidence\n3,north,small,[0-9.]+\n$")

    def test_what_is_no_such_table(self):
        self.push_kinds()
        out = self.network.path("out", "labelled.csv")
        done = self.predict("size\n3\n", "-o", out)
        self.assertEqual(done.returncode, 5)
        self.assertIn('no column "place" (feature of the model); the columns are "size"', done.stderr)
        self.assertEqual(os.listdir(os.path.dirname(out)), [])
        done = self.predict("", "-o", out)
        self.assertEqual(done.returncode, 5)
        self.one_line(done.stderr, "rows.csv", "a row of names")
        done = self.predict("\nsize,place\n", "-o", out)
        self.assertEqual(done.returncode, 5)
        self.one_line(done.stderr, "rows.csv", "an empty row")
        path = self.network.file("rows.csv", table(3))
        for args in ((path, path), (path, self.network.directory), (path, "-o", path), (path, "-o", self.network.directory)):
            done = self.network.cpn("predict", "kinds", *args)
            self.assertEqual(done.returncode, 2, args)
            self.one_line(done.stderr, "cpn predict: ")
        self.network.push_echo()
        done = self.network.cpn("predict", "echo", path)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("does not take tables", done.stderr)

    def begin(self, rows):
        """A call in the middle of its table."""
        out = self.network.path("out", "labelled.csv")
        folder = os.path.dirname(out)
        process = self.network.spawn("predict", "kinds", self.network.file("rows.csv", table(rows)), "-o", out)
        wait_for("the first rows are written",
                 lambda: os.path.isdir(folder) and any(entry.stat().st_size > 0 for entry in os.scandir(folder)))
        return process, out

    def test_a_node_dies(self):
        self.push_kinds()
        second = self.network.start_worker("w2")
        wait_for("both are ready", lambda: self.network.json("models")[0]["ready"] == 2)
        process, out = self.begin(100000)
        second.kill()
        _, told = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, told)
        with open(out, encoding="utf-8") as file:
            self.assertEqual([line.rsplit(",", 2)[0] for line in file][1:], table(100000).splitlines()[1:])

    def test_interrupted(self):
        self.push_kinds()
        process, out = self.begin(400000)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, told)
        self.one_line(told, "Interrupted", "not written: " + out)
        self.assertEqual(os.listdir(os.path.dirname(out)), [])
        # well within the minute for which the tasks of a client that is silent are kept: the master has its goodbye
        wait_for("nothing is left at the master", lambda: self.network.json("tasks") == [], 30)

    def test_images_of_a_table_of_images(self):
        rows = ["half," + ",".join(f"p{i}" for i in range(64))]
        for i in range(60):
            rows.append(("top," if i % 2 else "bottom,")
                        + ",".join(str((i * 7 + p * 3) % 90 + (150 if (p < 32) == (i % 2 == 1) else 0)) for p in range(64)))
        self.push("kinds", "\n".join(rows) + "\n", "half", "8x8")
        out, _ = self.labelled("\n".join(rows) + "\n")
        self.assertEqual([row[0] for row in csv.reader(io.StringIO(out))][1:], [row[-2] for row in csv.reader(io.StringIO(out))][1:])
        photo = self.network.file("top.png", half_white(16))
        done = self.network.ok("predict", "kinds", photo, "--json", "-o", self.network.path("copies"))
        result = json.loads(done.stdout)
        self.assertEqual(result["labels"][0]["name"], "top")
        self.assertEqual(len(result["labels"]), 2)
        self.assertTrue(os.path.exists(result["output"]))

    @unittest.skipUnless(os.path.exists(os.path.join(DATA, "csv", "penguins.csv")), "needs shared/data")
    def test_penguins(self):
        with open(os.path.join(DATA, "csv", "penguins.csv"), encoding="utf-8") as file:
            text = file.read()
        self.push("kinds", text, "species", "", "island", "sex")
        out, _ = self.labelled(text)
        rows = list(csv.DictReader(io.StringIO(out)))
        self.assertEqual(len(rows), len(text.splitlines()) - 1)
        self.assertGreater(sum(row["species"] == row["label"] for row in rows) / len(rows), 0.97)


def half_white(side):
    """A PNG whose upper half is white."""
    data = b"".join(b"\0" + (b"\xff" if y < side // 2 else b"\0") * (side // 8) for y in range(side))
    black = png(side, side, side)
    start = black.index(b"IDAT") - 4
    packed = zlib.compress(data)
    return (black[:start] + len(packed).to_bytes(4, "big") + b"IDAT" + packed
            + zlib.crc32(b"IDAT" + packed).to_bytes(4, "big") + black[-12:])


if __name__ == "__main__":
    main()
