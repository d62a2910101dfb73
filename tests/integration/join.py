# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Coming in: the first start, join lines that are good and that are not, keys that are revoked or copied."""

import os
import shutil
import signal
import json
import socket
import stat
import subprocess

from network import BIN, NetworkTest, main, wait_for


class Join(NetworkTest):
    def test_first_start_makes_a_network_once(self):
        network = self.network
        with open(network.master.out_path, encoding="utf-8") as out:
            text = out.read()
        self.assertIn("Made a new network", text)
        self.assertIn(network.node_line, text)
        self.assertIn(network.user_line, text)
        self.assertEqual(stat.S_IMODE(os.stat(network.context).st_mode), 0o600)
        users = network.json("users")
        self.assertEqual([user["role"] for user in users], ["admin"])
        self.assertEqual(network.master.kill(signal.SIGTERM), 0)
        network.start_master()
        with open(network.master.out_path, encoding="utf-8") as out:
            self.assertEqual(out.read().count("Made a new network"), 1)
        self.assertEqual(network.json("users")[0]["key"], users[0]["key"])

    def test_worker_joins_and_its_line_is_not_needed_again(self):
        network = self.network
        worker = network.start_worker("w1")
        key = network.json("nodes")[0]["key"]
        self.assertEqual(worker.kill(signal.SIGTERM), 0)
        network.wait_node("w1", ("gone",))
        network.node_line = "cpn://nonsense"
        network.start_worker("w1")
        self.assertEqual([node["key"] for node in network.json("nodes")], [key])

    def test_user_joins_with_a_token_of_one_use(self):
        network = self.network
        line = network.ok("token", "create", "--role", "user", "--name", "ann").stdout.strip()
        network.ok("join", line, context=network.path("ann"))
        self.assertEqual(stat.S_IMODE(os.stat(network.path("ann")).st_mode), 0o600)
        self.assertIn("ann", [user["name"] for user in network.json("users")])
        again = network.cpn("join", line, context=network.path("bob"))
        self.assertEqual(again.returncode, 4)
        self.one_line(again.stderr, "token")

    def test_join_whose_answer_was_lost(self):
        network = self.network
        line = network.ok("token", "create", "--role", "user", "--name", "ann").stdout.strip()
        network.ok("join", line, context=network.path("ann"))
        with open(network.path("ann"), encoding="utf-8") as file:
            text = file.read()
        with open(network.path("ann"), "w", encoding="utf-8") as file:
            file.write(text.replace("state joined", "state joining"))
        network.master.kill()
        network.start_master()
        self.assertNotEqual(network.cpn("nodes", context=network.path("ann")).returncode, 0)
        network.ok("join", line, context=network.path("ann"))
        network.ok("nodes", context=network.path("ann"))

    def test_expired_token(self):
        line = self.network.ok("token", "create", "--role", "user", "--ttl", "1ms").stdout.strip()
        done = self.network.cpn("join", line, context=self.network.path("late"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "token", "expired")

    def test_revoked_token(self):
        network = self.network
        line = network.ok("token", "create", "--role", "user", "--name", "eve").stdout.strip()
        key = [token["key"] for token in network.json("token", "list") if token["name"] == "eve"][0]
        network.ok("token", "revoke", key[:16])
        done = network.cpn("join", line, context=network.path("eve"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "token")

    def test_damaged_line(self):
        line = self.network.user_line
        for bad in (line[:-1], line[:-2] + ("AA" if line[-2:] != "AA" else "BB"), "hello", "cpn://"):
            done = self.network.cpn("join", bad, context=self.network.path("x"))
            self.assertEqual(done.returncode, 5, bad)
            self.one_line(done.stderr, "join line")

    def test_line_for_another_role(self):
        network = self.network
        node_line = network.node_line
        network.node_line = network.user_line
        worker = network.start_worker("w1", wait=False)
        self.assertEqual(worker.wait(), 4)
        self.one_line(worker.log_text(), "user")
        done = network.cpn("join", node_line, context=network.path("ann"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "this join line is for a node")
        network.ok("join", network.user_line, context=network.path("ann"))

    def test_a_name_of_the_other_kind_is_not_revoked(self):
        network = self.network
        network.start_worker("w1")
        network.ok("join", network.user_line, "--name", "ann", context=network.path("ann"))
        for command, name, kind in (("user", "w1", "a node"), ("node", "ann", "a user")):
            done = network.cpn(command, "revoke", name)
            self.assertEqual(done.returncode, 5)
            self.one_line(done.stderr, name, kind)
        self.assertFalse(any(user["revoked"] for user in network.json("users")))
        network.wait_node("w1", ("ready",))

    def test_worker_says_that_no_master_answers(self):
        network = self.network
        worker = network.start_worker("w1")
        self.assertEqual(worker.kill(signal.SIGHUP), 0)  # as when its terminal is closed: it drains
        network.master.kill()
        worker = network.start_worker("w1", wait=False)
        told = len(worker.events("CPN-MASTER-LOST"))  # of the run before
        wait_for("the worker says so", lambda: len(worker.events("CPN-MASTER-LOST")) > told)
        self.assertIn("cannot be reached", json.dumps(worker.events("CPN-MASTER-LOST")[-1]))
        network.start_master()
        network.wait_node("w1", ("ready",))

    def test_user_may_not_administer(self):
        network = self.network
        network.ok("join", network.user_line, context=network.path("ann"))
        done = network.cpn("token", "create", "--role", "admin", context=network.path("ann"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "token create")
        done = network.cpn("model", "push", network.bundle("echo", "echo"), context=network.path("ann"))
        self.assertEqual(done.returncode, 4)

    def test_revoked_node_is_shut_out(self):
        network = self.network
        worker = network.start_worker("w1")
        network.ok("node", "revoke", "w1")
        self.assertEqual(worker.wait(), 4)
        self.assertIn("revoked", worker.log_text().splitlines()[-1])
        worker = network.start_worker("w1", wait=False)
        self.assertEqual(worker.wait(), 4)

    def test_revoked_user_is_shut_out(self):
        network = self.network
        network.ok("join", network.user_line, "--name", "ann", context=network.path("ann"))
        network.ok("models", context=network.path("ann"))
        network.ok("user", "revoke", "ann")
        done = network.cpn("models", context=network.path("ann"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "revoked")

    def test_copied_data_directory(self):
        network = self.network
        first = network.start_worker("w1")
        shutil.copytree(network.path("w1"), network.path("w2"))
        second = network.start_worker("w2", wait=False)
        ended = wait_for("one of two with the same key gives up",
                         lambda: [w for w in (first, second) if w.process.poll() is not None])
        self.assertEqual(ended[0].process.returncode, 4)
        self.assertIn("copied", ended[0].log_text().splitlines()[-1])

    def test_key_of_another_network(self):
        network = self.network
        network.ok("join", network.user_line, context=network.path("ann"))
        with open(network.path("ann"), encoding="utf-8") as file:
            text = file.read()
        secret = [line for line in text.splitlines() if line.startswith("secret ")][0].split()[1]
        other = secret[:-2] + ("00" if secret[-2:] != "00" else "01")
        network.file("stranger", text.replace(secret, other))
        os.chmod(network.path("stranger"), 0o600)
        done = network.cpn("models", context=network.path("stranger"))
        self.assertEqual(done.returncode, 4)
        self.one_line(done.stderr, "key")

    def test_nobody_answers(self):
        network = self.network
        network.master.kill()
        done = network.cpn("nodes", "--timeout", "500ms")
        self.assertEqual(done.returncode, 3)
        self.one_line(done.stderr, network.port)


class Start(NetworkTest):
    def run_program(self, *args):
        return subprocess.run([os.path.join(BIN, args[0])] + list(args[1:]), env=self.network.env, stdin=subprocess.DEVNULL,
                              capture_output=True, encoding="utf-8", timeout=60, check=False)

    def test_port_in_use(self):
        done = self.run_program("cpn-master", "--data", self.network.path("m2"), "--listen",
                                f"tcp://127.0.0.1:{self.network.port}", "--admin-context", self.network.path("admin2"))
        self.assertEqual(done.returncode, 6)
        self.one_line(done.stderr, self.network.port, "in use")

    def test_a_first_start_that_failed_is_made_up_for(self):
        network = self.network
        context = network.path("admin2")
        self.assertEqual(network.master.kill(signal.SIGTERM), 0)
        args = ("cpn-master", "--data", network.path("m2"), "--listen")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.run_program(*args, f"tcp://127.0.0.1:{taken.getsockname()[1]}", "--admin-context", context)
        for unusable in (network.file("plain", "a file") + "/admin", network.path("")):
            done = self.run_program(*args, "tcp://127.0.0.1:0", "--admin-context", unusable)
            self.assertNotEqual(done.returncode, 0)
            self.one_line(done.stderr, unusable)
        master = network.start("m2", *args, "tcp://127.0.0.1:0", "--admin-context", context)
        ready = master.ready()
        with open(master.out_path, encoding="utf-8") as out:
            text = out.read()
        for part in ("had no administrator yet", context, ready["node_join"], ready["user_join"]):
            self.assertIn(part, text)
        self.assertEqual([user["role"] for user in network.json("users", context=context)], ["admin"])

    def test_gone_before_a_second_sign_of_life(self):
        for args in (("--heartbeat", "10s", "--gone", "1s"), ("--gone", "1ms"), ("--heartbeat", "2s")):
            done = self.run_program("cpn-master", "--data", self.network.path("m2"), "--listen", "tcp://127.0.0.1:0", *args)
            self.assertEqual(done.returncode, 2)
            self.one_line(done.stderr, "--gone", "--heartbeat")

    def test_data_directory_in_use(self):
        done = self.run_program("cpn-master", "--data", self.network.path("m"), "--listen", "tcp://127.0.0.1:0")
        self.assertEqual(done.returncode, 6)
        self.one_line(done.stderr, "/m")

    def test_data_directory_that_cannot_be(self):
        file = self.network.file("plain", "a file")
        for program in ("cpn-master", "cpn-worker"):
            more = ["--join", self.network.node_line] if program == "cpn-worker" else ["--listen", "tcp://127.0.0.1:0"]
            done = self.run_program(program, "--data", file + "/below", *more)
            self.assertEqual(done.returncode, 6, done.stderr)
            self.one_line(done.stderr, "plain")

    def test_worker_that_has_not_joined(self):
        done = self.run_program("cpn-worker", "--data", self.network.path("new"))
        self.assertEqual(done.returncode, 5)
        self.one_line(done.stderr, "--join")

    def test_usage(self):
        for args in (["cpn-master"], ["cpn-worker"], ["cpn-master", "--data"], ["cpn-master", "--nonsense"], ["cpn"],
                     ["cpn", "model"], ["cpn", "nonsense"], ["cpn", "predict", "x"], ["cpn", "token", "create", "--role", "king"],
                     ["cpn-worker", "--data", "x", "--slots", "-1"]):
            done = self.run_program(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertNotEqual(done.stderr, "", args)

    def test_help(self):
        for args in (["cpn", "--help"], ["cpn", "help"], ["cpn", "predict", "--help"], ["cpn", "model", "push", "-h"],
                     ["cpn-master", "--help"], ["cpn-worker", "--help"], ["cpn", "version"], ["cpn-master", "--version"]):
            done = self.run_program(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""), args)
            self.assertNotEqual(done.stdout, "")

    def test_configuration_file(self):
        network = self.network
        good = network.file("good.conf", "# a comment\n[worker]\nslots = 3\nname = other\n[client]\ntimeout = 500ms\n[master]\nlisten = x\n")
        network.start_worker("w1", "--config", good)  # --slots of the command line wins
        self.assertEqual(network.json("nodes")[0]["slots"], 1)
        for text, line, word in (("[worker]\nslots = many\n", ":2:", "whole number"), ("[worker]\n\nslot = 1\n", ":3:", "no such key"),
                                 ("[wroker]\nslots = 1\n", ":2:", "no such section"), ("[worker]\nslots\n", ":2:", "key = value"),
                                 ("[worker]\nname = " + 300 * "x" + "\n", ":2:", "longer")):
            bad = network.file("bad.conf", text)
            done = self.run_program("cpn-worker", "--data", network.path("w9"), "--config", bad)
            self.assertEqual(done.returncode, 2, text)
            self.one_line(done.stderr, "bad.conf" + line, word)


if __name__ == "__main__":
    main()
