"""What a mass send says and what the platform says about it; `WeChatClient` makes the calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wechat import limits
from wechat.errors import BadRequest


@dataclass(frozen=True)
class DraftArticle:
    """One article: the content is HTML whose pictures came through `upload_content_image`, the cover is permanent."""

    title: str
    content: str
    thumb_media_id: str
    author: str = ""
    digest: str = ""
    source_url: str = ""
    """Where "阅读原文" leads."""


@dataclass(frozen=True)
class MassText:
    text: str


@dataclass(frozen=True)
class MassImage:
    media_id: str


@dataclass(frozen=True)
class MassArticles:
    """A draft, by the media id it got; the same one may be sent several times."""

    media_id: str


MassContent = MassText | MassImage | MassArticles


@dataclass(frozen=True)
class MassAccepted:
    """The platform took the batch, which does not mean that anybody got it; `msg_data_id` comes with articles only."""

    msg_id: int
    msg_data_id: int | None


class MassState(StrEnum):
    """How far an accepted batch is, in the platform's words. Numbers come in `MassSendFinished` alone."""

    SENDING = "SENDING"
    SENT = "SEND_SUCCESS"
    FAILED = "SEND_FAIL"
    DELETED = "DELETE"


@dataclass(frozen=True)
class Quota:
    """Today's calls of one API, as the platform counts them; it lags a little."""

    daily_limit: int
    used: int
    remain: int


def draft_body(path: str, articles: Sequence[DraftArticle]) -> dict[str, Any]:
    """The documented body; raises BadRequest for what the platform would refuse."""
    if not 1 <= len(articles) <= limits.ARTICLES_MAX:
        raise BadRequest(path, "a draft has 1 to 8 articles")
    return {"articles": [_article(path, article) for article in articles]}


def _article(path: str, article: DraftArticle) -> dict[str, Any]:
    if not 1 <= len(article.title) <= limits.ARTICLE_TITLE_MAX:
        raise BadRequest(path, "a title has 1 to 32 characters")
    if len(article.author) > limits.ARTICLE_AUTHOR_MAX:
        raise BadRequest(path, "the author is longer than 16 characters")
    if len(article.digest) > limits.ARTICLE_DIGEST_MAX:
        raise BadRequest(path, "the digest is longer than 128 characters")
    size = len(article.content.encode("utf-8", "surrogatepass"))
    if not article.content or len(article.content) > limits.ARTICLE_CONTENT_MAX or size > limits.ARTICLE_MAX_BYTES:
        raise BadRequest(path, "the content is empty, or has 20,000 characters or 1 MB")
    return {
        "article_type": "news",
        "title": article.title,
        "author": article.author,
        "digest": article.digest,
        "content": article.content,
        "content_source_url": article.source_url,
        "thumb_media_id": article.thumb_media_id,
    }


def content_body(path: str, content: MassContent) -> Mapping[str, Any]:
    """`msgtype` and the part named after it; raises BadRequest."""
    match content:
        case MassText(text):
            size = len(text.encode("utf-8", "surrogatepass"))
            if not 1 <= size <= limits.TEXT_MAX_BYTES:
                raise BadRequest(path, "the text is empty or longer than 2048 bytes")
            return {"msgtype": "text", "text": {"content": text}}
        case MassImage(media_id):
            return {"msgtype": "image", "images": {"media_ids": [media_id]}}
        case MassArticles(media_id):
            # A reprint that is allowed still goes out; one that is not never does.
            return {"msgtype": "mpnews", "mpnews": {"media_id": media_id}, "send_ignore_reprint": 1}


def send_body(openids: Sequence[str], content: MassContent, clientmsgid: str) -> dict[str, Any]:
    """One batch; raises BadRequest."""
    path = "cgi-bin/message/mass/send"
    fewest, most = limits.OPENIDS_PER_MASS_SEND
    if not fewest <= len(openids) <= most or len(set(openids)) != len(openids):
        raise BadRequest(path, "a batch has 2 to 10,000 different openids")
    if not (1 <= len(clientmsgid) <= limits.CLIENTMSGID_MAX and clientmsgid.isascii() and clientmsgid.isprintable()):
        raise BadRequest(path, "a clientmsgid has 1 to 32 ASCII characters")
    return {"touser": list(openids), **content_body(path, content), "clientmsgid": clientmsgid}
