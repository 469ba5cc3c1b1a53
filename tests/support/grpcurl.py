"""grpcurl, the program that strangers try a gRPC platform with."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aac_grpc.backends.cache import cache_directory, exclusive
from bench.processes import outputs

MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
INSTALL_WITHIN_S = 300.0
ANSWER_WITHIN_S = 20.0


def find_grpcurl() -> str:
    """Path of grpcurl: the one on PATH, else one that Go makes in the cache. The test is skipped where neither is."""
    if found := shutil.which("grpcurl"):
        return found
    kept = cache_directory() / "tools" / "grpcurl"
    if kept.is_file():
        return str(kept)
    go = shutil.which("go")
    if go is None:
        pytest.skip("grpcurl is not on PATH, and there is no Go to install it with")
    kept.parent.mkdir(exist_ok=True)
    with exclusive(kept.parent / "lock", INSTALL_WITHIN_S):
        if not kept.is_file():
            _install(go, kept.parent)
    return str(kept)


def _install(go: str, folder: Path) -> None:
    environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
    try:
        subprocess.run(
            [go, "install", MODULE],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_WITHIN_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"grpcurl is not on PATH, and Go could not install it: {said.strip()[-300:]}")


class CallFailed(Exception):
    """grpcurl reports a status that is not OK.

    Attributes:
        status: `google.rpc.Status` in JSON, with details.
    """

    def __init__(self, errors: str) -> None:
        super().__init__(errors)
        self.status: dict[str, Any] = json.loads(errors) if errors.lstrip().startswith("{") else {}


class Grpcurl:
    """Calls one port, with nothing but what reflection tells about it."""

    def __init__(self, program: str, target: str) -> None:
        self._program = program
        self._target = target

    async def names(self, service: str = "") -> list[str]:
        """Names of services, or of a service's methods."""
        return (await self._run([], "list", *([service] if service else []))).split()

    async def describe(self, symbol: str) -> str:
        """A service, method or message in the words of its contract."""
        return await self._run([], "describe", symbol)

    async def call(self, method: str, request: dict[str, Any], token: str = "") -> dict[str, Any]:
        """Calls a unary method.

        Raises:
            CallFailed: The status is not OK.
        """
        options = ["-format-error", "-emit-defaults", "-d", json.dumps(request), *_credential(token)]
        answer: dict[str, Any] = json.loads(await self._run(options, method))
        return answer

    @contextlib.asynccontextmanager
    async def stream(self, method: str, token: str = "") -> AsyncIterator["Conversation"]:
        """Opens a stream in both directions."""
        process = await asyncio.create_subprocess_exec(
            self._program, "-plaintext", "-d", "@", *_credential(token), self._target, method,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield Conversation(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _run(self, options: list[str], *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            self._program, "-plaintext", *options, self._target, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await outputs(process, ANSWER_WITHIN_S)
        if process.returncode:
            raise CallFailed(errors)
        return output


class Conversation:
    """An open stream: JSON messages written to grpcurl, and read from it as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._text = ""

    async def send(self, message: dict[str, Any]) -> None:
        """Sends one message."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def end(self) -> None:
        """Half-closes: no more messages will be sent."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def next(self) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: None came.
            EOFError: The stream has ended.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while True:
                self._text = self._text.lstrip()
                with contextlib.suppress(ValueError):
                    message, end = json.JSONDecoder().raw_decode(self._text)
                    self._text = self._text[end:]
                    return message  # type: ignore[no-any-return]  # an object
                if not (read := await self._process.stdout.read(65536)):
                    raise EOFError(self._text)
                self._text += read.decode()

    async def until(self, kind: str, topic: str = "") -> dict[str, Any]:
        """The next frame of a kind and topic; others are passed over."""
        while True:
            frame = await self.next()
            header = frame["header"]
            if header["kind"] == f"FRAME_KIND_{kind}" and topic in ("", header.get("topic", "").removeprefix("TOPIC_")):
                return frame


def _credential(token: str) -> list[str]:
    return ["-H", f"authorization: Bearer {token}"] if token else []
