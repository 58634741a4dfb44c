"""A command whose help shows its options in groups, and examples that can be copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Grouped(click.Command):
    """`groups`: heading to the names of its options, as they are typed (`--seed`, `-n`); options of
    no group come last, under "Options". `examples`: whole commands."""

    def __init__(
        self,
        *args: Any,
        groups: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.groups = dict(groups or {})
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        records = [(p, p.get_help_record(ctx)) for p in options]
        known = [(p, record) for p, record in records if record is not None]
        seen: set[str] = set()
        for heading, names in self.groups.items():
            inside = [(p, r) for p, r in known if set(names) & {*p.opts, *p.secondary_opts}]
            seen |= {str(p.name) for p, _ in inside}
            if inside:
                with formatter.section(heading):
                    formatter.write_dl([r for _, r in inside])
        rest = [r for p, r in known if p.name not in seen]
        if rest:
            with formatter.section("Options"):
                formatter.write_dl(rest)
        if self.examples:
            with formatter.section("Examples"):
                # As they are: a command that was wrapped cannot be copied.
                formatter.write("".join(f"  {line}\n" for line in self.examples))


__all__ = ["Grouped"]
