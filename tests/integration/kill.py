# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""Processes that die: workers, the master, runners; and that end in good order."""

import json
import os
import signal
import threading
import time

from network import DEADLINE_S, SLOWER, NetworkTest, lives, main, runners, wait_for


class Kill(NetworkTest):
    def setUp(self):
        super().setUp()
        self.network.push_echo()

    def predict(self, *photos):
        return self.network.spawn("predict", "echo", "--json", *photos)

    def results(self, process, status=0):
        out, err = process.communicate(timeout=60 * SLOWER)
        self.assertEqual(process.returncode, status, out + err)
        return [json.loads(line) for line in out.splitlines()]

    def running(self):
        """The node on which the one task runs."""
        return wait_for("the task runs", lambda: self.network.tasks("running"))[0]["node"]

    def test_worker_killed_mid_task(self):
        network = self.network
        workers = {name: network.start_worker(name) for name in ("w1", "w2")}
        process = self.predict(network.file("a.jpg", "sleep 3000"))
        node = self.running()
        children = wait_for("it has a runner", lambda: runners(workers[node]))
        self.assertEqual(len(children), 1)
        started = time.monotonic()
        workers[node].kill()
        wait_for("no runner lives a second after its worker", lambda: not any(map(lives, children)), 1)
        other = ({"w1", "w2"} - {node}).pop()
        wait_for("it runs elsewhere", lambda: [t for t in network.tasks("running") if t["node"] == other])
        self.assertLess(time.monotonic() - started, 4 + 4 * (SLOWER - 1))
        result = self.results(process)[0]
        self.assertEqual((result["node"], result["attempt"], result["labels"][0]["name"]), (other, 2, "slept"))

    def test_hung_runner_dies_with_its_worker(self):
        network = self.network
        worker = network.start_worker("w1")
        for command in ("hang", "spin"):
            self.predict(network.file(command + ".jpg", command))
            self.running()
            children = wait_for("it has a runner", lambda: runners(worker))
            self.assertEqual(len(children), 1)
            worker.kill()
            wait_for("no runner lives a second after its worker", lambda: not any(map(lives, children)), 1)
            for daemon in network.daemons:
                if daemon not in (network.master, worker):
                    daemon.kill()
            worker = network.start_worker("w1")

    def test_master_killed_mid_task(self):
        network = self.network
        worker = network.start_worker("w1")
        process = self.predict(network.file("a.jpg", "sleep 8000"))
        self.running()
        children = wait_for("it has a runner", lambda: runners(worker))
        network.master.kill()
        network.start_master()
        self.assertEqual(self.running(), "w1")
        self.assertEqual(runners(worker), children)
        result = self.results(process)[0]
        self.assertEqual((result["attempt"], result["labels"][0]["name"]), (1, "slept"))
        self.assertEqual(runners(worker), children)
        wait_for("it is counted", lambda: network.json("nodes")[0]["history"]["tasks"] == 1)

    def test_master_away_while_the_task_ends(self):
        network = self.network
        worker = network.start_worker("w1")
        process = self.predict(network.file("a.jpg", "sleep 1000"))
        self.running()
        network.master.kill()
        wait_for("the runner is done", lambda: worker.process.poll() is None and idle(runners(worker)))
        network.start_master()
        result = self.results(process)[0]
        self.assertEqual(result["labels"][0]["name"], "slept")
        self.assertEqual(result["attempt"], 1)

    def test_orderly_end_of_a_worker_drains(self):
        network = self.network
        worker = network.start_worker("w1")
        process = self.predict(network.file("a.jpg", "sleep 1500"))
        self.running()
        self.assertEqual(worker.kill(signal.SIGTERM), 0)
        result = self.results(process)[0]
        self.assertEqual((result["node"], result["attempt"]), ("w1", 1))

    def test_second_signal_ends_a_worker_at_once(self):
        network = self.network
        worker = network.start_worker("w1")
        self.predict(network.file("a.jpg", "sleep 60000"))
        self.running()
        worker.process.send_signal(signal.SIGTERM)
        wait_for("it drains", lambda: network.json("nodes")[0]["state"] == "draining")
        worker.process.send_signal(signal.SIGTERM)
        worker.wait(5 * SLOWER)

    def test_orderly_end_of_the_master(self):
        network = self.network
        worker = network.start_worker("w1")
        process = self.predict(network.file("a.jpg", "sleep 3000"))
        self.running()
        children = wait_for("it has a runner", lambda: runners(worker))
        self.assertEqual(network.master.kill(signal.SIGTERM), 0)
        network.start_master()
        self.assertEqual(runners(worker), children)
        self.assertEqual(self.results(process)[0]["attempt"], 1)

    def test_history_survives(self):
        network = self.network
        network.start_worker("w1")
        self.results(self.predict(network.file("a.jpg", 100 * "x")))
        wait_for("it is counted", lambda: network.json("nodes")[0]["history"]["tasks"] == 1)
        before = network.json("nodes")[0]["history"]
        self.assertEqual(network.master.kill(signal.SIGTERM), 0)
        network.start_master()
        network.wait_node("w1", ("ready",))
        after = network.json("nodes")[0]["history"]
        self.assertEqual((after["tasks"], after["first_join_us"]), (1, before["first_join_us"]))
        self.assertTrue(network.events("CPN-NODE-JOINED"))

    def test_photos_while_workers_are_killed(self):
        network = self.network
        names = ("w1", "w2")
        workers = {name: network.start_worker(name, slots=2) for name in names}
        photos = [network.file(f"in/{i}.jpg", f"sleep {20 + i % 30}") for i in range(300)]
        process = self.predict(*photos)
        stop = threading.Event()
        kills = []

        def killer():
            while not stop.is_set() and len(kills) < 6:
                name = names[len(kills) % 2]
                wait_for("it works", lambda: stop.is_set() or runners(workers[name]), DEADLINE_S)
                workers[name].kill()
                kills.append(name)
                workers[name] = network.start_worker(name, slots=2, wait=False)
                workers[name].ready()
        thread = threading.Thread(target=killer)
        thread.start()
        try:
            results = self.results(process)
        finally:
            stop.set()
            thread.join()
        self.assertGreater(len(kills), 1)
        self.assertEqual(sorted(r["photo"] for r in results), sorted(photos))
        self.assertFalse([r for r in results if "error" in r])
        self.assertEqual(network.json("tasks"), [])
        self.assertEqual(network.events("CPN-TASK-POISON"), [])


def idle(pids):
    """Whether none of these processes sleeps on a timer: each waits for its worker."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/wchan", encoding="utf-8") as file:
                if "nanosleep" in file.read():
                    return False
        except OSError:
            pass
    return bool(pids)


if __name__ == "__main__":
    main()
