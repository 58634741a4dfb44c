"""The closed vocabulary of the shapes world, and prompts as token ids."""

from __future__ import annotations

import re

from scalingar_fw.errors import ScalingarError, did_you_mean

SHAPES: tuple[str, ...] = (
    "square",
    "circle",
    "triangle",
    "cross",
    "diamond",
    "ring",
    "arch",
    "tee",
    "hourglass",
    "wedge",
    "ell",
    "chevron",
)
COLOURS: tuple[str, ...] = (
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "white",
    "pink",
    "brown",
)
COUNTS: dict[str, int] = {"two": 2, "three": 3, "four": 4}
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
CONVERSE: dict[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}

THING = "thing"  #: an object whose shape is left open: "a red thing"
PLURALS: dict[str, str] = {
    shape: shape + ("es" if shape.endswith(("s", "ch")) else "s") for shape in (*SHAPES, THING)
}
SINGULAR: dict[str, str] = {plural: shape for shape, plural in PLURALS.items()}

# A plural is its singular followed by one marker, so that "circles" profits from all that is
# learnt about "circle".
PAD, NULL, PLURAL = "<pad>", "<null>", "<plural>"
_FUNCTION = ("a", "an", "and", "of", "no", "only", "exactly", "the", "same", "colour")
_LONG = ("picture", "with", "that", "is", "are")
TOKENS: tuple[str, ...] = (
    PAD,
    NULL,
    PLURAL,
    *_FUNCTION,
    *_LONG,
    "left",
    "right",
    "above",
    "below",
    *COUNTS,
    *SHAPES,
    *COLOURS,
    THING,
)
TOKEN_IDS: dict[str, int] = {token: index for index, token in enumerate(TOKENS)}
MAX_PROMPT_TOKENS = 20

#: Every word that a prompt may contain.
VOCABULARY: tuple[str, ...] = tuple(token for token in TOKENS if not token.startswith("<")) + tuple(
    PLURALS.values()
)
#: Words that can stand in for one another in a sentence: what a prompt is contrasted with.
WORD_CLASSES: tuple[tuple[str, ...], ...] = (
    SHAPES,
    tuple(PLURALS[shape] for shape in SHAPES),
    COLOURS,
    tuple(COUNTS),
    ("left", "right"),
    ("above", "below"),
)


class UnknownWordError(ScalingarError):
    """A prompt holds a word outside the closed vocabulary; the message names word and vocabulary."""

    def __init__(self, word: str, prompt: str) -> None:
        self.word = word
        self.prompt = prompt
        super().__init__(
            f"unknown word {word!r} in prompt {prompt!r}.{did_you_mean(word, VOCABULARY)} "
            "The shapes model knows: " + ", ".join(VOCABULARY) + "."
        )


class PromptError(ScalingarError):
    """A prompt of known words that does not describe a scene; the message shows examples."""

    def __init__(self, prompt: str, why: str) -> None:
        super().__init__(
            f"cannot read prompt {prompt!r}: {why}. Examples: 'a red circle', "
            "'three triangles', 'a circle left of a square', 'a red circle and a blue square'."
        )


def normalise(prompt: str) -> list[str]:
    """Return the prompt's words: lower case, punctuation and repeated space removed.

    Raises:
        UnknownWordError: A word is not in :data:`VOCABULARY`.
        PromptError: Nothing is left.
    """
    words = re.sub(r"[^\w\s]|_", " ", prompt.lower()).split()
    for word in words:
        if word not in VOCABULARY:
            raise UnknownWordError(word, prompt)
    if not words:
        raise PromptError(prompt, "it holds no word")
    return words


def encode(prompt: str) -> list[int]:
    """Return the token ids of a prompt, at most :data:`MAX_PROMPT_TOKENS`.

    The order of words is not checked: any sequence of known words can be given to the model.

    Raises:
        UnknownWordError: A word is not in the vocabulary.
        PromptError: The prompt is empty or longer than the model's prefix.
    """
    ids: list[int] = []
    for word in normalise(prompt):
        if word in SINGULAR:
            ids += [TOKEN_IDS[SINGULAR[word]], TOKEN_IDS[PLURAL]]
        else:
            ids.append(TOKEN_IDS[word])
    if len(ids) > MAX_PROMPT_TOKENS:
        raise PromptError(prompt, f"it has {len(ids)} tokens; at most {MAX_PROMPT_TOKENS} fit")
    return ids


def article(word: str) -> str:
    """Return ``word`` with "a" or "an" before it."""
    return ("an " if word[0] in "aeiou" or word.startswith("hourglass") else "a ") + word
