"""An S3 server on loopback, with failures if wanted; `python -m tests.buckets HOST PORT` is one."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

NAME = "scintigrams"


class Stumbling:
    """Answers one request in `every` with an error; every second one of these was carried out."""

    def __init__(self, application: Callable[..., Iterable[bytes]], every: int) -> None:
        self._application, self._every = application, every
        self._lock = threading.Lock()
        self.asked = 0
        self.failed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            self.asked += 1
            fails = self._every > 0 and self.asked % self._every == 0
            self.failed += fails
            lost = fails and self.failed % 2 == 0
        if fails and not lost:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        else:
            answer = self._application(environ, (lambda *_: None) if lost else start_response)
            if not lost:
                return answer
            list(answer)
        start_response("503 Slow Down", [("Content-Type", "text/plain")])
        return [b"Please reduce your request rate."]


@contextmanager
def bucket_server(every: int = 0, host: str = "127.0.0.1", port: int = 0) -> Iterator[Stumbling]:
    """An empty bucket; in the block, the environment has its address and credentials."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = Stumbling(DomainDispatcherApplication(create_backend_app), every=0)
    server = make_server(host, port, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with patch.dict(os.environ, environment):
            boto3.client("s3").create_bucket(Bucket=NAME)
            application._every = every
            yield application
            application._every = 0
            contents(delete=True)
            boto3.client("s3").delete_bucket(Bucket=NAME)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def contents(prefix: str = "", *, delete: bool = False) -> list[str]:
    """Names of all objects, as another client sees them."""
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=NAME, Prefix=prefix)
    names = [item["Key"] for page in pages for item in page.get("Contents", [])]
    for name in names if delete else []:
        client.delete_object(Bucket=NAME, Key=name)
    return names


if __name__ == "__main__":
    with bucket_server(host=sys.argv[1], port=int(sys.argv[2])):
        threading.Event().wait()
