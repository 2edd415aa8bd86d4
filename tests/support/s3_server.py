"""A real S3 server for tests, which verifies signatures: a process of its own on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import urllib3

from storage.objects.sigv4 import S3Credentials
from tests.support.ports import own_port
from tests.support.waiting import eventually

ROOT = S3Credentials("test", "test", "us-east-1")  # what the server takes before there is any key

POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})


@dataclass
class S3Server:
    """Where it listens and whom it lets in; `kill` and `start` as often as a test likes, on the same port.

    Objects are on disk when a request is answered, keys are not: after a kill only the root's is known.
    """

    endpoint: str
    credentials: S3Credentials
    _folder: Path
    _environment: dict[str, str]
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; it answers when this returns."""
        with (self._folder / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ministack"], stdout=log, stderr=log, env={**os.environ, **self._environment}
            )
        eventually(self._answers)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    def freeze(self) -> None:
        """Let it hold its connections and say nothing any more, until it is killed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def _answers(self) -> None:
        host, _, port = self.endpoint.partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError as exc:
            raise AssertionError("the S3 server does not answer yet") from exc


@contextmanager
def running_s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server and make a key of its own; stop it at the end."""
    with _server_in(folder) as server:
        server.credentials = eventually(lambda: _create_key(server.endpoint))
        yield server


@contextmanager
def killable_s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server that is used with its root's key, which it knows after a kill too."""
    with _server_in(folder) as server:
        yield server


@contextmanager
def _server_in(folder: Path) -> Iterator[S3Server]:
    port = own_port()
    settings = {"AUTH": "true", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}
    settings |= {"SERVICES": "s3,iam,sts", "S3_DATA_DIR": str(folder / "s3"), "TMPDIR": str(folder), "S3_PERSIST": "1"}
    folder.mkdir(parents=True, exist_ok=True)
    server = S3Server(f"127.0.0.1:{port}", ROOT, folder, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _create_key(endpoint: str) -> S3Credentials:
    """Make a user with a key, as the server's root."""
    try:
        _iam(endpoint, {"Action": "CreateUser", "UserName": "counterpart"})
        _iam(
            endpoint,
            {"Action": "PutUserPolicy", "PolicyName": "s3", "PolicyDocument": POLICY, "UserName": "counterpart"},
        )
        answer = _iam(endpoint, {"Action": "CreateAccessKey", "UserName": "counterpart"})
    except urllib3.exceptions.HTTPError as exc:
        raise AssertionError("the S3 server does not answer yet") from exc
    found = {
        name: next((element.text or "" for element in answer.iter() if element.tag.endswith(name)), "")
        for name in ("AccessKeyId", "SecretAccessKey")
    }
    assert all(found.values()), "the S3 server gave no key"
    return S3Credentials(found["AccessKeyId"], found["SecretAccessKey"], ROOT.region)


def _iam(endpoint: str, parameters: dict[str, str]) -> ElementTree.Element:
    body = urllib.parse.urlencode({**parameters, "Version": "2010-05-08"}).encode()
    now = datetime.now(UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{ROOT.region}/iam/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n/\n\nhost:{endpoint}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n{digest}"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{ROOT.secret_key}".encode()
    for part in (day, ROOT.region, "iam", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers = {
        "X-Amz-Date": stamp,
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={ROOT.access_key}/{scope}, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}",
    }
    with urllib3.PoolManager(retries=False) as pool:
        response = pool.request("POST", f"http://{endpoint}/", body=body, headers=headers)
        return ElementTree.fromstring(response.data)
