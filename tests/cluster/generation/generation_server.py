"""A server in a process of its own, and a plain HTTP client."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


class ServerProcess:
    """``tessera cluster serve`` on a free port."""

    def __init__(self, shards, *options, log, key=""):
        command = [sys.executable, "-m", "toolchain", "cluster", "serve", str(shards)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        environment.pop("TESSERA_API_KEY", None)
        if key:
            environment["TESSERA_API_KEY"] = key
        self.log, self.key = log, key
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--port", "0", *options],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=ROOT,
            )
        line = self.process.stdout.readline()
        assert line.startswith("serving "), log.read_text()
        self.url = line.split()[-1]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, method, path, body=None, **headers):
        """Return status and text of an answer; a dict is sent as JSON."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, self.encode(body), self.headers(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()

    def post(self, path, values, **headers):
        status, text = self.request("POST", path, values, **headers)
        return status, json.loads(text)

    def stream(self, path, values):
        """Return the events of a stream."""
        status, text = self.request("POST", path, {**values, "stream": True})
        assert status == 200, text
        *events, done, end = text.split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def metrics(self):
        status, text = self.request("GET", "/metrics")
        assert status == 200
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name.removeprefix("tessera_"): float(value) for name, value in lines}

    def headers(self, headers):
        plain = {name.replace("_", "-"): value for name, value in headers.items()}
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", **key, **plain}

    @staticmethod
    def encode(body):
        return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
