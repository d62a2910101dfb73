# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Training sessions with real daemons: what they come to, and what they survive."""

import csv
import json
import os
import random
import signal

from network import NetworkTest, SLOWER, main, runners, wait_for

CLASSES = ("red", "green", "blue")
OVER = ("completed", "failed", "stopped")
# Long enough to be disturbed in the middle: a second or two in some hundred rounds.
LONG = ("--set", "hidden=128:64,batch=4,epochs=120,lr=1e-3", "--local-steps", "80", "--checkpoint", "5")
SHORT = ("--set", "hidden=16,batch=16,epochs=5,lr=1e-2", "--local-steps", "10")


def sample(dice, label):
    """A row of a class: eight numbers around its own centre."""
    centre = 2.0 * CLASSES.index(label)
    return [f"{dice.gauss(centre if i % 3 else -centre, 1.0):.4f}" for i in range(8)]


def write_table(path, rows, seed, labels=True):
    """The labels that were (or would have been) written."""
    dice = random.Random(seed)
    wanted = []
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([f"x{i}" for i in range(8)] + (["colour"] if labels else []))
        for _ in range(rows):
            label = dice.choice(CLASSES)
            wanted.append(label)
            out.writerow(sample(dice, label) + ([label] if labels else []))
    return wanted


class TrainTest(NetworkTest):
    def setUp(self):
        super().setUp()
        self.table = self.network.path("colours.csv")
        write_table(self.table, 2000, 7)

    def start_workers(self, *names, **more):
        return {name: self.network.start_worker(name, **more) for name in names}

    def arguments(self, *args):
        return ("train", "--csv", self.table, "--label", "colour", "--json") + args

    def train(self, *args, status=0):
        """A whole session, watched to its end: its report."""
        done = self.network.cpn(*self.arguments(*args))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def start(self, *args):
        """The id of a session that goes on by itself."""
        return json.loads(self.network.ok(*self.arguments("--detach", *args)).stdout)["started"]["id"]

    def show(self, session):
        return self.network.json("sessions", "show", session)

    def watch(self, session, status=0):
        done = self.network.cpn("sessions", "watch", session, "--json")
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def reach(self, session, round_number):
        """Wait until so many rounds are complete; the report then. Fails if the session ended before."""
        def look():
            report = self.show(session)
            if report["session"]["state"] in OVER:
                raise AssertionError(f"it ended before round {round_number}: {report['session']}")
            return report if report["session"]["round"] >= round_number else None
        return wait_for(f"round {round_number}", look)

    def working(self, report):
        return sorted({lane["node"] for lane in report["lanes"] if lane["node"]})

    def check_released(self, *names):
        """Peers take tasks again, at once or nearly so."""
        for name in names:
            self.network.wait_node(name, ("ready", "busy", "preparing"), 5 * SLOWER)

    def check_points(self, report, lanes, epochs):
        """Every epoch of every lane, once and in order."""
        for lane in lanes:
            seen = [point["epoch"] for point in report["points"] if point["lane"] == lane]
            self.assertEqual(seen, list(range(1, epochs + 1)), f"lane {lane}")

    def check_good(self, report, epochs, lanes=(0, 1)):
        session = report["session"]
        self.assertEqual(session["state"], "completed", session["text"])
        self.assertGreater(session["accuracy"], 0.9)
        self.assertIsNotNone(session["weights"])
        self.assertLessEqual({lane["device"] for lane in report["lanes"]}, {"cpu", ""})  # "": trained before the master died
        self.check_points(report, lanes, epochs)
        return session["weights"]

    undisturbed_weights = None

    def undisturbed(self):
        """The weights that LONG comes to when nothing happens: the same in every network of this machine."""
        if TrainTest.undisturbed_weights is None:
            TrainTest.undisturbed_weights = self.check_good(self.train("--peers", "2", *LONG), 120)
        return TrainTest.undisturbed_weights


class Modes(TrainTest):
    def test_average_is_reproducible(self):
        self.start_workers("w1", "w2")
        first = self.train("--peers", "2", *SHORT)
        weights = self.check_good(first, 5)
        self.assertEqual(len(first["lanes"]), 2)
        self.assertEqual(first["session"]["rows"], 2000)
        self.assertEqual(first["session"]["classes"], 3)
        self.assertTrue(first["session"]["reproducible"], first["session"]["why"])
        self.check_released("w1", "w2")
        again = self.train("--peers", "2", *SHORT)
        self.assertNotEqual(again["session"]["id"], first["session"]["id"])
        self.assertEqual(again["session"]["weights"], weights)
        other = self.train("--peers", "2", *SHORT, "--set", "seed=2")
        self.assertNotEqual(other["session"]["weights"], weights)
        listed = self.network.json("sessions")
        self.assertEqual([s["id"] for s in listed], [r["session"]["id"] for r in (other, again, first)])

    def test_int8_and_sync_are_reproducible(self):
        self.start_workers("w1", "w2")
        for extra in (("--int8",), ("--mode", "sync")):
            first = self.train("--peers", "2", *SHORT, *extra)
            again = self.train("--peers", "2", *SHORT, *extra)
            self.assertEqual(self.check_good(first, 5), again["session"]["weights"], extra)

    def test_sweep_with_one_that_diverges(self):
        self.start_workers("w1", "w2")
        report = self.train("--peers", "2", "--set", "hidden=16,batch=16,epochs=4", "--peer", "lr=1e30,optimizer=sgd",
                            "--peer", "lr=1e-2", "--peer", "lr=1e-3")
        self.assertEqual([lane["state"] for lane in report["lanes"]], ["failed", "completed", "completed"])
        self.assertIn("diverged", report["lanes"][0]["text"])
        self.assertIn(report["session"]["best"], (1, 2))
        self.check_good(report, 4, lanes=(1, 2))
        self.check_released("w1", "w2")

    def test_halving_cuts_the_worse_half(self):
        self.start_workers("w1", "w2")
        report = self.train("--peers", "2", "--set", "hidden=16,batch=16,epochs=4", "--sweep", "lr=1e-6,1e-2", "--sweep",
                            "seed=1,2", "--halving")
        states = [lane["state"] for lane in report["lanes"]]
        self.assertEqual((len(states), states.count("cut"), states.count("completed")), (4, 3, 1), states)
        best = report["session"]["best"]
        self.assertEqual(states[best], "completed")
        self.assertIn("lr=1e-2", report["lanes"][best]["settings"])
        self.check_good(report, 4, lanes=(best,))


class Refused(TrainTest):
    def test_too_few_peers(self):
        self.start_workers("w1", "w2")
        done = self.network.cpn(*self.arguments("--peers", "4", *SHORT))
        self.assertNotEqual(done.returncode, 0)
        self.one_line(done.stderr, "needs 4", "2 online", "w1", "w2")
        self.check_released("w1", "w2")

    def test_wrong_table(self):
        self.start_workers("w1")
        with open(self.table, "a", encoding="utf-8") as file:
            file.write("1,2,3,4,x,6,7,8,red\n")
        done = self.network.cpn(*self.arguments("--peers", "1", *SHORT))
        self.assertNotEqual(done.returncode, 0)
        for part in ("colours.csv", "row 2002", "column 5", '"x4"'):
            self.assertIn(part, done.stderr)
        self.assertEqual(self.network.json("sessions"), [])
        self.assertEqual(self.network.events("CPN-SESSION-STARTED"), [])

    def test_peers_are_taken(self):
        self.start_workers("w1")
        session = self.start("--peers", "1", *LONG)
        done = self.network.cpn(*self.arguments("--peers", "1", *SHORT))
        self.assertNotEqual(done.returncode, 0)
        self.one_line(done.stderr, "needs 1", "1 training")
        self.network.ok("sessions", "stop", session)


class Faults(TrainTest):
    def test_peer_dies_and_is_replaced(self):
        workers = self.start_workers("w1", "w2")
        weights = self.undisturbed()
        workers.update(self.start_workers("w3"))
        session = self.start("--peers", "2", *LONG)
        report = self.reach(session, 7)
        victim = self.working(report)[0]
        free = ({"w1", "w2", "w3"} - set(self.working(report))).pop()
        workers[victim].kill()
        wait_for("another one works on it", lambda: free in self.working(self.show(session)))
        report = self.watch(session)
        self.assertEqual(self.check_good(report, 120), weights)
        self.assertTrue(report["session"]["reproducible"], report["session"]["why"])
        self.assertTrue(self.network.events("CPN-SESSION-PEER-LOST"))
        self.check_released(*({"w1", "w2", "w3"} - {victim}))

    def test_peer_dies_and_its_shard_is_shared_out(self):
        workers = self.start_workers("w1", "w2")
        weights = self.undisturbed()
        session = self.start("--peers", "2", *LONG)
        self.reach(session, 7)
        workers["w2"].kill()
        self.assertEqual(self.check_good(self.watch(session), 120), weights)
        self.check_released("w1")

    def test_master_dies(self):
        self.start_workers("w1", "w2")
        weights = self.undisturbed()
        session = self.start("--peers", "2", *LONG)
        self.reach(session, 7)
        self.network.master.kill()
        self.network.start_master()
        report = self.watch(session)
        self.assertEqual(self.check_good(report, 120), weights)
        self.assertLessEqual(report["session"]["repeated"], 1)
        self.check_released("w1", "w2")

    def test_trainer_dies(self):
        workers = self.start_workers("w1", "w2")
        weights = self.undisturbed()
        session = self.start("--peers", "2", *LONG)
        self.reach(session, 7)
        for pid in runners(workers["w1"]):
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.check_good(self.watch(session), 120), weights)
        self.check_released("w1", "w2")

    def test_client_dies_and_another_one_watches(self):
        self.start_workers("w1", "w2")
        process = self.network.spawn(*self.arguments("--peers", "2", *LONG))
        session = wait_for("it is listed", lambda: self.network.json("sessions"))[0]["id"]
        self.reach(session, 3)
        process.kill()
        process.communicate()
        self.check_good(self.watch(session), 120)

    def test_everything_dies(self):
        workers = self.start_workers("w1", "w2", "w3")
        weights = self.undisturbed()
        session = self.start("--peers", "2", *LONG)
        for step in range(6):
            self.reach(session, 25 * (step + 1))
            names = wait_for("somebody works on it", lambda: self.working(self.show(session)))
            name = names[step % len(names)]
            if step % 3 == 0:
                workers[name].kill()
                workers[name] = self.network.start_worker(name, wait=False)
            elif step % 3 == 1:
                for pid in runners(workers[name]):
                    os.kill(pid, signal.SIGKILL)
            else:
                self.network.master.kill()
                self.network.start_master()
        self.assertEqual(self.check_good(self.watch(session), 120), weights)
        self.check_released("w1", "w2", "w3")

    def test_orderly_ends_of_worker_and_master(self):
        workers = self.start_workers("w1", "w2")
        weights = self.undisturbed()
        session = self.start("--peers", "2", *LONG)
        self.reach(session, 7)
        self.assertEqual(workers["w2"].kill(signal.SIGTERM), 0)
        self.reach(session, 20)
        self.assertEqual(self.network.master.kill(signal.SIGTERM), 0)
        self.network.start_master()
        self.assertEqual(self.check_good(self.watch(session), 120), weights)
        self.check_released("w1")

    def test_stop(self):
        self.network.push_echo()
        self.start_workers("w1", "w2")
        process = self.network.spawn(*self.arguments("--peers", "2", *LONG))
        session = wait_for("it is listed", lambda: self.network.json("sessions"))[0]["id"]
        self.reach(session, 3)
        task = self.network.spawn("predict", "echo", "--json", self.network.file("a.jpg", 100 * "x"))
        wait_for("the task waits for a node", lambda: self.network.tasks("queued"))
        self.network.ok("sessions", "stop", session)
        self.check_released("w1", "w2")
        out, err = process.communicate(timeout=30 * SLOWER)
        self.assertEqual(process.returncode, 1, out + err)
        report = json.loads(out.splitlines()[-1])
        self.assertEqual(report["session"]["state"], "stopped")
        self.assertIsNotNone(report["session"]["weights"])
        out, err = task.communicate(timeout=30 * SLOWER)
        self.assertEqual(task.returncode, 0, out + err)
        self.assertEqual(len(self.train("--peers", "2", *SHORT)["lanes"]), 2)  # and they train again

    def test_tasks_that_run_are_finished_first(self):
        self.network.push_echo()
        self.start_workers("w1")
        task = self.network.spawn("predict", "echo", "--json", self.network.file("a.jpg", "sleep 1500"))
        wait_for("it runs", lambda: self.network.tasks("running"))
        session = self.start("--peers", "1", *SHORT)
        out, err = task.communicate(timeout=30 * SLOWER)
        self.assertEqual(task.returncode, 0, out + err)
        self.assertEqual(json.loads(out)["attempt"], 1)
        self.check_good(self.watch(session), 5, lanes=(0,))

    def test_disk_full_at_a_peer(self):
        self.start_workers("w1")
        self.network.start_worker("w2", "--disk-bytes", "16KiB")
        report = self.train("--peers", "2", *SHORT)
        self.check_good(report, 5)
        self.assertEqual(self.working(report) or ["w1"], ["w1"])
        lost = self.network.events("CPN-SESSION-PEER-LOST")
        self.assertTrue(lost and all("w2" == event["node"] and "quota" in event["text"] for event in lost), lost)
        self.check_released("w1", "w2")

    def test_straggler_is_cut(self):
        workers = self.start_workers("w1", "w2")
        session = self.start("--peers", "2", *LONG, "--quorum", "1")
        self.reach(session, 3)
        os.kill(workers["w2"].pid, signal.SIGSTOP)
        for pid in runners(workers["w2"]):
            os.kill(pid, signal.SIGSTOP)
        try:
            before = self.show(session)["session"]["round"]
            self.reach(session, before + 2)
        finally:
            for pid in runners(workers["w2"]):
                os.kill(pid, signal.SIGCONT)
            os.kill(workers["w2"].pid, signal.SIGCONT)
        report = self.watch(session)
        self.assertEqual(report["session"]["state"], "completed", report["session"]["text"])
        self.assertFalse(report["session"]["reproducible"])
        self.assertIn("quorum", report["session"]["why"])
        self.check_released("w1", "w2")


class FaultsOfModes(TrainTest):
    """A worker, a trainer and the master die, one after the other, in one session: what comes out is the same to the bit."""

    def disturb(self, *args):
        workers = self.start_workers("w1", "w2")
        undisturbed = self.train("--peers", "2", *args)
        self.assertEqual(undisturbed["session"]["state"], "completed")
        session = self.start("--peers", "2", *args)

        def half_way(part):
            def look():
                report = self.show(session)
                self.assertNotIn(report["session"]["state"], OVER, f"it ended before part {part}")
                enough = len(report["points"]) * 5 >= len(undisturbed["points"]) * part
                return report if enough and len(self.working(report)) > 0 else None
            return wait_for(f"part {part} of 5", look)
        for pid in runners(workers[self.working(half_way(1))[0]]):
            os.kill(pid, signal.SIGKILL)
        name = self.working(half_way(2))[-1]
        workers[name].kill()
        workers[name] = self.network.start_worker(name, wait=False)
        half_way(3)
        self.network.master.kill()
        self.network.start_master()
        report = self.watch(session)
        self.check_released("w1", "w2")
        self.assertEqual(report["session"]["weights"], undisturbed["session"]["weights"])
        figures = ("lane", "epoch", "samples", "train_loss", "train_accuracy", "loss", "accuracy")
        seen = [sorted(str([point[key] for key in figures]) for point in r["points"]) for r in (report, undisturbed)]
        self.maxDiff = None
        self.assertEqual(seen[0], seen[1])
        return report

    def test_sync(self):
        report = self.disturb("--mode", "sync", "--set", "hidden=32,batch=32,epochs=120", "--local-steps", "20")
        self.check_good(report, 120)

    def test_int8(self):
        report = self.disturb("--int8", *LONG)
        self.check_good(report, 120)

    def test_sweep(self):
        report = self.disturb("--set", "hidden=256:256,batch=4,epochs=30", "--peer", "lr=1e-3", "--peer", "lr=1e-4", "--peer",
                              "lr=1e-5", "--peer", "lr=1e-3,seed=2")
        self.check_good(report, 30, lanes=(0, 1, 2, 3))

    def test_halving(self):
        report = self.disturb("--set", "hidden=512:256,batch=4,epochs=32", "--sweep", "lr=1e-3,1e-4", "--sweep", "seed=1,2",
                              "--halving")
        self.check_good(report, 32, lanes=(report["session"]["best"],))


class Outcome(TrainTest):
    def test_what_others_may(self):
        network = self.network
        ann = network.path("ann")
        network.ok("join", network.user_line, context=ann)
        self.start_workers("w1")
        session = self.start("--peers", "1", *LONG)
        for args in (("stop", session), ("export", session, "-o", network.path("m.onnx"))):
            done = network.cpn("sessions", *args, context=ann)
            self.assertNotEqual(done.returncode, 0, args)
            self.one_line(done.stderr, "cpn sessions")
        done = network.cpn("sessions", "watch", session, "--json", context=ann)  # anybody may look
        ended = json.loads(done.stdout.splitlines()[-1])["session"]
        self.assertEqual(ended["state"], "completed", ended["text"])
        done = network.cpn("train", "--csv", self.table, "--label", "colour", *SHORT, "--publish", "colours", context=ann)
        self.assertNotEqual(done.returncode, 0)  # the outcome is kept, and who may publish is said
        self.assertIn("publish", done.stderr)
        self.assertEqual(network.json("sessions")[0]["state"], "completed")

    def test_published_model_predicts_rows(self):
        self.start_workers("w1", "w2")
        if not any(backend.startswith("opencv.dnn") for backend in self.network.json("nodes")[0]["backends"]):
            self.skipTest("built without OpenCV's dnn")
        plot = self.network.path("curve.svg")
        done = self.network.ok("train", "--csv", self.table, "--label", "colour", "--peers", "2", *SHORT, "--publish", "colours",
                               "--plot", plot)
        self.assertIn("colours", done.stdout + done.stderr)
        with open(plot, encoding="utf-8") as file:
            self.assertIn("<svg", file.read())
        rows, labelled = self.network.path("rows.csv"), self.network.path("labelled.csv")
        wanted = write_table(rows, 300, 99, labels=False)
        self.network.ok("predict", "colours", rows, "-o", labelled)
        with open(labelled, encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        self.assertEqual(len(found), 300)
        right = sum(row["label"] == label for row, label in zip(found, wanted))
        self.assertGreater(right, 270)

    def test_history_and_export(self):
        self.start_workers("w1")
        report = self.train("--peers", "1", *SHORT)
        session = report["session"]["id"]
        lines = self.network.ok("sessions", "show", session[:8], "--csv").stdout.splitlines()
        self.assertEqual(len(lines), 1 + len(report["points"]))
        model = self.network.path("model.onnx")
        self.network.ok("sessions", "export", session, "-o", model)
        self.assertGreater(os.path.getsize(model), 500)


if __name__ == "__main__":
    main()
