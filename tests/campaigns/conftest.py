"""The platform's side for what is sent from here."""

from tests.bot.conftest import box, connected, sandbox

__all__ = ["box", "connected", "sandbox"]
