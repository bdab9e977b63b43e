"""The tokenizer of the official Tag2Text and RAM captioners: bert-base-uncased with two more tokens.

``[DEC]`` starts a caption and ``[ENC]`` a tag list; they follow BERT's 30522 word pieces. Ids, lengths and texts are
those of the official code (``ram/models/utils.py``, ``tag2text.py``). Where that code loses something, the default is
correct, and ``official=True`` reproduces the official behavior.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from anytag.errors import ModelError, UsageError
from anytag.language.tokenizers.tokenizer import (
    END,
    PAD,
    SEPARATOR,
    START,
    UNKNOWN,
    WordPieceTokenizer,
    wordpiece_tokenizer,
)

CLASS, MASK, TAGS = "[CLS]", "[MASK]", "[ENC]"

#: Start of every caption of the official weights, with a blank at the end.
PROMPT = "a picture of "

#: Exact length of tag lists for the official weights, in word pieces: the text decoder also attends to the padding.
TAG_TOKENS = 40

#: Most word pieces of a training caption.
CAPTION_TOKENS = 40

#: Most word pieces of a text to match with a picture, ``[CLS]`` and ``[SEP]`` included (BLIP's pre-training).
TEXT_TOKENS = 30

#: More word pieces than any text has.
_UNLIMITED = 2**31

_BERT = (PAD, UNKNOWN, CLASS, END, MASK)
_ADDED = (START, TAGS)

#: Superfluous blanks between BERT's pieces, removed in this order (``transformers`` 4.25.1,
#: ``clean_up_tokenization``). Blanks on both sides of an apostrophe go first, so ``do n ' t`` ends as ``don't``.
_CLOSED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class OfficialTokenizer(WordPieceTokenizer):
    """Converts captions and tag lists to ids and back, as the official weights expect.

    Args:
        tokenizer: Has the special tokens; see :func:`build_official_tokenizer`.
        prompt: The start of every caption; may be empty.
        tag_length: Length to which tag lists are truncated or padded; 0: neither.

    Attributes:
        pad_id: Pads tag lists; 0 in bert-base-uncased.
        end_id: ``[SEP]``, the end of captions and tag lists; 102.
        start_id: ``[DEC]``, the start of captions; 30522.
        tags_id: ``[ENC]``, the start of tag lists; 30523.

    Raises:
        ModelError: If a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str = PROMPT, tag_length: int = TAG_TOKENS):
        advice = "build it from the vocab.txt of bert-base-uncased, or get the model directory again"
        super().__init__(tokenizer, (*_BERT, *_ADDED), "tokenizer of the official captioner", advice)
        self.prompt, self.tag_length, self.tags_id = prompt, tag_length, self._special[TAGS]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are not text."""
        return tuple(self._special.values())

    def encode(self, text: str, limit: int = CAPTION_TOKENS) -> list[int]:
        """Return ``[CLS] … [SEP]``, truncated to ``limit`` ids.

        Raises:
            UsageError: If the limit is less than 2.
        """
        if limit < 2:
            raise UsageError(f"a limit of {limit} tokens leaves no room for [CLS] and [SEP]; give 2 or more")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self._special[CLASS], *ids[: limit - 2], self.end_id]

    def encode_prompt(self) -> list[int]:
        """Return ``[DEC] a picture of``, which the text decoder continues."""
        return [self.start_id, *self.encode(self.prompt)[1:-1]]

    def encode_tags(self, names: Sequence[str]) -> list[int]:
        """Return ``[ENC] dog | red car [SEP] [PAD] …`` with exactly ``tag_length`` ids, also if there are no names.

        A longer list is truncated anywhere, as in the official code: 40 ids hold 19 names of one word piece, or 13 of
        two. The attention mask excludes ``pad_id``.

        Raises:
            UsageError: If ``names`` is a string.
        """
        if isinstance(names, str):
            raise UsageError(f"tags are given as one string, {names!r}; give a list of names")
        ids = self.encode(f" {SEPARATOR} ".join(names), self.tag_length or _UNLIMITED)
        return [self.tags_id, *ids[1:], *[self.pad_id] * (self.tag_length - len(ids))]

    def encode_caption(self, caption: str, limit: int = CAPTION_TOKENS, *, official: bool = False) -> list[int]:
        """Return ``[DEC] a picture of … [SEP]`` for training, at most ``limit`` ids, without padding.

        The loss excludes as many first tokens as the prompt has (Tag2Text's ``prompt_length``, 4).

        Args:
            caption: Cleaned by :func:`~anytag.language.tokenizers.pre_caption.pre_caption`.
            limit: Most ids, including prompt and end.
            official: Omit the prompt like the official training, in which the loss excludes the caption's own first
                three word pieces, so that they are never learned, and the decoder never sees the prompt that it later
                continues.

        Raises:
            UsageError: If the limit is too small.
        """
        ids = self.encode(caption if official else self.prompt + caption, limit)
        return [self.start_id, *ids[1:]]

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text, without special tokens and blanks before punctuation.

        Raises:
            UsageError: If an id is not in the vocabulary.
        """
        for id in ids:
            if not 0 <= id < len(self):
                raise UsageError(f"{id} is not one of the tokenizer's {len(self)} ids (0 to {len(self) - 1})")
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        for blank in _CLOSED_UP:
            text = text.replace(blank, blank.strip())
        return text

    def decode_caption(self, ids: Sequence[int], *, official: bool = False) -> str:
        """Return the caption in the text decoder's output, without the prompt.

        Args:
            ids: Prompt and caption, possibly end and padding. Without the prompt, all of it is the caption.
            official: Cut off as many characters as the prompt has, like the official code. If the caption continues the
                prompt without a blank (``a picture of, seen from above``), its first character is lost, and the text
                starts with a blank.

        Raises:
            UsageError: If an id is not in the vocabulary.
        """
        text = self.decode(ids)
        if official:
            return text[len(self.prompt) :]
        prompt = self.encode_prompt()
        if list(ids[: len(prompt)]) != prompt:
            return text
        # Cut the text, not the ids: "' s" becomes "'s" after "a picture of", but alone would keep its blank.
        return text[len(self.prompt.strip()) :].lstrip()

    @classmethod
    def load(cls, path: str | Path, prompt: str = PROMPT, tag_length: int = TAG_TOKENS) -> OfficialTokenizer:
        """Read ``tokenizer.json``.

        Raises:
            ModelError: If the file is missing, damaged, or another kind of tokenizer.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        # The library raises a plain Exception if the file is missing or damaged.
        except Exception as error:
            raise ModelError(f"{path}: not a tokenizer ({error}); get the model directory again") from error
        return cls(tokenizer, prompt, tag_length)


def build_official_tokenizer(
    wordpieces: Sequence[str], prompt: str = PROMPT, tag_length: int = TAG_TOKENS
) -> OfficialTokenizer:
    """Build the official tokenizer from BERT's word pieces, the lines of ``vocab.txt`` of bert-base-uncased.

    A piece's index is its id. all-MiniLM-L6-v2 has the same file, see
    :func:`~anytag.nn.text_encoder.sentence_encoder_folder`.

    Raises:
        ModelError: If a piece is listed twice, which would shift ids, or one of BERT's special tokens is missing.
    """
    vocabulary = {piece: id for id, piece in enumerate(wordpieces)}
    if len(vocabulary) != len(wordpieces):
        twice = next(piece for id, piece in enumerate(wordpieces) if vocabulary[piece] != id)
        raise ModelError(f"the word piece {twice!r} is listed twice in the vocabulary; use the original vocab.txt")
    tokenizer = wordpiece_tokenizer(vocabulary)
    # Adding tokens that the vocabulary lacks would give them ids, and hide that they are missing.
    known = [token for token in _BERT if token in vocabulary]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (*known, *_ADDED)])
    return OfficialTokenizer(tokenizer, prompt, tag_length)
