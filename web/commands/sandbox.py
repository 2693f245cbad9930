"""`quanma sandbox`: WeChat in a box."""

from urllib.parse import urlsplit

import click

from core.settings import load_settings


@click.command()
@click.option("--host", help="监听的地址；默认取自 WECHAT_API_URL。")
@click.option("--port", type=int, help="监听的端口；默认取自 WECHAT_API_URL。")
@click.option("--callback-url", help="把事件推送到哪里；默认是 PUBLIC_URL 下的 /wechat/callback。")
def sandbox(host: str | None, port: int | None, callback_url: str | None) -> None:
    """微信沙盒：在本机扮演微信平台，并给你一部可以扫码的手机。"""
    from sandbox.__main__ import main

    settings = load_settings()
    if not settings.is_sandbox:
        raise click.ClickException(
            "已设置真实公众号，沙盒不会启动。 A real account is configured, so there is no sandbox."
        )
    api = urlsplit(settings.wechat_api_url)
    host, port = host or api.hostname or "127.0.0.1", port or api.port or 8001
    key = settings.wechat_aes_key
    options = {
        "host": host,
        "port": str(port),
        "home": str(settings.quanma_home / "sandbox"),
        "app-id": settings.wechat_app_id,
        "app-secret": settings.wechat_app_secret.get_secret_value(),
        "token": settings.wechat_token.get_secret_value(),
        "account": settings.wechat_account,
        "callback-url": callback_url or f"{settings.public_url}/wechat/callback",
        "public-url": settings.wechat_open_url if port == api.port else f"http://{host}:{port}",
        **({"aes-key": key.get_secret_value()} if key is not None else {"mode": "plain"}),
    }
    main([f"--{name}={value}" for name, value in options.items()])
