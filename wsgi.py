"""The web application: `wsgi:app`.

`quanma web` serves it behind the front, which tells who asks. It is whole by itself too, callback included, for
installations that prefer another WSGI server.
"""

import os

from core import logging, metrics
from core.runtime import Runtime
from core.servers import ensure_servers
from core.settings import load_settings
from web.app import create_app
from web.serve import PAGES_SOCKET_VARIABLE

settings = load_settings()
logging.configure(settings)
metrics.prepare(settings.quanma_home / "metrics")
is_behind_the_front = PAGES_SOCKET_VARIABLE in os.environ
app = create_app(
    Runtime.build(settings, ensure_servers(settings)),
    proxies=1 if is_behind_the_front else settings.trusted_proxies,
)
