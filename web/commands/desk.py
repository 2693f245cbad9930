"""What every command needs: the runtime for as long as it runs, one way to answer, and one way to fail."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from core.errors import BusinessError
from core.logging import configure
from core.runtime import Runtime
from core.servers import ServerError, embedded_servers
from core.settings import SettingsError, load_settings
from wechat.errors import WeChatError

Answer = dict[str, Any]


@contextmanager
def open_runtime() -> Iterator[Runtime]:
    """Attach to the running servers, or start them for this command."""
    settings = load_settings()
    # A command says its one sentence; what it went through on the way is for the servers' logs.
    configure(settings.model_copy(update={"log_level": "CRITICAL"}))
    with embedded_servers(settings) as urls:
        runtime = Runtime.build(settings, urls)
        try:
            yield runtime
            runtime.bell.flush()
        finally:
            runtime.database.dispose()


def answers(in_words: Callable[[Answer], str]) -> Callable[[Callable[..., Answer]], Callable[..., None]]:
    """Decorator for commands: print their answer as one JSON document with `--json`, else in words.

    A refusal becomes one sentence on stderr and exit code 1.
    """

    def decorate(command: Callable[..., Answer]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help="输出一个 JSON 文档。")
        @functools.wraps(command)
        def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
            try:
                answer = command(*args, **kwargs)
            except (BusinessError, SettingsError, ServerError, WeChatError, DBAPIError) as error:
                click.echo(sentence(error), err=True)
                sys.exit(1)
            click.echo(json.dumps(answer, ensure_ascii=False) if as_json else in_words(answer))

        return run

    return decorate


def sentence(error: Exception) -> str:
    """What went wrong, for a person; never a library's own text, which may hold secrets."""
    match error:
        case BusinessError():
            return error.message
        case SettingsError() | ServerError():
            return str(error)
        case WeChatError():
            number = "" if error.errcode is None else f"（{error.errcode}）"
            return f"微信平台没有完成这个请求{number}，原因：{error.errmsg}。"
        case _:
            return "数据库暂时用不了，或者还没有建表：请确认它在运行，再执行 quanma migrate。"
