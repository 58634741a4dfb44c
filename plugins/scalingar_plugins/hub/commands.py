"""`scalingar models fetch`, `list` and `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from scalingar_fw.cli.group import app_of
from scalingar_fw.cli.listing import columns
from scalingar_fw.errors import ScalingarError

if TYPE_CHECKING:
    from scalingar_plugins.hub.sources import Source

#: What a line of `verify` begins with.
OK, WRONG, UNKNOWN = "ok", "differs", "unknown"


def _known(ctx: click.Context, name: str) -> tuple[str, tuple[Source, ...]]:
    """A model's registered name and what it is made of."""
    from scalingar_plugins.hub.sources import sources_of

    entry = app_of(ctx).registry.find("model", name)
    found = sources_of(entry.name)
    if not found:
        raise ScalingarError(
            f"Model {entry.full_name!r} has no published weights to fetch: it needs none, or "
            "--weights DIR."
        )
    return entry.name, found


@click.command("fetch")
@click.argument("name")
@click.pass_context
def fetch_(ctx: click.Context, name: str) -> None:
    """Fetch the weights of model NAME, so that it starts without a network."""
    from scalingar_plugins.hub.fetch import fetch, show_size

    name, sources = _known(ctx, name)
    for source in sources:
        receipt = fetch(source)
        click.echo(f"{receipt.repository}: {show_size(receipt.bytes)} in {receipt.folder}")
    click.echo(f"{name} is here.")


@click.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """What is on this machine, how large, under which licence."""
    from scalingar_plugins.hub.fetch import show_size
    from scalingar_plugins.hub.receipts import all_receipts, find
    from scalingar_plugins.hub.sources import SOURCES, sources_of

    rows = []
    for name in SOURCES:
        parts = sources_of(name)
        found = [receipt for receipt in map(find, parts) if receipt is not None]
        if len(found) == len(parts):
            state = f"here, {show_size(sum(receipt.bytes for receipt in found))}"
        elif found:
            state = f"{len(found)} of {len(parts)} parts here"
        else:
            state = "not here"
        licences = " and ".join(dict.fromkeys(part.licence for part in parts))
        rows.append((name, state, parts[0].repository, licences))
    own = {part.repository for name in SOURCES for part in sources_of(name)}
    for receipt in all_receipts():
        if receipt.repository not in own:
            state = "incomplete" if receipt.absent() else f"here, {show_size(receipt.bytes)}"
            rows.append(
                ("-", state, f"{receipt.repository}@{receipt.commit[:12]}", receipt.licence)
            )
    click.echo(columns(rows))


@click.command()
@click.argument("name")
@click.option("--remote", is_flag=True, help="Hold our table against what the hub says.")
@click.pass_context
def verify(ctx: click.Context, name: str, remote: bool) -> None:
    """Hash the files of model NAME, or compare its row of our table with the hub (--remote).

    Exit code 1 where something differs.
    """
    _, sources = _known(ctx, name)
    wrong = 0
    for source in sources:
        for state, line in _remote(source) if remote else _local(source):
            click.echo(f"{state:8}{source.repository}: {line}")
            wrong += state == WRONG
    if wrong:
        ctx.exit(1)


def _local(source: Source) -> Iterator[tuple[str, str]]:
    from scalingar_plugins.hub.fetch import matches
    from scalingar_plugins.hub.listing import RemoteFile
    from scalingar_plugins.hub.receipts import all_receipts

    receipts = [r for r in all_receipts() if r.repository == source.repository]
    if not receipts:
        yield UNKNOWN, "not on this machine"
    for receipt in receipts:
        absent = receipt.absent()
        for file, digest in receipt.digests.items():
            kind, _, value = digest.partition(":")
            listed = (
                RemoteFile(file, sha256=value) if kind == "sha256" else RemoteFile(file, git=value)
            )
            if file in absent:
                yield WRONG, f"{file} is gone or of another size"
            elif matches(receipt.folder / file, listed):
                yield OK, f"{file} hashes to {kind} {value[:12]}"
            else:
                yield (
                    WRONG,
                    f"{file} does not hash to {kind} {value[:12]}: delete and fetch it again",
                )


def _remote(source: Source) -> Iterator[tuple[str, str]]:
    from scalingar_plugins.hub.fetch import show_size
    from scalingar_plugins.hub.listing import list_remote
    from scalingar_plugins.hub.receipts import find

    listing = list_remote(source)
    if source.revision is None:
        yield UNKNOWN, f"our table pins no revision; main is {listing.commit}"
    else:
        same = listing.commit == source.revision
        yield OK if same else WRONG, f"revision {source.revision}"
    wanted = [file for file in listing.files if file.name in source.wanted(listing.names)]
    lacking = source.lacking([file.name for file in wanted])
    total = sum(file.size or 0 for file in wanted)
    yield (
        (WRONG, f"no file matches {', '.join(lacking)}")
        if lacking
        else (OK, f"{len(wanted)} files, {show_size(total)}: {', '.join(f.name for f in wanted)}")
    )
    for file in wanted:
        for what, stated, listed in (
            ("bytes", source.bytes.get(file.name), file.size),
            ("sha256", source.sha256.get(file.name), file.sha256),
        ):
            if stated is not None:
                yield (
                    OK if stated == listed else WRONG,
                    f"{file.name}: {what} {stated}, hub {listed}",
                )
    for stated in sorted({*source.bytes, *source.sha256} - {file.name for file in wanted}):
        yield WRONG, f"{stated} is in our table and not in the repository"
    yield (
        (OK if listing.licence else UNKNOWN),
        (f"licence {source.licence!r}; the repository's tag is {listing.licence!r}"),
    )
    here = find(source)
    if here is not None and here.commit != listing.commit:
        yield UNKNOWN, f"on this machine is commit {here.commit}"
