"""`make bench`: every benchmark one after another, on an otherwise quiet machine; the last fills a large database."""

import subprocess
import sys

import click

from benchmarks.machine import describe

ALL = ("callback", "conversation", "day", "inbox", "broadcasts", "coupons", "points", "posters", "traffic")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(ALL))
def main(names: tuple[str, ...]) -> None:
    """Run the named benchmarks, or all; what they print goes into benchmarks/RESULTS.md, machine and all."""
    click.echo(describe())
    for name in names or ALL:
        click.echo(f"\n== {name}")
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
