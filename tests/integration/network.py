# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

"""A network of real daemons on loopback, for the tests beside this file.

Waits for what it needs to see, with a deadline, and never for a time. Everything it starts is ended and removed
in close(), whatever happened."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BIN = os.environ["CPN_BIN"]  # where the programs are
SLOWER = float(os.environ.get("CPN_TEST_SLOWER", "1"))  # a sanitized build needs more time
DEADLINE_S = 30 * SLOWER
DOC = "/usr/share/doc/opencv-doc/examples/data"

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and what is started here would inherit that


def wait_for(what, condition, seconds=DEADLINE_S):
    """The first true value of condition(); fails after a while, saying what did not happen."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Daemon:
    """One process whose log is a file of JSON lines."""

    def __init__(self, directory, name, args):
        self.name = name
        self.directory = directory
        self.log_path = os.path.join(directory, name + ".log")
        self.out_path = os.path.join(directory, name + ".out")
        self.ready_path = os.path.join(directory, name + ".ready")
        if os.path.exists(self.ready_path):
            os.unlink(self.ready_path)
        with open(self.log_path, "ab") as log, open(self.out_path, "ab") as out:
            self.process = subprocess.Popen(
                args + ["--ready-file", self.ready_path, "--log-format", "json", "--log-level", "debug"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        self.pid = self.process.pid

    def ready(self):
        def look():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log_text()[-2000:]}")
            if not os.path.exists(self.ready_path):
                return None
            with open(self.ready_path, encoding="utf-8") as file:
                return dict(line.rstrip("\n").split("=", 1) for line in file)
        return wait_for(f"{self.name} is ready", look)

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def log(self):
        lines = []
        for line in self.log_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": "", "text": line})  # a sentence for people
        return lines

    def events(self, event):
        return [line for line in self.log() if line["event"] == event]

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=DEADLINE_S)

    def wait(self, seconds=DEADLINE_S):
        return self.process.wait(timeout=seconds)


class Network:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="cpn-test-")
        self.daemons = []
        self.master = None
        self.port = None
        self.context = None
        self.env = dict(os.environ, XDG_CONFIG_HOME=self.path("config"), TMPDIR=self.path(""), LC_ALL="C.UTF-8")
        for name in [name for name in self.env if name.startswith("CPN_") and name != "CPN_BIN"]:
            del self.env[name]

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def close(self):
        for daemon in self.daemons:
            daemon.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- daemons ----

    def start(self, name, program, *args):
        daemon = Daemon(self.directory, name, [os.path.join(BIN, program)] + list(args))
        self.daemons.append(daemon)
        return daemon

    def start_master(self, *args):
        """Start it, or start it again on the port it had."""
        first = self.port is None
        self.master = self.start("master", "cpn-master", "--data", self.path("m"), "--listen",
                                 f"tcp://127.0.0.1:{self.port or 0}", "--admin-context", self.path("admin"), *args)
        ready = self.master.ready()
        self.port = ready["port"]
        if first:
            self.context = ready["context"]
            self.node_line = ready["node_join"]
            self.user_line = ready["user_join"]
        return self.master

    def start_worker(self, name, *args, slots=1, wait=True):
        worker = self.start(name, "cpn-worker", "--data", self.path(name), "--name", name, "--slots", str(slots), "--join",
                            self.node_line, *args)
        if wait:
            worker.ready()
            self.wait_node(name, ("ready", "preparing", "busy"))
        return worker

    def wait_node(self, name, states, seconds=DEADLINE_S):
        def look():
            return [n for n in self.json("nodes") if n["name"] == name and n["state"] in states]
        return wait_for(f"node {name} is one of {states}", look, seconds)[0]

    # ---- the command line ----

    def arguments(self, *args, context=None):
        return [os.path.join(BIN, "cpn")] + list(args) + ["--context", context or self.context]

    def cpn(self, *args, context=None, seconds=120):
        return subprocess.run(self.arguments(*args, context=context), env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              encoding="utf-8", timeout=seconds * SLOWER, check=False)

    def ok(self, *args, **more):
        done = self.cpn(*args, **more)
        if done.returncode != 0:
            raise AssertionError(f"cpn {' '.join(args)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def json(self, *args, **more):
        return json.loads(self.ok(*args, "--json", **more).stdout)

    def spawn(self, *args, context=None):
        process = subprocess.Popen(self.arguments(*args, context=context), env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        self.daemons.append(Spawned(process))
        return process

    # ---- models and inputs ----

    def bundle(self, name, backend, files=(), **parameters):
        directory = self.path("bundle-" + name)
        os.makedirs(directory, exist_ok=True)
        for file in files:
            shutil.copy(file, directory)
        manifest = {"name": name, "backend": backend, "parameters": parameters}
        if files:
            manifest["files"] = [os.path.basename(file) for file in files]
        with open(os.path.join(directory, "model.json"), "w", encoding="utf-8") as out:
            json.dump(manifest, out)
        return directory

    def push_echo(self, **parameters):
        """Model "echo" whose inputs are commands: "sleep 100", "crash"; see libcpn/compute/backends/echo.c."""
        return self.ok("model", "push", self.bundle("echo", "echo", test="1", **parameters))

    def file(self, name, contents):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(contents if isinstance(contents, bytes) else contents.encode())
        return path

    def tasks(self, state):
        return [task for task in self.json("tasks") if task["state"] == state]

    def events(self, event):
        lines = self.ok("events", "--json", "--limit", "1000").stdout.splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]


class Spawned:
    """A command that runs beside the test, so that close() ends it, too."""

    def __init__(self, process):
        self.process = process

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.communicate()


def runners(worker):
    """Pids of the runner processes of a worker."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    name, rest = file.read().rsplit(")", 1)
                fields = rest.split()
            except OSError:
                continue
            if name.endswith("(cpn-runner") and fields[0] not in "ZX" and int(fields[1]) == worker.pid:
                found.append(int(entry))
    return found


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class NetworkTest(unittest.TestCase):
    """A fresh network for each test, with its master running."""

    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.network.start_master()

    def one_line(self, text, *parts):
        """Exactly one line for a person, that says all of these."""
        lines = [line for line in text.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, text)
        for part in parts:
            self.assertIn(part, lines[0])


def main():
    unittest.main(verbosity=2)
