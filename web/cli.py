"""`quanma`: the command line. Every command is listed here and imported only when it is asked for."""

import sys
from importlib import import_module
from typing import Any, cast

import click

from core.keeper import ServerError
from core.processes import follow_parent
from core.settings import SettingsError

COMMANDS = {
    "run": "web.commands.run:run",
    "web": "web.commands.web:web",
    "worker": "web.commands.worker:worker",
    "scheduler": "web.commands.scheduler:scheduler",
    "sandbox": "web.commands.sandbox:sandbox",
    "migrate": "web.commands.migrate:migrate",
    "operator": "web.commands.merchant:operator",
    "merchant": "web.commands.merchant:merchant",
    "code": "web.commands.code:code",
    "fans": "web.commands.fans:fans",
    "traffic": "web.commands.traffic:traffic",
    "check": "web.commands.check:check",
    "sending": "web.commands.sending:sending",
    "erasures": "web.commands.erasures:erasures",
    "reconcile": "web.commands.reconcile:reconcile",
    "clock": "web.commands.clock:clock",
    "demo": "web.commands.demo:demo",
}


class Commands(click.Group):
    """The commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        return cast(click.Command, getattr(import_module(module), attribute))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """圈码：一个公众号服务整个社区，每家店有自己的二维码、粉丝和访客统计。"""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; whatever it refuses becomes one sentence on stderr and a non-zero exit."""
    follow_parent()
    code: Any = 1
    try:
        code = cli.main(arguments, prog_name="quanma", standalone_mode=False)
    except click.ClickException as refusal:
        click.echo(refusal.format_message(), err=True)
        code = refusal.exit_code
    except click.Abort:
        code = 130
    except (SettingsError, ServerError) as refusal:
        click.echo(str(refusal), err=True)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
