"""What one API call is made of: its declaration, its checked input, its refusal."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from sandbox.jsontext import JsonObject, strict
from sandbox.platform import Platform
from sandbox.state import Person

ESCAPED = re.compile(rb"(?<!\\)(?:\\\\)*\\u[0-9a-fA-F]{4}")
OK: JsonObject = {"errcode": 0, "errmsg": "ok"}


class Refused(Exception):
    """The call is answered with an error, and perhaps more; the text gets its rid when it is sent."""

    def __init__(self, errcode: int, errmsg: str, **more: object) -> None:
        super().__init__(errmsg)
        self.errcode = errcode
        self.errmsg = errmsg
        self.more = more


class Fields:
    """A JSON object read field by field; whatever stays unread is refused by done()."""

    def __init__(self, value: object, *, where: str = "") -> None:
        if not isinstance(value, dict):
            raise Refused(47001, f"data format error {where}".strip())
        self._fields: JsonObject = value
        self._where = where
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._fields

    def peek(self, name: str) -> object:
        """A field's value of whatever type, without having read it; None where it is missing."""
        return self._fields.get(name)

    def text(
        self, name: str, *, default: str | None = None, missing: tuple[int, str] = (40035, "invalid parameter")
    ) -> str:
        """A text field; without a default it must be there."""
        return str(self._take(name, (str,), default, missing))

    def integer(
        self, name: str, *, default: int | None = None, missing: tuple[int, str] = (40035, "invalid parameter")
    ) -> int:
        """A whole number."""
        return int(self._take(name, (int,), default, missing))

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._fields.get(name, default)
        self._read.add(name)
        if not isinstance(value, bool):
            raise Refused(47001, f"data format error {self._path(name)}")
        return value

    def part(self, name: str, *, missing: tuple[int, str] = (40035, "invalid parameter")) -> Fields:
        """A nested object."""
        return Fields(self._take(name, (dict,), None, missing), where=self._path(name))

    def items(self, name: str, *, missing: tuple[int, str] = (40035, "invalid parameter")) -> list[Any]:
        """A list."""
        return list(self._take(name, (list,), None, missing))

    def objects(self, name: str, *, missing: tuple[int, str] = (40035, "invalid parameter")) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, where=self._path(name)) for item in self.items(name, missing=missing)]

    def texts(self, name: str, *, missing: tuple[int, str] = (40035, "invalid parameter")) -> list[str]:
        """A list of texts."""
        items = self.items(name, missing=missing)
        if not all(isinstance(item, str) for item in items):
            raise Refused(47001, f"data format error {self._path(name)}")
        return items

    def done(self) -> None:
        """Refuse fields nobody asked for: a misspelt one would otherwise be lost in silence."""
        unknown = set(self._fields) - self._read
        if unknown:
            raise Refused(40035, f"invalid parameter: {', '.join(self._path(name) for name in sorted(unknown))}")

    def _take(self, name: str, kinds: tuple[type, ...], default: object, missing: tuple[int, str]) -> Any:
        self._read.add(name)
        if name not in self._fields:
            if default is None:
                raise Refused(missing[0], f"{missing[1]} {self._path(name)} missing")
            return default
        value = self._fields[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise Refused(47001, f"data format error {self._path(name)}")
        return value

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


@dataclass(frozen=True)
class Upload:
    """A file that came as multipart form data."""

    filename: str
    content: bytes
    fields: Mapping[str, str]


@dataclass
class Call:
    """One API call in progress."""

    platform: Platform
    query: Mapping[str, str]
    raw: bytes
    remote: str
    form: Mapping[str, Any] | None = None
    body: object = None
    fault: JsonObject = field(default_factory=dict)

    def fields(self) -> Fields:
        """The JSON body; raises Refused when it is none the platform would take."""
        return Fields(self.body)

    def parameter(self, name: str, errcode: int, errmsg: str) -> str:
        """A query parameter that must be there."""
        value = self.query.get(name, "")
        if not value:
            raise Refused(errcode, errmsg)
        return value

    def upload(self, name: str = "media") -> Upload:
        """The file of a multipart call."""
        field = self.form.get(name) if self.form is not None else None
        if not isinstance(field, FileField):
            raise Refused(41005, "media data missing")
        content = field.file.read()
        if not content:
            raise Refused(44001, "empty media data")
        texts = {key: value for key, value in (self.form or {}).items() if isinstance(value, str)}
        return Upload(filename=field.filename, content=content, fields=texts)

    def follower(self, openid: str) -> Person:
        """A person the account has met; raises Refused for anybody else."""
        person = self.platform.state.people.get(openid)
        if person is None:
            raise Refused(40003, "invalid openid")
        return person


Answer = JsonObject | web.Response


@dataclass(frozen=True)
class Endpoint:
    """One path of the API and how often it may be called, alone or together with the path it is `counted_with`."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Answer]]
    per_day: int | None = None
    per_minute: int | None = None
    needs_token: bool = True
    is_upload: bool = False
    counted_with: str = ""

    @property
    def counted_as(self) -> str:
        """The path whose counters its calls use up."""
        return self.counted_with or self.path


def parse_body(raw: bytes) -> object:
    """The JSON of a POST body; raises Refused."""
    if not raw.strip():
        raise Refused(44002, "empty post data")
    if ESCAPED.search(raw):
        raise Refused(40033, "invalid charset. please check your request, if include \\uxxxx will create fail!")
    try:
        return strict(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(47001, "data format error") from error


def require(condition: bool, errcode: int, errmsg: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(errcode, errmsg)


def one_of(value: str, allowed: Collection[str], errcode: int, errmsg: str) -> str:
    """The value if it is allowed."""
    require(value in allowed, errcode, errmsg)
    return value
