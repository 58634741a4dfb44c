"""Prompts that differ from a prompt in one word or one role: what a picture is contrasted with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Words of English prompts that say nothing by themselves.
FUNCTION_WORDS = frozenset(
    "a an the of and or in on at with to is are that this by for from photo picture image".split()
)


def substituted(words: Sequence[str], classes: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    """One word replaced by another of its class, place by place."""
    for place, word in enumerate(words):
        for each in classes:
            if word in each:
                yield from (
                    [*words[:place], other, *words[place + 1 :]] for other in each if other != word
                )


def exchanged(words: Sequence[str], classes: Sequence[Sequence[str]]) -> Iterable[list[str]]:
    """Two words of one class in each other's place: colours or shapes swapped between objects."""
    for each in classes:
        places = [i for i, word in enumerate(words) if word in each]
        for first, second in (
            (i, j) for n, i in enumerate(places) for j in places[n + 1 :] if words[i] != words[j]
        ):
            other = list(words)
            other[first], other[second] = words[second], words[first]
            yield other


def reordered(words: Sequence[str]) -> Iterable[list[str]]:
    """Content words exchanged with the next content word, then each one dropped."""
    content = [i for i, word in enumerate(words) if word not in FUNCTION_WORDS]
    for first, second in zip(content, content[1:], strict=False):
        other = list(words)
        other[first], other[second] = words[second], words[first]
        yield other
    for place in content:
        yield [*words[:place], *words[place + 1 :]]


def alternatives(
    text: str, classes: Sequence[Sequence[str]], kind: str, most: int | None = None
) -> list[str]:
    """Other prompts that `text` could be mistaken for, in a fixed order, each once.

    Args:
        text: the prompt.
        classes: disjoint classes of words; where none of them meets the text, its own words are
            reordered and dropped instead, which needs no knowledge of the vocabulary.
        kind: "exchange" (two words of a class swapped, or a word's only counterpart, as left for
            right; where there is neither, as "substitute"), "substitute" (every other word of the
            class as well), "reorder".
        most: keep so many, spread evenly over the list; all where None.

    Returns:
        Texts of lower-case words, without `text` itself.
    """
    words = text.lower().replace(",", " ").split()
    found: list[list[str]] = []
    if kind != "reorder":
        found += exchanged(words, classes)
        pairs = [each for each in classes if len(each) == 2] if kind == "exchange" else classes
        found += substituted(words, pairs)
        found = found or list(substituted(words, classes))
    if not found:
        found = list(reordered(words))
    unique = [t for t in dict.fromkeys(map(" ".join, found)) if t and t != " ".join(words)]
    if most is None or len(unique) <= most:
        return unique
    return [unique[i * len(unique) // most] for i in range(most)]
