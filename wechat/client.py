"""The only way we call the platform: typed questions, typed answers, and errors that say what to do next.

wechatpy's API classes shape the requests; its transport, token handling and retries are replaced, since they
recurse on a bad token, ignore timeouts and show secrets in exceptions. Never call this inside a transaction.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, assert_never
from weakref import WeakKeyDictionary

import wechatpy.client

from core.database import Database
from core.runtime import Runtime
from core.settings import Settings
from wechat import limits, mass
from wechat.errors import BadRequest, NoSuchMenu, OutcomeUnknown, TokenRejected, TooLate
from wechat.mass import DraftArticle, MassAccepted, MassContent, MassState, Quota
from wechat.replies import ImageReply, NewsReply, Reply, TextReply
from wechat.tokens import Token, TokenEndpoint, TokenStore
from wechat.transport import Files, Transport

_READS: Final = frozenset(
    {
        *(
            "callback/check",
            "getcallbackip",
            "menu/get",
            "ticket/getticket",
            "user/get",
            "user/info",
            "user/info/batchget",
        ),
        *("message/mass/get", "message/mass/speed/get", "openapi/quota/get"),
    }
)
_PAUSES_WHEN_BUSY: Final = (0.2, 0.8)
"""Seconds between the tries of a call that changes nothing. All others are made once."""

_CUSTOM_SEND: Final = "cgi-bin/message/custom/send"

T = TypeVar("T")

_begin_by: ContextVar[float | None] = ContextVar("begin_by", default=None)


@contextmanager
def begin_by(moment: float) -> Iterator[None]:
    """Within, no call goes out after this moment of `time.monotonic()`: it raises `TooLate` instead.

    Getting a token may take as long as a call of its own.
    """
    before = _begin_by.set(moment)
    try:
        yield
    finally:
        _begin_by.reset(before)


@dataclass(frozen=True)
class CreatedCode:
    """A parametric code: the ticket leads to the platform's picture of it, the url is what we draw ourselves."""

    ticket: str
    url: str
    expire_seconds: int | None


@dataclass(frozen=True)
class PageTicket:
    """What pages are signed with."""

    text: str = field(repr=False)
    lives: timedelta


@dataclass(frozen=True)
class FollowerPage:
    """One page of the follower list; the last one has no `next_openid`."""

    total: int
    openids: tuple[str, ...]
    next_openid: str | None


@dataclass(frozen=True)
class UserInfo:
    """What the platform tells about a person. Of somebody who does not follow, only the openid."""

    openid: str
    following: bool
    subscribe_time: datetime | None
    scene: str | None
    subscribe_scene: str | None
    unionid: str | None


@dataclass(frozen=True)
class UploadedImage:
    """Permanent material; the url opens only within Tencent's domains."""

    media_id: str
    url: str


@dataclass(frozen=True)
class Media:
    """What somebody sent, with the type that its bytes tell."""

    content: bytes
    mime: str


@dataclass(frozen=True)
class MenuItem:
    """A line of a menu message; tapping it sends `content` back with `id`."""

    id: str
    content: str


@dataclass(frozen=True)
class Ping:
    """How the platform reached our callback's address over one operator's network, in its own words."""

    ip: str
    operator: str
    loss: str
    time: str


@dataclass(frozen=True)
class CallbackCheck:
    """The platform's own test of the callback address."""

    addresses: tuple[str, ...]
    pings: tuple[Ping, ...]


class WeChatClient:
    """Calls for one account; build once per process and share between threads."""

    def __init__(self, *, app_id: str, transport: Transport, tokens: TokenStore) -> None:
        self._transport = transport
        self._calls = _Calls(app_id, transport, tokens)

    @classmethod
    def build(cls, settings: Settings, database: Database) -> "WeChatClient":
        """The client of the account in the settings."""
        transport = Transport(api_url=settings.wechat_api_url, mp_url=settings.wechat_mp_url)
        app_id = settings.wechat_app_id
        endpoint = TokenEndpoint(transport, app_id=app_id, app_secret=settings.wechat_app_secret)
        return cls(app_id=app_id, transport=transport, tokens=TokenStore(database, endpoint, app_id=app_id))

    # Codes

    def create_code(self, scene: str, *, permanent: bool, expire_seconds: int | None = None) -> CreatedCode:
        """Make the parametric code of a scene. Temporary ones need `expire_seconds`, permanent ones have none."""
        path = "cgi-bin/qrcode/create"
        if re.fullmatch(limits.SCENE_PATTERN, scene) is None:
            raise BadRequest(path, "a scene is 1 to 64 letters, digits, - or _")
        body: dict[str, Any] = {
            "action_name": "QR_LIMIT_STR_SCENE" if permanent else "QR_STR_SCENE",
            "action_info": {"scene": {"scene_str": scene}},
        }
        if not permanent:
            body["expire_seconds"] = _lifetime(path, expire_seconds)
        answer = self._calls.qrcode.create(body)
        lifetime = None if permanent else _field(path, answer, "expire_seconds", int)
        return CreatedCode(_word(path, answer, "ticket"), _word(path, answer, "url"), lifetime)

    def code_image(self, ticket: str) -> bytes:
        """The platform's picture of a code (JPEG)."""
        return self._transport.code_image(ticket)

    # Pages

    def page_ticket(self) -> PageTicket:
        """The ticket that pages are signed with: the same one until it is nearly over."""
        path = "cgi-bin/ticket/getticket"
        answer = self._calls.jsapi.get_ticket("jsapi")
        ticket, seconds = _word(path, answer, "ticket"), _field(path, answer, "expires_in", int)
        if not 0 < seconds <= 86_400:
            raise OutcomeUnknown(path, "answered without a proper lifetime")
        return PageTicket(ticket, timedelta(seconds=seconds))

    # People

    def follower_ids(self, next_openid: str = "") -> FollowerPage:
        """A page of at most 10,000 openids, from the one after `next_openid`."""
        path = "cgi-bin/user/get"
        answer = self._calls.user.get_followers(next_openid or None)
        total, count = _field(path, answer, "total", int), _field(path, answer, "count", int)
        listed = _field(path, answer, "data", dict) if "data" in answer else {}
        openids = tuple(_field(path, listed, "openid", list)) if listed else ()
        if len(openids) != count or not all(isinstance(openid, str) and openid for openid in openids):
            raise OutcomeUnknown(path, "answered with a list that does not match its count")
        # The platform repeats the page's last openid even when nothing follows; an empty page has no successor.
        successor = _field(path, answer, "next_openid", str) if "next_openid" in answer else ""
        return FollowerPage(total, openids, successor or None if openids else None)

    def user_info(self, openid: str) -> UserInfo:
        """Whether this person follows, since when, and through which scene."""
        path = "cgi-bin/user/info"
        info = _user_info(path, self._calls.user.get(openid))
        if info.openid != openid:
            raise OutcomeUnknown(path, "answered about somebody else")
        return info

    def users_info(self, openids: Sequence[str]) -> list[UserInfo]:
        """The same for up to 100 people, in the order asked; raises unless every one of them is answered."""
        path = "cgi-bin/user/info/batchget"
        if not openids:
            return []
        if len(openids) > limits.USERS_PER_BATCH:
            raise BadRequest(path, "more than 100 openids")
        answer = self._calls.user.get_batch(list(openids))
        if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
            raise OutcomeUnknown(path, "answered without a proper list")
        infos = {info.openid: info for info in (_user_info(path, entry) for entry in answer)}
        if infos.keys() != set(openids):
            raise OutcomeUnknown(path, "answered about other people than asked")
        return [infos[openid] for openid in openids]

    # Customer-service messages: once each, since nothing lets the platform recognise a repeat

    def send_text(self, openid: str, text: str) -> None:
        """A text message; at most 2,048 bytes, simple links allowed."""
        if len(text.encode("utf-8", "surrogatepass")) > limits.TEXT_MAX_BYTES:
            raise BadRequest(_CUSTOM_SEND, "the text is longer than 2048 bytes")
        self._done(_CUSTOM_SEND, self._calls.message.send_text(openid, text))

    def send_image(self, openid: str, media_id: str) -> None:
        """A picture uploaded before."""
        self._done(_CUSTOM_SEND, self._calls.message.send_image(openid, media_id))

    def send_news(self, openid: str, *, title: str, description: str, url: str, picurl: str) -> None:
        """A card with picture and link; the platform takes exactly one per message."""
        article = {"title": title, "description": description, "url": url, "picurl": picurl}
        self._done(_CUSTOM_SEND, self._calls.message.send_articles(openid, [article]))

    def send_menu(self, openid: str, *, head: str, items: Sequence[MenuItem], tail: str = "") -> None:
        """A question with answers to tap."""
        menu = {
            "head_content": head,
            "list": [{"id": item.id, "content": item.content} for item in items],
            "tail_content": tail,
        }
        self._done(_CUSTOM_SEND, self._calls.message.send_msg_menu(openid, menu))

    def send_reply(self, openid: str, reply: Reply) -> None:
        """Whatever a callback may be answered with, later and by itself."""
        match reply:
            case TextReply(content=content):
                self.send_text(openid, content)
            case ImageReply(media_id=media_id):
                self.send_image(openid, media_id)
            case NewsReply():
                self.send_news(
                    openid, title=reply.title, description=reply.description, url=reply.url, picurl=reply.picurl
                )
            case _:
                assert_never(reply)

    # Mass sends: accepted is not delivered, and a repeated clientmsgid is recognised for a day

    def mass_send(self, openids: Sequence[str], content: MassContent, clientmsgid: str) -> MassAccepted:
        """Hand over one batch of 2 to 10,000 people.

        `AlreadyAccepted` says that the platform has this clientmsgid, `WaitAMinute` that it was tried again too fast.
        """
        path = "cgi-bin/message/mass/send"
        body = mass.send_body(openids, content, clientmsgid)
        answer = self._calls.post("message/mass/send", data=body)
        self._done(path, answer)
        data_id = _field(path, answer, "msg_data_id", int) if "msg_data_id" in answer else None
        return MassAccepted(_id(path, answer, "msg_id"), data_id)

    def mass_state(self, msg_id: int) -> MassState:
        """How far a batch is."""
        path = "cgi-bin/message/mass/get"
        answer = self._calls.post("message/mass/get", data={"msg_id": str(msg_id)})
        status = _word(path, answer, "msg_status")
        if status not in set(MassState):
            raise OutcomeUnknown(path, "answered with a state it does not document")
        return MassState(status)

    def mass_delete(self, msg_id: int, article_idx: int = 0) -> None:
        """Take an article's page away, or with 0 all of them, for every batch that showed it; cards in chats stay."""
        path = "cgi-bin/message/mass/delete"
        if not 0 <= article_idx <= limits.ARTICLES_MAX:
            raise BadRequest(path, "articles are numbered from 1, 0 means all")
        self._done(path, self._calls.post("message/mass/delete", data={"msg_id": msg_id, "article_idx": article_idx}))

    def mass_preview(self, openid: str, content: MassContent) -> None:
        """Show one person what it will look like; a hundred times a day."""
        path = "cgi-bin/message/mass/preview"
        body = {"touser": openid, **mass.content_body(path, content)}
        body.pop("send_ignore_reprint", None)
        self._done(path, self._calls.post("message/mass/preview", data=body))

    def mass_speed(self) -> int:
        """From 0, the fastest, to 4."""
        path = "cgi-bin/message/mass/speed/get"
        return _field(path, self._calls.post("message/mass/speed/get", data={}), "speed", int)

    def set_mass_speed(self, level: int) -> None:
        """How fast the platform sends what it accepts."""
        path = "cgi-bin/message/mass/speed/set"
        if level not in limits.MASS_SPEEDS:
            raise BadRequest(path, "the speed is 0 to 4")
        self._done(path, self._calls.post("message/mass/speed/set", data={"speed": level}))

    def _done(self, path: str, answer: Any) -> None:
        """What changes something is documented to say so with an errcode, unlike what is asked."""
        _field(path, answer, "errcode", int)

    # Material and menu

    def add_draft(self, articles: Sequence[DraftArticle]) -> str:
        """Put articles together; the media id is what `MassArticles` sends."""
        path = "cgi-bin/draft/add"
        return _word(path, self._calls.post("draft/add", data=mass.draft_body(path, articles)), "media_id")

    def upload_content_image(self, content: bytes, filename: str) -> str:
        """Store a picture for the inside of articles; the url is what their HTML may show. Not counted as material."""
        path = "cgi-bin/media/uploadimg"
        kind = _image_type(content)
        if kind == "image/gif" or not 1 <= len(content) <= limits.CONTENT_IMAGE_MAX_BYTES:
            raise BadRequest(path, "a picture in an article is a JPEG or PNG of less than 1 MB")
        answer = self._calls.post("media/uploadimg", files={"media": (filename, content, kind)})
        return _word(path, answer, "url")

    def temporary_media(self, media_id: str) -> Media:
        """A picture or voice that somebody sent; the platform has it for three days, and `BadRequest` says not."""
        return Media(*self._calls.file("media/get", {"media_id": media_id}, limits.MEDIA_MAX_BYTES))

    def add_temporary_image(self, content: bytes, filename: str) -> str:
        """Store a picture for three days; the media id is what `send_image` sends. Not counted as material."""
        path = "cgi-bin/media/upload"
        answer = self._calls.media.upload("image", _image(path, content, filename))
        return _word(path, answer, "media_id")

    def add_permanent_image(self, content: bytes, filename: str) -> UploadedImage:
        """Store a picture for good; counts against 100,000."""
        path = "cgi-bin/material/add_material"
        answer = self._calls.material.add("image", _image(path, content, filename))
        return UploadedImage(_word(path, answer, "media_id"), _word(path, answer, "url"))

    def create_menu(self, menu: Mapping[str, Any]) -> None:
        """Replace the account's menu: `{"button": [...]}`."""
        self._calls.menu.create(dict(menu))

    def delete_menu(self) -> None:
        """Take the account's menu away."""
        self._done("cgi-bin/menu/delete", self._calls.menu.delete())

    def get_menu(self) -> dict[str, Any] | None:
        """The account's menu as it was created, or None."""
        try:
            answer = self._calls.menu.get()
        except NoSuchMenu:
            return None
        return _field("cgi-bin/menu/get", answer, "menu", dict)

    # The account itself

    def quota(self, api: str) -> Quota:
        """Today's allowance of one API, named as in `/cgi-bin/message/mass/send`."""
        path = "cgi-bin/openapi/quota/get"
        if not api.startswith("/cgi-bin/"):
            raise BadRequest(path, "an API is named by its whole path")
        found = _field(path, self._calls.post("openapi/quota/get", data={"cgi_path": api}), "quota", dict)
        return Quota(*(_field(path, found, name, int) for name in ("daily_limit", "used", "remain")))

    def callback_ips(self) -> list[str]:
        """From where the platform calls us. Needs a token and a listed IP, so it also proves both."""
        addresses = self._calls.misc.get_wechat_ips()
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise OutcomeUnknown("cgi-bin/getcallbackip", "answered without a proper list")
        return addresses

    def check_callback(self) -> CallbackCheck:
        """Let the platform resolve and ping the callback's address."""
        path = "cgi-bin/callback/check"
        answer = self._calls.post("callback/check", data={"action": "all", "check_operator": "DEFAULT"})
        resolved, pinged = (_entries(path, answer, name) for name in ("dns", "ping"))
        return CallbackCheck(
            addresses=tuple(_word(path, entry, "ip") for entry in resolved),
            pings=tuple(
                Ping(
                    ip=_word(path, entry, "ip"),
                    operator=_word(path, entry, "from_operator"),
                    loss=_word(path, entry, "package_loss"),
                    time=_word(path, entry, "time"),
                )
                for entry in pinged
            ),
        )


class _Calls(wechatpy.client.WeChatClient):  # type: ignore[misc]  # wechatpy has no types
    """wechatpy's API classes on our transport: one token replacement, one repetition, nothing else by itself."""

    def __init__(self, app_id: str, transport: Transport, tokens: TokenStore) -> None:
        super().__init__(app_id, secret="", auto_retry=False)
        self._http = None  # nothing may go around our transport
        self._transport = transport
        self._tokens = tokens

    @property
    def access_token(self) -> str:
        return self._tokens.current().text

    def _request(
        self,
        method: str,
        url_or_endpoint: str,
        *,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        files: Files | None = None,
        result_processor: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Any:
        path = f"cgi-bin/{url_or_endpoint}"

        def once(token: Token) -> dict[str, Any]:
            if (moment := _begin_by.get()) is not None and time.monotonic() > moment:
                raise TooLate(path, "not begun in time")
            return self._transport.call(
                method.upper(),
                path,
                params={**(params or {}), "access_token": token.text},
                body=data,
                files=files,
            )

        pauses = _PAUSES_WHEN_BUSY if url_or_endpoint in _READS else ()
        answer = self._while_busy(lambda: self._with_token(once), pauses)
        if result_processor is None:
            return answer
        try:
            return result_processor(answer)
        except (KeyError, TypeError):
            raise OutcomeUnknown(path, "answered without what was asked for") from None

    def file(self, endpoint: str, params: Mapping[str, str], most: int) -> tuple[bytes, str]:
        """Get a file; asking changes nothing, so a platform that is busy is asked again."""
        path = f"cgi-bin/{endpoint}"

        def once(token: Token) -> tuple[bytes, str]:
            return self._transport.file(path, params={**params, "access_token": token.text}, most=most)

        return self._while_busy(lambda: self._with_token(once), _PAUSES_WHEN_BUSY)

    def _with_token(self, once: Callable[[Token], T]) -> T:
        """A refused token means that nothing was done, so even a send may be repeated with another one."""
        token = self._tokens.current()
        try:
            return once(token)
        except TokenRejected:
            pass
        return once(self._tokens.replacement(token))

    def _while_busy(self, call: Callable[[], T], pauses: Sequence[float]) -> T:
        for pause in pauses:
            try:
                return call()
            except OutcomeUnknown as error:
                if error.errcode != -1:
                    raise
            time.sleep(pause)
        return call()


def _field(path: str, answer: Any, name: str, kind: type[T]) -> T:
    """A field of exactly this type; its absence means that somebody else than the platform is talking."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if type(value) is not kind:
        raise OutcomeUnknown(path, f"answered without a proper {name}")
    return value


def _word(path: str, answer: Any, name: str) -> str:
    value = _field(path, answer, name, str)
    if not value:
        raise OutcomeUnknown(path, f"answered with an empty {name}")
    return value


def _id(path: str, answer: Any, name: str) -> int:
    value = _field(path, answer, name, int)
    if value <= 0:
        raise OutcomeUnknown(path, f"answered without a proper {name}")
    return value


def _entries(path: str, answer: Any, name: str) -> list[Any]:
    return _field(path, answer, name, list) if isinstance(answer, dict) and name in answer else []


def _lifetime(path: str, expire_seconds: int | None) -> int:
    shortest, longest = (int(limit.total_seconds()) for limit in (limits.TEMPORARY_CODE_MIN, limits.TEMPORARY_CODE_MAX))
    if expire_seconds is None or not shortest <= expire_seconds <= longest:
        raise BadRequest(path, "a temporary code lives 60 seconds to 30 days")
    return expire_seconds


def _user_info(path: str, entry: Any) -> UserInfo:
    openid, subscribe = _word(path, entry, "openid"), _field(path, entry, "subscribe", int)
    if subscribe == 0:
        return UserInfo(openid, following=False, subscribe_time=None, scene=None, subscribe_scene=None, unionid=None)
    followed_at = _field(path, entry, "subscribe_time", int)
    if subscribe != 1 or not 0 < followed_at < 2**32:
        raise OutcomeUnknown(path, "answered with values out of range")
    scene_text, scene_number = _optional(path, entry, "qr_scene_str", str), _optional(path, entry, "qr_scene", int)
    return UserInfo(
        openid,
        following=True,
        subscribe_time=datetime.fromtimestamp(followed_at, UTC),
        scene=scene_text or scene_number or None,
        subscribe_scene=_optional(path, entry, "subscribe_scene", str) or None,
        unionid=_optional(path, entry, "unionid", str) or None,
    )


def _optional(path: str, entry: dict[str, Any], name: str, kind: type[str] | type[int]) -> str:
    """A field as text, "" where it is absent, empty or zero."""
    return str(_field(path, entry, name, kind) or "") if name in entry else ""


def _image(path: str, content: bytes, filename: str) -> tuple[str, bytes, str]:
    """A picture as it is uploaded; raises `BadRequest` for one that no call takes."""
    if not content or len(content) > limits.IMAGE_MAX_BYTES:
        raise BadRequest(path, "a picture has 1 byte to 10 MB")
    # Bytes, not a file: a file would be sent empty after a token was replaced.
    return filename, content, _image_type(content)


def _image_type(content: bytes) -> str:
    if content.startswith(b"\x89PNG"):
        return "image/png"
    return "image/gif" if content.startswith(b"GIF8") else "image/jpeg"


_clients: WeakKeyDictionary[Runtime, WeChatClient] = WeakKeyDictionary()


def client_of(runtime: Runtime) -> WeChatClient:
    """This process's client: its connections and its memory of the token serve every task."""
    if runtime not in _clients:
        _clients[runtime] = WeChatClient.build(runtime.settings, runtime.database)
    return _clients[runtime]
