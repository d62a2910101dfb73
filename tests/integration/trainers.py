# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""One session, every trainer: the same table, settings and seed come to the same, up to rounding, and their models serve alike."""

import csv

from network import main
from train import SHORT, TrainTest, write_table


class Trainers(TrainTest):
    def setUp(self):
        super().setUp()
        self.start_workers("w1", "w2")
        listed = [b.split()[0] for b in self.network.json("nodes")[0]["backends"]]
        self.trainers = [name[len("train."):] for name in listed if name.startswith("train.")]
        if len(self.trainers) < 2:
            self.skipTest("built with one trainer only")

    def outcomes(self, *args):
        reports = {name: self.train("--peers", "2", "--trainer", name, *SHORT, *args) for name in self.trainers}
        for name, report in reports.items():
            self.assertEqual(report["session"]["state"], "completed", f"{name}: {report['session']['text']}")
            self.assertTrue(all(lane["device"].startswith(("cpu", "cuda")) for lane in report["lanes"]), report["lanes"])
        return reports

    def test_modes(self):
        for mode in (("--mode", "average"), ("--int8",), ("--mode", "sync"), ("--sweep", "lr=1e-2,1e-3")):
            with self.subTest(mode=mode):
                sessions = [report["session"] for report in self.outcomes(*mode).values()]
                for session in sessions[1:]:
                    self.assertLess(abs(session["accuracy"] - sessions[0]["accuracy"]), 0.02)
                    self.assertLess(abs(session["loss"] - sessions[0]["loss"]), 0.02)

    def test_models_answer_alike(self):
        answers = []
        rows = self.network.path("rows.csv")
        write_table(rows, 300, 99, labels=False)
        for name in self.trainers:
            self.network.ok(*self.arguments("--trainer", name, *SHORT, "--publish", name))
            out = self.network.path(name + ".csv")
            self.network.ok("predict", name, rows, "-o", out)
            with open(out, encoding="utf-8", newline="") as file:
                answers.append(list(csv.DictReader(file)))
        for other in answers[1:]:
            self.assertEqual(len(other), 300)
            for one, two in zip(answers[0], other):
                self.assertLess(abs(float(one["confidence"]) - float(two["confidence"])), 0.01)
                self.assertTrue(one["label"] == two["label"] or float(one["confidence"]) < 0.51, (one, two))


if __name__ == "__main__":
    main()
