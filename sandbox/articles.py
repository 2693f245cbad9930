"""What an article may hold, and the page on which people read it."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

from sandbox.clock import BEIJING_SECONDS
from sandbox.platform import Platform

# The author's HTML stands beside the phone's own pages: it may show, but run nothing.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' http: https:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
# A phone has one window.
TARGET = re.compile(r"""\starget\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.IGNORECASE)
NOT_SHOWN = frozenset({"script", "iframe", "object", "embed", "form", "link", "meta", "base"})


class _Sources(HTMLParser):
    """Collects an article's words, where its pictures come from, and elements no article may have."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.forbidden: set[str] = set()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in NOT_SHOWN:
            self.forbidden.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "data-src")]


def is_allowed(platform: Platform, content: str) -> bool:
    """Whether every picture came through media/uploadimg and nothing in it would run or load something else."""
    reader = _Sources()
    reader.feed(content)
    return not reader.forbidden and all(_is_uploaded(platform, source) for source in reader.sources)


def beginning(content: str, characters: int) -> str:
    """The first words of an article without their HTML."""
    reader = _Sources()
    reader.feed(content)
    return " ".join("".join(reader.words).split())[:characters]


def _is_uploaded(platform: Platform, url: str) -> bool:
    path = url.removeprefix(platform.account.public_url)
    parts = path.split("/")
    if path == url or len(parts) != 4 or not parts[1].startswith("mmbiz_"):
        return False
    media = platform.media(parts[2])
    return media is not None and media.kind == "article picture"


def show(platform: Platform, key: str) -> str | None:
    """The page of an article, None when there never was one."""
    page = platform.state.pages.get(key)
    draft = platform.state.drafts.get(page.media_id) if page else None
    if page is None or draft is None or page.index >= len(draft.articles):
        return None
    if page.deleted:
        return _page("该内容已被发布者删除", "<p>该内容已被发布者删除。</p>")
    article = draft.articles[page.index]
    day = datetime.fromtimestamp(draft.updated_at + BEIJING_SECONDS, UTC).date().isoformat()
    author = f"{article['author']} · " if article["author"] else ""
    source = article["content_source_url"]
    more = f'<p class="more"><a href="{html.escape(source)}">阅读原文</a></p>' if source else ""
    return _page(
        article["title"],
        f'<p class="by">{html.escape(author + platform.account.name)} · {day}</p>'
        f"<article>{TARGET.sub('', article['content'])}</article>{more}",
    )


def _page(title: str, body: str) -> str:
    title = html.escape(title)
    return (
        '<!doctype html><html lang="zh-CN"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>body{{font:17px/1.75 system-ui,sans-serif;margin:0 auto;max-width:36em;"
        "padding:1.2em 1em 3em;color:#191919;overflow-wrap:anywhere}h1{font-size:22px;line-height:1.4;margin:0 0 .5em}"
        ".by{color:#8c8c8c;font-size:15px}img{max-width:100%;height:auto}a{color:#576b95}"
        f".more{{margin-top:2em}}</style><h1>{title}</h1>{body}</html>"
    )
