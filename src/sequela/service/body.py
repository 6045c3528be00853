"""Refuses request bodies that are too large, before they are read."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LimitBody:
    """Answers 413 where a body is, or turns out to be, larger than allowed.

    Args:
        app: What answers otherwise.
        most: Largest body in bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"content-length", b"0")
        if given.isdigit() and int(given) > self.most:
            await self._refuse(send)
            return
        body = b""
        while True:  # bodies are small: they are read whole before anything starts
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.most:
                await self._refuse(send)
                return
            if not message.get("more_body", False):
                break
        is_read = False

        async def again() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _refuse(self, send: Send) -> None:
        text = json.dumps({"error": f"the body may be {self.most:,} bytes at most: send fewer cases"}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": [*headers, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": text})
