"""What a rule hears and says, between the forms people fill in, the rows that keep it, and the matcher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, NamedTuple

from bot.rules.matching import DAY, Hours, Mode, Pattern, Span
from wechat.replies import ImageReply, NewsReply, Reply, TextReply

PICTURE_LATER: Final = "图片还在准备，请过一会儿再问一次。"


class Uploaded(NamedTuple):
    """A picture's copy at the platform, as far as there is one."""

    media_id: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One message. A picture is said as its `text` for as long as the platform does not have it yet."""

    kind: str = "text"
    text: str = ""
    title: str = ""
    description: str = ""
    url: str = ""
    picture_id: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What the operator agrees to."""

    patterns: tuple[Pattern, ...] = ()
    occasions: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    hands_over: bool = False


def said(answer: Answer, pictures: Mapping[int, Uploaded]) -> Reply:
    """The message as it is sent; every answer becomes one, so that their places stay what they are."""
    uploaded = pictures.get(answer.picture_id or 0, Uploaded(None, None))
    match answer.kind:
        case "image":
            return ImageReply(uploaded.media_id) if uploaded.media_id else TextReply(answer.text or PICTURE_LATER)
        case "news" if answer.url and (uploaded.url or answer.picture_id is None):
            return NewsReply(answer.title, answer.description, uploaded.url or "", answer.url)
        case "news":
            return TextReply("\n".join(part for part in (answer.title, answer.description, answer.url) if part))
        case _:
            return TextReply(answer.text)


def patterns_to_json(patterns: Iterable[Pattern]) -> list[dict[str, Any]]:
    return [{"mode": one.mode.value, "words": one.words} for one in patterns]


def patterns_of(stored: Iterable[Mapping[str, Any]]) -> tuple[Pattern, ...]:
    return tuple(Pattern(Mode(one["mode"]), one["words"]) for one in stored)


def answers_to_json(answers: Iterable[Answer]) -> list[dict[str, Any]]:
    return [asdict(one) for one in answers]


def answers_of(stored: Iterable[Mapping[str, Any]]) -> tuple[Answer, ...]:
    return tuple(Answer(**one) for one in stored)


def hours_to_json(hours: Hours) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if hours.spans:
        kept["spans"] = [
            {"days": sorted(one.days), "from": clock(one.begins), "to": clock(one.ends)} for one in hours.spans
        ]
    if hours.only_on:
        kept["only_on"] = [day.isoformat() for day in sorted(hours.only_on)]
    if hours.not_on:
        kept["not_on"] = [day.isoformat() for day in sorted(hours.not_on)]
    return kept


def hours_of(stored: Mapping[str, Any]) -> Hours:
    return Hours(
        tuple(
            Span(frozenset(one["days"]), minutes(one["from"]), minutes(one["to"])) for one in stored.get("spans", ())
        ),
        frozenset(map(date.fromisoformat, stored.get("only_on", ()))),
        frozenset(map(date.fromisoformat, stored.get("not_on", ()))),
    )


def clock(minute: int) -> str:
    """A minute of the day as people write it; the day's end is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def minutes(written: str) -> int:
    """The minute of the day; raises `ValueError` for what is none."""
    hour, _, minute = written.partition(":")
    if not (hour.isascii() and hour.isdigit() and minute.isascii() and minute.isdigit() and len(minute) == 2):
        raise ValueError(written)
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > DAY:
        raise ValueError(written)
    return total
