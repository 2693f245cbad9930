"""Logs: one JSON line per event, UTC, without secrets and without what people are or say.

`configure(settings)` once per process sends structlog and every library's logger through one pipeline, whose last step
before writing is the scrubber. Developers log a fixed sentence with ids as fields; the scrubber is the net below.
"""

import logging
import re
import secrets
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from core.settings import Settings

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Shorter values would black out ordinary words."""
QUIET_LOGGERS = ("urllib3", "requests", "wechatpy", "werobot", "asyncio", "PIL", "alembic", "hypothesis")
"""Their chatter names addresses with query strings; warnings still pass."""

PRIVATE_FIELDS = re.compile(
    r"^(.*_)?(password|secret|token|access_token|authorization|cookies?|set_cookie|signature|code_verifier|aes_key|"
    r"content|text|body|phone|mobile|note|remark|nickname|message_text|headers|form|parameters|params|args|payload)$",
    re.IGNORECASE,
)
OPENID_FIELDS = re.compile(r"^(.*_)?(openids?|unionids?|to_?user|from_?user(name)?)$", re.IGNORECASE)
SECRET_IN_TEXT = re.compile(
    r"""(?ix) \b( access_token | refresh_token | token | appsecret | app_secret | secret | msg_signature | signature
        | echostr | encrypt | password | passwd | session | api_key | code | state | key )
        (["']? \s* (?: = | :\s ) \s* ["']?) ( [^\s"'&,;}{)]+ )"""
)
HEADER_IN_TEXT = re.compile(r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie)(['\"]?\s*[:=]\s*)[^\r\n}]+")
CREDENTIALS_IN_ADDRESS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@")
SQL_PARAMETERS = re.compile(r"(?s)\[parameters: .*")
TRACEBACK = re.compile(r"(?s)Traceback \(most recent call last\):.*")
ROW_IN_ERROR = re.compile(r"(?im)^(DETAIL|CONTEXT):.*$")
OPENID = re.compile(r"(?<![A-Za-z0-9_-])o(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{27}(?![A-Za-z0-9_-])")
PHONE = re.compile(r"(?<![\d.])(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![\d.])")
CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

TELLING_ERRORS = (OSError, ImportError, AttributeError, NameError)
"""Errors whose text is about the program, not about what somebody sent."""


def mask_openid(openid: str) -> str:
    """Enough to compare two lines by eye, too little to name anybody."""
    return f"{openid[:2]}…{openid[-4:]}" if len(openid) > 12 else HIDDEN


class Scrubber:
    """A structlog step that takes out secrets by value and by form, and people wherever they show."""

    def __init__(self, known_secrets: frozenset[str] = frozenset()) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.learn(*known_secrets)

    def learn(self, *values: str) -> None:
        """Hide these values from now on; for secrets that come from the network."""
        with self._lock:
            if self._secrets.issuperset(values):
                return
            self._secrets |= {value for value in values if len(value) >= SHORTEST_SECRET}
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str, *, is_multiline: bool = False) -> str:
        """The text without secrets and people; on one line, unless it is a traceback of ours."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        text = TRACEBACK.sub("[traceback hidden]", text)
        text = SQL_PARAMETERS.sub("[parameters hidden]", text)
        text = ROW_IN_ERROR.sub(r"\1 hidden", text)
        text = HEADER_IN_TEXT.sub(rf"\1\2{HIDDEN}", text)
        text = CREDENTIALS_IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text)
        text = SECRET_IN_TEXT.sub(rf"\1\2{HIDDEN}", text)
        text = OPENID.sub(lambda found: mask_openid(found.group()), text)
        text = PHONE.sub(HIDDEN, text)
        if is_multiline:
            return "\n".join(CONTROLS.sub(_escaped, line) for line in text.split("\n"))
        return CONTROLS.sub(_escaped, text)

    def value(self, name: str, value: Any) -> Any:
        if OPENID_FIELDS.match(name) and isinstance(value, str):
            return mask_openid(value)
        if PRIVATE_FIELDS.match(name) and value not in (None, "", True, False):
            return HIDDEN
        if isinstance(value, Mapping):
            return {str(key): self.value(str(key), inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(name, inner) for inner in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(str(value), is_multiline=name == "exception")

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {self.text(str(name)): self.value(str(name), value) for name, value in event.items()}


def _escaped(control: re.Match[str]) -> str:
    return control.group().encode("unicode_escape").decode("ascii")


scrubber = Scrubber()


def describe_exception(error: BaseException) -> str:
    """Where it came from and what it is, without what it says: libraries quote tokens, rows and people's words."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        # Without the source lines, which may hold values too.
        frames = traceback.extract_tb(current.__traceback__)
        part = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        lines = [*part, _name_of(current), *(["which caused:"] if lines else []), *lines]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join(lines)


def _name_of(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    for attribute in ("sqlstate", "errcode", "code", "status_code"):
        value = getattr(error, attribute, None) or getattr(getattr(error, "orig", None), attribute, None)
        if isinstance(value, (str, int)):
            name += f" {attribute}={value}"
    return f"{name}: {error}" if isinstance(error, TELLING_ERRORS) else name


def _exceptions_by_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()[1]
    elif isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["exception"] = describe_exception(found)
    return event


def configure(settings: Settings, *, stream: IO[str] | None = None) -> None:
    """Send everything this process logs to `stream` (standard error): JSON lines, or readable ones on a terminal."""
    scrubber.learn(*settings.secret_values())
    target = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _exceptions_by_name,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(timestamp_key="at", exception_formatter=structlog.dev.plain_traceback)
        if target.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, scrubber, renderer],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    sys.excepthook = _log_crash
    threading.excepthook = lambda crash: _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _log_crash(kind: type[BaseException], error: BaseException | None, _traceback: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("quanma").critical("crashed", exc_info=error)


LIBRARY_LOGGERS: MutableMapping[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {
        "_granian": {"handlers": [], "propagate": True},
        "granian.access": {"handlers": [], "propagate": True},
    },
}
"""For servers that insist on setting up their own logging: hand everything to the one pipeline."""


def new_request_id(given: str = "") -> str:
    """A proxy's request id if it is a decent one, else a new one."""
    return given if re.fullmatch(r"[A-Za-z0-9._-]{8,64}", given) else secrets.token_hex(8)


def bind_request(request_id: str, **fields: Any) -> None:
    """Put these fields on every line that this request (thread or task) logs from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id, **fields)
