# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Training as a person sees it: lines, tables, refusals, Ctrl-C. What sessions survive is in train.py."""

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import termios

from network import NetworkTest, main, wait_for

LONG = "epochs=20000,batch=8,hidden=256:256"  # nobody waits for its end


def table(rows):
    """Points inside and outside of a circle."""
    source = random.Random(7)
    lines = ["x,y,kind"]
    for _ in range(rows):
        x, y = source.uniform(-1, 1), source.uniform(-1, 1)
        lines.append(f"{x:.4f},{y:.4f},{'near' if x * x + y * y < 0.5 else 'far'}")
    return "\n".join(lines) + "\n"


class Training(NetworkTest):
    def setUp(self):
        super().setUp()
        self.network.start_worker("w1")
        self.network.start_worker("w2")
        self.csv = self.network.file("circle.csv", table(600))

    def arguments(self, *args):
        return ("train", "--csv", self.csv, "--label", "kind") + args

    def train(self, *args, **more):
        return self.network.cpn(*self.arguments(*args), **more)

    def objects(self, *args):
        """What `cpn train --json` says, in order: (word, value)."""
        lines = self.network.ok(*self.arguments("--json", *args)).stdout.splitlines()
        return [(next(iter(value)), value) for value in map(json.loads, lines)]

    def start(self, *args):
        words = self.objects("--detach", *args)
        self.assertEqual([word for word, _ in words], ["started"])
        return words[0][1]["started"]["id"]

    def states(self):
        return {node["name"]: node["state"] for node in self.network.json("nodes")}

    def wait_released(self):
        wait_for("all nodes are free", lambda: set(self.states().values()) == {"ready"})

    def session(self, which):
        return self.network.json("sessions", "show", which)["session"]

    # ---- outcomes ----

    def test_a_table_becomes_a_model(self):
        network = self.network
        words = self.objects("--peers", "2", "--set", "lr=1e-2,epochs=8", "--local-steps", "4", "--publish", "circle",
                             "--plot", network.path("curves.svg"))
        names = [word for word, _ in words]
        self.assertEqual((names[0], names[-2:]), ("started", ["session", "published"]))
        self.assertEqual(set(names[1:-2]), {"point"})
        whole = words[-2][1]
        session, lanes, points = whole["session"], whole["lanes"], whole["points"]
        self.assertEqual((session["state"], session["mode"], session["peers"]), ("completed", "average", 2))
        self.assertEqual((session["rows"], session["columns"], session["classes"]), (600, 2, 2))
        self.assertGreater(session["accuracy"], 0.8)
        self.assertRegex(session["weights"], "^[0-9a-f]{64}$")
        self.assertEqual([lane["lane"] for lane in lanes], [0, 1])
        for lane in (0, 1):
            self.assertEqual([p["epoch"] for p in points if p["lane"] == lane], list(range(1, 9)))
        with open(network.path("curves.svg"), encoding="utf-8") as file:
            self.assertIn("<svg", file.read())
        published = words[-1][1]["published"]
        self.assertEqual((published["name"], published["version"], published["ready"]), ("circle", 1, 2))
        self.wait_released()

    def test_what_people_read(self):
        network = self.network
        done = self.train("--set", "epochs=2", "--name", "round")
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("epoch 1/2", "epoch 2/2", "(round): completed", "Weights: ", "sessions export"):
            self.assertIn(part, done.stdout)
        self.assertIn("round", network.ok("sessions").stdout)
        self.assertIn("completed", network.ok("sessions", "show", "round").stdout)
        history = network.ok("sessions", "show", "round", "--csv").stdout.splitlines()
        self.assertGreater(len(history), 2)
        model = network.path("out", "model.onnx")
        os.makedirs(os.path.dirname(model))
        network.ok("sessions", "export", self.session("round")["id"][:8], "-o", model)
        self.assertGreater(os.path.getsize(model), 100)
        network.ok("sessions", "publish", "round", "later")
        self.assertEqual([m["ready"] for m in network.json("models") if m["name"] == "later"], [2])
        self.assertEqual(network.ok("sessions", "watch", "round").returncode, 0)

    def test_a_terminal_shows_one_table_in_place(self):
        rows, columns = 12, 60
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        arguments = self.network.arguments(*self.arguments("--set", "epochs=3", "--peers", "2", "--sweep", "batch=8,16,32,64,128",
                                                           "--sweep", "lr=1e-2,1e-3,1e-4,1e-5"))
        with subprocess.Popen(arguments, env=dict(self.network.env, TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # nobody has the terminal any more
                    break
                if not data:
                    break
                seen += data
            self.assertEqual(process.wait(timeout=60), 0, seen)
        os.close(ours)
        pictures = re.split(r"\r?\x1b\[\d+A", seen.decode())
        self.assertGreater(len(pictures), 2)
        for picture in pictures[:-1]:  # the last one is the outcome, below the cleared table
            table = re.sub(r"\x1b\[[KJ]|\r", "", picture[picture.rindex("Session "):]).split("\n")
            self.assertLessEqual(len(table), rows)  # with the line that the cursor is on
            self.assertLess(max(map(len, table)), columns)
            self.assertTrue([line for line in table if re.match("… and [0-9]+ more lanes", line)], picture)
        self.assertIn("Best: ", pictures[-1])

    # ---- refusals ----

    def test_refusals_are_one_line(self):
        network = self.network
        done = self.train("--peers", "3")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.one_line(done.stderr, "needs 3, 2 online", "w1", "w2")
        wrong = network.file("wrong.csv", "x,y,kind\n1,2,a\n3,four,b\n")
        done = network.cpn("train", "--csv", wrong, "--label", "kind")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.one_line(done.stderr, "wrong.csv", "row 3", "four")
        for args, part in ((("--mode", "both"), "--mode"), (("--set", "lr=fast"), "lr=fast"), (("--validation", "1"), "--validation"),
                           (("--publish", "a/b"), "a/b"), (("--publish", "circle", "--image", "3x1"), "takes 2 columns")):
            done = self.train(*args)
            self.assertIn(done.returncode, (2, 5), done.stderr)
            self.one_line(done.stderr, part)
        done = network.cpn("sessions", "show", "nothing")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.one_line(done.stderr, "nothing")
        self.assertEqual(network.json("sessions"), [])
        self.wait_released()

    def test_who_may_not_publish_keeps_the_outcome(self):
        network = self.network
        context = network.path("ann")
        network.ok("join", network.user_line, "--name", "ann", context=context)
        done = self.train("--set", "epochs=1", "--publish", "circle", context=context)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertRegex(done.stderr, "cpn sessions publish [0-9a-f]{8} circle")
        self.assertEqual([s["state"] for s in network.json("sessions")], ["completed"])

    # ---- leaving and stopping ----

    def test_stop(self):
        session = self.start("--peers", "2", "--set", LONG)
        wait_for("both train", lambda: set(self.states().values()) == {"training"})
        self.assertEqual(self.train().returncode, 3)  # nobody is free
        watching = self.network.spawn("sessions", "watch", session[:6])
        wait_for("it trains", lambda: self.session(session)["state"] == "training")
        said = self.network.ok("sessions", "stop", session).stdout
        self.assertEqual(said, f"Session {session[:8]}: stopped\n")
        output, _ = watching.communicate(timeout=60)
        self.assertEqual(watching.returncode, 1, output)
        self.assertIn("stopped", output)
        self.wait_released()
        self.assertEqual(self.network.ok("sessions", "stop", session).stdout, said)  # again is no fault

    def test_a_name_does_not_hide_an_id(self):
        session = self.start("--set", "epochs=1")
        self.network.cpn("sessions", "watch", session)
        other = self.start("--set", "epochs=1", "--name", session[:6])
        self.network.cpn("sessions", "watch", other)
        done = self.network.cpn("sessions", "show", session[:6])
        self.assertEqual(done.returncode, 5, done.stderr)
        self.one_line(done.stderr, "say more of the id")
        self.assertEqual(self.session(session[:7])["id"], session)
        self.assertEqual(self.session(other)["name"], session[:6])

    def test_ctrl_c_while_a_pipe_gives_nothing(self):
        pipe = self.network.path("pipe.csv")
        os.mkfifo(pipe)
        process = self.network.spawn("train", "--csv", pipe, "--label", "kind")

        def opened():
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return None  # nobody reads it yet
        end = wait_for("the table is read", opened)
        self.addCleanup(os.close, end)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, told)
        self.one_line(told, "nothing is trained")

    def test_ctrl_c_leaves_the_session_running(self):
        process = self.network.spawn(*self.arguments("--set", LONG))
        wait_for("it trains", lambda: [s for s in self.network.json("sessions") if s["state"] == "training"])
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, error)
        session = self.network.json("sessions")[0]
        self.assertEqual(session["state"], "training")
        self.assertIn(f"cpn sessions watch {session['id'][:8]}", error)
        self.network.ok("sessions", "stop", session["id"])
        self.wait_released()


if __name__ == "__main__":
    main()
