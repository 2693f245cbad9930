"""The English catalogue: collect what pages and messages say, keep what is translated, compile it.

`python tools/translations.py` rewrites `web/translations/en`; with `--check` it changes nothing and fails where a text
is missing or the compiled file is stale. Texts in code are Chinese and need no catalogue of their own.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir, extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "wechat", "merchants", "qrcodes", "campaigns", "community", "bot", "web")
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "_l": None,
    "gettext": None,
    "lazy_gettext": None,
    "ngettext": (1, 2),
    "_n": (1, 2),
    "Phrase": (1,),
    "Invalid": (1,),
    "NotFound": (1,),
    "WrongPassword": (1,),
}
CATALOGUE = ROOT / "web" / "translations" / "en" / "LC_MESSAGES" / "messages.po"


def extract_code(
    file: IO[bytes], keywords: Mapping[str, Any], comment_tags: Collection[str], options: Any
) -> Iterator[Any]:
    """What code says through gettext, and the sentences of named refusals, which the edge translates."""
    yield from extract_python(file, keywords, comment_tags, options)
    file.seek(0)
    for node in ast.walk(ast.parse(file.read())):
        for part in node.body if isinstance(node, ast.ClassDef) else ():
            match part:
                case ast.Assign(targets=[ast.Name(id="message")], value=ast.Constant(value=str(sentence))):
                    yield part.lineno, None, sentence, []


METHODS: list[tuple[str, Any]] = [("**.py", extract_code), ("**/templates/**", "jinja2")]


def collect() -> Catalog:
    """Every text of the code and the templates."""
    catalog = Catalog(project="Quanma", charset="utf-8")
    for package in PACKAGES:
        found = extract_from_dir(ROOT / package, METHODS, keywords=KEYWORDS, comment_tags=("i18n:",))
        for name, _line, message, comments, context in found:
            catalog.add(message, locations=[(f"{package}/{name}", 0)], auto_comments=comments, context=context)
    return catalog


def merged(template: Catalog, old: str) -> Catalog:
    """The old translations with the new texts, in a fixed order and without a date."""
    catalog = read_po(io.StringIO(old), locale="en")
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def as_po(catalog: Catalog) -> str:
    buffer = io.BytesIO()
    write_po(buffer, catalog, width=120, sort_output=True, include_lineno=False, omit_header=True, ignore_obsolete=True)
    return HEADER + buffer.getvalue().decode()


HEADER = """\
msgid ""
msgstr ""
"Language: en\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

"""


def as_mo(po: str) -> bytes:
    catalog = read_po(io.StringIO(po), locale="en")
    # Otherwise Babel writes the minute of compiling, and the file would be stale in the next one.
    catalog.creation_date = catalog.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    buffer = io.BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def untranslated(po: str) -> list[str]:
    """Texts without English, or with placeholders that differ from the Chinese."""
    problems = []
    for message in read_po(io.StringIO(po), locale="en"):
        if not message.id:
            continue
        strings = [message.string] if isinstance(message.string, str) else list(message.string or ())
        ids = [message.id] if isinstance(message.id, str) else list(message.id or ())
        if not all(strings) or any(message.check(None)):
            problems.append(ids[0])
    return problems


def main(arguments: list[str]) -> int:
    compiled = CATALOGUE.with_suffix(".mo")
    old = CATALOGUE.read_text(encoding="utf-8") if CATALOGUE.exists() else HEADER
    po = as_po(merged(collect(), old))
    missing = untranslated(po)
    for text in missing:
        print(f"没有英文 (no English): {text!r}", file=sys.stderr)
    if "--check" in arguments:
        is_stale = po != old or not compiled.exists() or compiled.read_bytes() != as_mo(po)
        if is_stale:
            print("翻译目录过期：运行 make translations。 The catalogue is stale: run it.", file=sys.stderr)
        return 1 if missing or is_stale else 0
    CATALOGUE.parent.mkdir(parents=True, exist_ok=True)
    CATALOGUE.write_text(po, encoding="utf-8")
    compiled.write_bytes(as_mo(po))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
