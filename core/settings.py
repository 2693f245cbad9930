"""Every setting of the system: read once from the environment or `.env`, typed, and checked before anything starts."""

import base64
import binascii
import contextlib
import json
import os
import re
import secrets
import string
import tempfile
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

WECHAT_API_HOST = "https://api.weixin.qq.com"
WECHAT_MP_HOST = "https://mp.weixin.qq.com"
WECHAT_OPEN_HOST = "https://open.weixin.qq.com"
SANDBOX_URL = "http://127.0.0.1:8001"

ACCOUNT_SETTINGS = ("wechat_app_id", "wechat_app_secret", "wechat_token", "wechat_account")


class SettingsError(Exception):
    """Settings that cannot be worked with: one sentence for each, Chinese first, and never a value."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


def _must(condition: bool) -> None:
    if not condition:
        raise ValueError("refused")


def _matching(pattern: str) -> AfterValidator:
    def check(value: str | SecretStr) -> str | SecretStr:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        _must(re.fullmatch(pattern, text) is not None)
        return value

    return AfterValidator(check)


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    _must(parts.scheme in {"http", "https"} and bool(parts.hostname))
    _must(not parts.query and not parts.fragment and parts.username is None)
    _must(parts.port != 0)
    return value.rstrip("/")


def _database_address(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    _must(bool(separator) and scheme in {"postgres", "postgresql", "postgresql+psycopg"})
    return f"postgresql+psycopg://{rest}"


def _redis_address(value: str) -> str:
    _must(value.partition("://")[0] in {"redis", "rediss", "unix"} and "://" in value)
    return value


def _aes_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    _must(re.fullmatch(r"[A-Za-z0-9+/]{43}", text) is not None)
    try:
        key = base64.b64decode(text + "=")
    except binascii.Error:
        key = b""
    _must(len(key) == 32)
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]
DatabaseAddress = Annotated[str, AfterValidator(_database_address)]
RedisAddress = Annotated[str, AfterValidator(_redis_address)]
AesKey = Annotated[SecretStr, AfterValidator(_aes_key)]


def write_private_file_once(path: Path, content: str) -> str:
    """Put `content` into a file only its owner may read, unless it is already there; return what the file holds.

    Of several processes that start together, one wins and all of them read the winner's content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            os.unlink(draft)
    return path.read_text(encoding="utf-8")


def _new_sandbox_account() -> dict[str, str]:
    letters = string.ascii_letters + string.digits
    return {
        "app_id": "wx" + secrets.token_hex(8),
        "app_secret": secrets.token_hex(16),
        "token": "".join(secrets.choice(letters) for _ in range(24)),
        # The platform's keys are 43 letters and digits; WeChat in a box hands out the same form.
        "aes_key": "".join(secrets.choice(letters) for _ in range(42)) + secrets.choice("AEIMQUYcgkosw048"),
        "original_id": "gh_" + secrets.token_hex(6),
    }


def sandbox_account_path(home: Path) -> Path:
    """Where the account of WeChat in a box is kept, for the sandbox and for us."""
    return home / "sandbox" / "account.json"


def sandbox_account(home: Path) -> dict[str, str]:
    """The account of WeChat in a box below this home, made up at the first call and the same for ever after."""
    draft = json.dumps(_new_sandbox_account(), indent=2)
    account: dict[str, str] = json.loads(write_private_file_once(sandbox_account_path(home), draft))
    return account


def _setting(
    zh: str, en: str, must_be: tuple[str, str] = ("", ""), *, default_is: tuple[str, str] | None = None, **field: Any
) -> Any:
    """Describe one setting in both languages; `must_be` completes "应为…" and "must be …" when it is wrong."""
    extra: Any = {"zh": zh, "en": en, "must_be": list(must_be), "default_is": list(default_is or ())}
    return Field(description=f"{zh}\n{en}", json_schema_extra=extra, **field)


_AN_ADDRESS = ("http:// 或 https:// 开头的网址", "an address that starts with http:// or https://")
_FROM_SANDBOX = ("沙盒账号的值", "the sandbox account's")
_HOST_OR_SANDBOX = (
    "真实平台；未填账号时为沙盒 " + SANDBOX_URL,
    "the real host; without an account, the sandbox at " + SANDBOX_URL,
)


class Settings(BaseSettings):
    """The settings, complete: what is not given is generated once and kept, so nothing here is ever missing."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=False,
    )

    quanma_home: Path = _setting(
        "数据目录：内置数据库、自动生成的密钥、沙盒都在这里。",
        "The data folder: embedded servers, generated keys and the sandbox live here.",
        ("一个可写的目录", "a folder we may write to"),
        default=Path("var"),
        default_is=("`./var`", "`./var`"),
    )
    database_url: DatabaseAddress | None = _setting(
        "PostgreSQL 地址（表的所有者账号，可建角色）；不填则使用内置数据库。",
        "Address of PostgreSQL, as the role that owns the schema and may create roles; unset: the embedded one.",
        ("postgresql:// 开头的地址", "an address that starts with postgresql://"),
        default=None,
        default_is=("内置", "embedded"),
        repr=False,
    )
    redis_url: RedisAddress | None = _setting(
        "Redis 或 Valkey 地址；不填则使用内置的。",
        "Address of Redis or Valkey; unset: the embedded one.",
        ("redis://、rediss:// 或 unix:// 开头的地址", "an address that starts with redis://, rediss:// or unix://"),
        default=None,
        default_is=("内置", "embedded"),
        repr=False,
    )
    secret_key: Annotated[SecretStr, _matching(r"\S{16,}")] = _setting(
        "总密钥：会话、匿名编号、数据库角色口令都由它导出；换掉它等于所有人重新登录、老粉丝不再被认出。",
        "The master key, from which sessions, pseudonyms and role passwords are derived; "
        "changing it signs everybody out and makes returning fans strangers.",
        ("至少 16 个字符且不含空白", "at least 16 characters without spaces"),
        default_is=("首次启动时生成，存于 `QUANMA_HOME/secret_key`", "generated once into `QUANMA_HOME/secret_key`"),
    )
    public_url: WebAddress = _setting(
        "别人从外面打开本系统的网址，二维码与登录链接以它开头；https 时 Cookie 只走加密连接。",
        "The address under which people reach this system; links start with it, and over https cookies are Secure.",
        _AN_ADDRESS,
        default="http://127.0.0.1:8000",
    )
    wechat_app_id: Annotated[str, _matching(r"wx[A-Za-z0-9_-]{2,62}")] = _setting(
        "公众号 AppID；不填则使用沙盒账号。",
        "The official account's AppID; unset: the sandbox's account.",
        ("wx 开头的 AppID", "an AppID, which starts with wx"),
        default_is=_FROM_SANDBOX,
    )
    wechat_app_secret: Annotated[SecretStr, _matching(r"\S+")] = _setting(
        "公众号 AppSecret。",
        "The official account's AppSecret.",
        ("不含空白的 AppSecret", "an AppSecret without spaces"),
        default_is=_FROM_SANDBOX,
    )
    wechat_token: Annotated[SecretStr, _matching(r"[A-Za-z0-9_-]{3,32}")] = _setting(
        "服务器配置里的令牌（Token）。",
        "The token of the account's server configuration.",
        ("3 到 32 个字母或数字", "3 to 32 letters or digits"),
        default_is=_FROM_SANDBOX,
    )
    wechat_account: Annotated[str, _matching(r"gh_[A-Za-z0-9_-]{1,61}")] = _setting(
        "公众号原始 ID（gh_ 开头）。",
        "The account's original id.",
        ("gh_ 开头的原始 ID", "an original id, which starts with gh_"),
        default_is=_FROM_SANDBOX,
    )
    wechat_aes_key: AesKey | None = _setting(
        "消息加解密密钥（EncodingAESKey）；填了以后明文消息一律拒收。",
        "The EncodingAESKey; once it is set, plain messages are refused.",
        ("平台给出的 43 位字符", "the 43 characters the platform shows"),
        default=None,
        default_is=("无；沙盒账号自带", "none; the sandbox's account has one"),
    )
    wechat_aes_key_previous: AesKey | None = _setting(
        "换密钥期间仍接受的上一个密钥。",
        "The key before, still accepted while the key is being changed.",
        ("平台给出的 43 位字符", "the 43 characters the platform shows"),
        default=None,
        default_is=("无", "none"),
    )
    wechat_api_url: WebAddress = _setting(
        "接口服务器地址（沙盒或测试替身会改它）。",
        "Where API calls go; the sandbox or a fake changes it.",
        _AN_ADDRESS,
        default=WECHAT_API_HOST,
        default_is=_HOST_OR_SANDBOX,
    )
    wechat_mp_url: WebAddress = _setting(
        "公众平台地址，二维码图片由它给出。",
        "Where code images are fetched.",
        _AN_ADDRESS,
        default=WECHAT_MP_HOST,
        default_is=_HOST_OR_SANDBOX,
    )
    wechat_open_url: WebAddress = _setting(
        "网页授权地址，业主在微信里打开页面时经过它。",
        "Where owners are sent to prove who they are (OAuth).",
        _AN_ADDRESS,
        default=WECHAT_OPEN_HOST,
        default_is=_HOST_OR_SANDBOX,
    )
    metrics_token: Annotated[SecretStr, _matching(r"\S{8,}")] | None = _setting(
        "读取 /metrics 要出示的令牌；不填则 /metrics 关闭。",
        "The bearer token that opens /metrics; unset: /metrics is closed.",
        ("至少 8 个字符且不含空白", "at least 8 characters without spaces"),
        default=None,
        default_is=("关闭", "closed"),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "日志级别。",
        "How much is logged.",
        ("DEBUG、INFO、WARNING、ERROR 之一", "one of DEBUG, INFO, WARNING, ERROR"),
        default="INFO",
    )
    database_prepare: bool = _setting(
        "数据库语句预编译；连接经过 pgbouncer 的事务模式时设为 false。",
        "Prepare statements; set to false behind pgbouncer in transaction mode, where sessions are shared.",
        ("true 或 false", "true or false"),
        default=True,
    )
    web_workers: Annotated[int, Field(ge=1, le=64)] = _setting(
        "网页与回调各用几个进程。",
        "Processes each for the callback and for the pages.",
        ("1 到 64 的整数", "a whole number from 1 to 64"),
        default=2,
    )

    trusted_proxies: Annotated[int, Field(ge=0, le=9)] = _setting(
        "前面有几层自己的反向代理（nginx 等）；它们写的访客地址才可信。",
        "How many reverse proxies of ours stand in front; only their word on who asks is believed.",
        ("0 到 9 的整数", "a whole number from 0 to 9"),
        default=0,
    )
    uses_sandbox_account: bool = Field(default=False, init=False)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Fill in what is made up once and kept: the master key, and the sandbox's account where none is given."""
        # A relative folder would mean another place after a process has changed its directory.
        home = Path(given.get("quanma_home") or "var").expanduser().absolute()
        has_account = any(given.get(name) for name in (*ACCOUNT_SETTINGS, "wechat_aes_key", "wechat_aes_key_previous"))
        is_sandbox = not has_account and not _is_real_platform(str(given.get("wechat_api_url") or SANDBOX_URL))
        values = {**given, "quanma_home": home, "uses_sandbox_account": is_sandbox}
        try:
            if not values.get("secret_key"):
                values["secret_key"] = write_private_file_once(home / "secret_key", secrets.token_urlsafe(48)).strip()
            if is_sandbox:
                values = {**_sandbox_values(home, str(values.get("wechat_api_url") or SANDBOX_URL)), **values}
        except OSError as error:
            sentence = f"QUANMA_HOME 不可用：{home}（{error.strerror}）。 QUANMA_HOME cannot be used: {home}."
            raise SettingsError([sentence]) from error
        return values

    @property
    def is_sandbox(self) -> bool:
        """The platform we talk to is not the real one: its clock may be moved and demo data may exist."""
        return not _is_real_platform(self.wechat_api_url)

    @property
    def has_secure_cookies(self) -> bool:
        """Cookies may travel over https only."""
        return self.public_url.startswith("https://")

    def secret_values(self) -> frozenset[str]:
        """Every value that must never reach a log, an error page or a queue."""
        values = {
            value.get_secret_value()
            for name in type(self).model_fields
            if isinstance(value := getattr(self, name), SecretStr)
        }
        for url in (self.database_url, self.redis_url):
            if url is not None and (password := urlsplit(url).password):
                values |= {password, unquote(password)}
        return frozenset(values)


def _is_real_platform(api_url: str) -> bool:
    host = urlsplit(api_url).hostname or ""
    return host == "weixin.qq.com" or host.endswith(".weixin.qq.com")


def _sandbox_values(home: Path, url: str) -> dict[str, str]:
    """What the account settings are while the sandbox plays the platform: it then plays every host."""
    account = sandbox_account(home)
    return {
        "wechat_app_id": account["app_id"],
        "wechat_app_secret": account["app_secret"],
        "wechat_token": account["token"],
        "wechat_account": account["original_id"],
        "wechat_aes_key": account["aes_key"],
        "wechat_api_url": url,
        "wechat_mp_url": url,
        "wechat_open_url": url,
    }


def _sentence(name: str) -> str:
    """What is wrong with one setting that has a value, without telling the value."""
    zh, en = must_be(Settings.model_fields[name])
    return f"设置 {name.upper()} 不对：应为{zh}。 {name.upper()} must be {en}."


def _missing_sentence(name: str) -> str:
    together = "、".join(other.upper() for other in ACCOUNT_SETTINGS)
    return (
        f"缺少设置 {name.upper()}：接真实公众号时 {together} 要一起填。 "
        f"{name.upper()} is missing: an account needs all of {', '.join(other.upper() for other in ACCOUNT_SETTINGS)}."
    )


def must_be(field: FieldInfo) -> tuple[str, str]:
    """How a right value of this setting looks, in Chinese and in English."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101  every setting is made by _setting
    zh, en = cast(list[str], extra["must_be"])
    return zh, en


def read_settings(**given: Any) -> Settings:
    """Read the settings anew; `given` wins over the environment. SettingsError names every fault at once."""
    try:
        return Settings(**given)
    except ValidationError as refusal:
        faults = {str(fault["loc"][0]): str(fault["type"]) for fault in refusal.errors(include_input=False)}
    # The cause is left out on purpose: its text shows the values.
    raise SettingsError(
        [_missing_sentence(name) if kind == "missing" else _sentence(name) for name, kind in faults.items()]
    )


@cache
def load_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return read_settings()
