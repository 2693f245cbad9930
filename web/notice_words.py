"""How pages show the words of a notice: as typed, with our own links to tap."""

from __future__ import annotations

from markupsafe import Markup, escape

from merchants.wording import is_allowed_link, links_in
from web.context import own_hosts


def linked(words: str) -> Markup:
    """Plain text, escaped, in which addresses of ours and of WeChat's articles are links, and no others."""
    hosts = own_hosts()
    parts: list[Markup] = []
    rest = words
    for link in links_in(words):
        before, _link, rest = rest.partition(link)
        parts.append(escape(before))
        address = link if "://" in link else f"https://{link}"
        is_ours = is_allowed_link(address, hosts)
        parts.append(Markup('<a href="{0}">{1}</a>').format(address, link) if is_ours else escape(link))
    parts.append(escape(rest))
    return Markup("").join(parts)
