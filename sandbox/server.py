"""The web server: three WeChat hosts, the phone and the control API in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from sandbox import articles, mass, pictures
from sandbox.api.dispatch import Dispatcher
from sandbox.control import Control
from sandbox.oauth import AuthorizePages
from sandbox.platform import Platform
from sandbox.theatre import Theatre

HERE = Path(__file__).parent
PHONE = HERE / "templates" / "phone.html"
STATIC = HERE / "static"
LARGEST_BODY = 12 << 20


def build(platform: Platform) -> web.Application:
    """The application; the platform opens and closes with it."""
    pages = Pages(platform)
    app = web.Application(client_max_size=LARGEST_BODY)
    app.add_routes(
        [
            web.get("/", pages.phone),
            web.get("/cgi-bin/showqrcode", pages.qr_picture),
            web.get("/s/{page}", pages.article),
            web.get(r"/mmbiz_{ending:\w+}/{media_id}/0", pages.picture),
            *AuthorizePages(platform).routes(),
        ]
    )
    if STATIC.is_dir():
        app.router.add_static("/static", STATIC)
        app.router.add_static("/sandbox/static", STATIC)
    app.add_routes(Theatre(platform).routes())
    app.add_routes(Control(platform).routes())
    app.router.add_route("*", "/{path:.*}", Dispatcher(platform).answer)

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        await platform.open()
        mass.resume(platform)
        yield
        await platform.close()

    app.cleanup_ctx.append(lifetime)
    return app


class Pages:
    """Pictures of the mp host, and the phone."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def phone(self, _: web.Request) -> web.StreamResponse:
        """The phone to hold."""
        if PHONE.is_file():
            return web.FileResponse(PHONE, headers={"Cache-Control": "no-cache"})
        return web.Response(text="手机页面没有安装。控制接口在 /sandbox/。")

    async def qr_picture(self, request: web.Request) -> web.Response:
        """The picture of a code by its ticket; an unknown ticket is a plain 404."""
        code = self._platform.state.codes.get(request.query.get("ticket", ""))
        if code is None:
            raise web.HTTPNotFound
        picture = await asyncio.to_thread(pictures.qr_jpeg, code.url)
        return web.Response(body=picture, content_type="image/jpeg")

    async def article(self, request: web.Request) -> web.Response:
        """An article, as long as its author has not deleted it."""
        shown = articles.show(self._platform, request.match_info["page"])
        if shown is None:
            raise web.HTTPNotFound
        return web.Response(text=shown, content_type="text/html", headers=articles.HEADERS)

    async def picture(self, request: web.Request) -> web.Response:
        """A permanent picture by the address the API gave for it."""
        media = self._platform.media(request.match_info["media_id"])
        if media is None or not media.permanent:
            raise web.HTTPNotFound
        content = await asyncio.to_thread(self._platform.files.read, media.media_id)
        return web.Response(body=content, content_type=media.content_type)
