"""The peers of the broadcast benchmark: they send, and promise nothing.

`queue` is an RQ worker whose jobs send one message each with `requests`; it has imported what its jobs need.
`pool` is wechatpy's client in a thread pool, with as many kept connections as threads.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor

import click
import redis
import requests
import requests.adapters
import rq
from wechatpy import WeChatClient

QUEUE = "messages-one-by-one"
WORDS = "今天新到明前茶，凭这条消息第二杯半价。"


def send_one(url: str, openid: str) -> None:
    """The RQ job."""
    body = {"touser": openid, "msgtype": "text", "text": {"content": WORDS}}
    path = f"{url}/cgi-bin/message/custom/send"
    answer = requests.post(path, params={"access_token": "t"}, json=body, timeout=10).json()
    if answer["errcode"] != 0:
        raise RuntimeError(answer)


def enqueue(redis_url: str, url: str, count: int) -> None:
    queue = rq.Queue(QUEUE, connection=redis.Redis.from_url(redis_url))
    queue.empty()  # type: ignore[no-untyped-call]
    jobs = [rq.Queue.prepare_data(send_one, (url, f"oQueue{number:022d}"), result_ttl=0) for number in range(count)]
    queue.enqueue_many(jobs)


@click.group()
def main() -> None:
    pass


@main.command()
@click.argument("redis_url")
def queue(redis_url: str) -> None:
    rq.Worker([QUEUE], connection=redis.Redis.from_url(redis_url)).work(logging_level="WARNING")


@main.command()
@click.argument("url")
@click.argument("threads", type=int)
def pool(url: str, threads: int) -> None:
    """Send until killed."""
    client = type("Client", (WeChatClient,), {"API_BASE_URL": f"{url}/cgi-bin/"})("app", "secret", access_token="t")
    adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=threads)
    client._http.mount("http://", adapter)
    numbers = itertools.count()

    def work() -> None:
        while True:
            client.message.send_text(f"oPool{next(numbers):023d}", WORDS)

    with ThreadPoolExecutor(threads) as executor:
        for one in [executor.submit(work) for _ in range(threads)]:
            one.result()


if __name__ == "__main__":
    main()
