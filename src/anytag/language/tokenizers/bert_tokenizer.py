"""The tokenizer of the official Tag2Text and RAM captioners: bert-base-uncased with two more tokens.

``[DEC]`` starts a caption and ``[ENC]`` a tag list; they follow BERT's 30522 word pieces. Ids, lengths and texts are
those of the official code (``ram/models/utils.py``, ``tag2text.py``). Where that code loses something, the right
behavior is the default and ``official=True`` brings the other back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from anytag.errors import ModelError, UsageError
from anytag.foundations.atomic_files import whole_file
from anytag.language.tokenizers.tokenizer import END, PAD, SEPARATOR, START, UNKNOWN, wordpiece_tokenizer

CLASS, MASK, TAGS = "[CLS]", "[MASK]", "[ENC]"

#: What stands before every caption of the official weights; as text it ends in a blank.
PROMPT = "a picture of "

#: Word pieces of a tag list for the official weights, always exactly so many: the text decoder looks at the padding.
TAG_TOKENS = 40

#: Most word pieces of a training caption.
CAPTION_TOKENS = 40

#: Most word pieces of a text that is judged against a picture, ``[CLS]`` and ``[SEP]`` included (BLIP's pre-training).
TEXT_TOKENS = 30

#: More word pieces than any text has.
_UNLIMITED = 2**31

_BERT = (PAD, UNKNOWN, CLASS, END, MASK)
_ADDED = (START, TAGS)

#: Blanks that BERT's pieces leave and English does not want, removed in this order (``transformers`` 4.25.1,
#: ``clean_up_tokenization``). A blank on both sides of an apostrophe goes first, so ``do n ' t`` ends as ``don't``.
_CLOSED_UP = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class OfficialTokenizer:
    """Tag lists and captions to ids and back, as the official weights expect them.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` that knows the special tokens; see :func:`build_official_tokenizer`.
        prompt: What every caption starts with; it may be empty.
        tag_length: Pieces that a tag list is cut or padded to; 0: it is as long as it is.

    Attributes:
        pad_id: Fills tag lists; 0 in bert-base-uncased.
        end_id: ``[SEP]``, the end of captions and tag lists; 102.
        start_id: ``[DEC]``, the start of captions; 30522.
        tags_id: ``[ENC]``, the start of tag lists; 30523.

    Raises:
        ModelError: If a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str = PROMPT, tag_length: int = TAG_TOKENS):
        self._tokenizer = tokenizer
        self.prompt, self.tag_length = prompt, tag_length
        found = {token: tokenizer.token_to_id(token) for token in (*_BERT, *_ADDED)}
        if missing := [token for token, id in found.items() if id is None]:
            raise ModelError(
                f"the tokenizer of the official captioner has no {', '.join(missing)}; build it from the vocab.txt "
                "of bert-base-uncased, or get the model directory again"
            )
        self._special = {token: int(id) for token, id in found.items() if id is not None}
        self.pad_id, self.end_id = self._special[PAD], self._special[END]
        self.start_id, self.tags_id = self._special[START], self._special[TAGS]

    @property
    def pieces(self) -> dict[str, int]:
        """Ids by word piece."""
        return dict(self._tokenizer.get_vocab())

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are not text."""
        return tuple(self._special.values())

    def encode(self, text: str, limit: int = CAPTION_TOKENS) -> list[int]:
        """``[CLS] … [SEP]``, at most ``limit`` ids; what is longer is cut and still ends in ``[SEP]``.

        Raises:
            UsageError: If the limit leaves no room for the two.
        """
        if limit < 2:
            raise UsageError(f"a limit of {limit} tokens leaves no room for [CLS] and [SEP]; give 2 or more")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self._special[CLASS], *ids[: limit - 2], self.end_id]

    def encode_prompt(self) -> list[int]:
        """``[DEC] a picture of``: what the text decoder continues."""
        return [self.start_id, *self.encode(self.prompt)[1:-1]]

    def encode_tags(self, names: Sequence[str]) -> list[int]:
        """``[ENC] dog | red car [SEP] [PAD] …``: exactly ``tag_length`` ids.

        A longer list is cut wherever it is, as in the official code: of 40 ids, 19 names of one word piece fit, or 13
        of two.
        Attention leaves out where the ids are ``pad_id``.

        Args:
            names: In the order of the tag list; none gives ``[ENC] [SEP]`` and padding.

        Raises:
            UsageError: If the names are one string.
        """
        if isinstance(names, str):
            raise UsageError(f"tags are given as one string, {names!r}; give a list of names")
        ids = self.encode(f" {SEPARATOR} ".join(names), self.tag_length or _UNLIMITED)
        return [self.tags_id, *ids[1:], *[self.pad_id] * (self.tag_length - len(ids))]

    def encode_caption(self, caption: str, limit: int = CAPTION_TOKENS, *, official: bool = False) -> list[int]:
        """``[DEC] a picture of … [SEP]`` for training, at most ``limit`` ids, without padding.

        The loss leaves out as many first tokens as the prompt has (Tag2Text's ``prompt_length``, 4).

        Args:
            caption: Cleaned, see :func:`~anytag.language.tokenizers.pre_caption.pre_caption`.
            limit: Most ids, prompt and end included.
            official: Without the prompt, as the official training does: the loss then leaves out the caption's own
                first three word pieces, which are never learned, and the decoder never sees what it is later asked
                to continue.

        Raises:
            UsageError: If the limit is too small.
        """
        ids = self.encode(caption if official else self.prompt + caption, limit)
        return [self.start_id, *ids[1:]]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text: special tokens dropped, pieces joined, no blank before punctuation.

        Raises:
            UsageError: If an id is not one of the vocabulary's.
        """
        for id in ids:
            if not 0 <= id < len(self):
                raise UsageError(f"{id} is not one of the tokenizer's {len(self)} ids (0 to {len(self) - 1})")
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        for blank in _CLOSED_UP:
            text = text.replace(blank, blank.strip())
        return text

    def decode_caption(self, ids: Sequence[int], *, official: bool = False) -> str:
        """The caption in what the text decoder wrote, prompt not included.

        Args:
            ids: Prompt, caption, perhaps end and padding. Without the prompt, the whole is the caption.
            official: Cut the text off after as many characters as the prompt has, as the official code does. If the
                caption joins the prompt without a blank (``a picture of, seen from above``), its first character is
                lost, and the text starts with a blank.

        Raises:
            UsageError: If an id is not one of the vocabulary's.
        """
        text = self.decode(ids)
        if official:
            return text[len(self.prompt) :]
        prompt = self.encode_prompt()
        if list(ids[: len(prompt)]) != prompt:
            return text
        # Cut as text, not as ids: "a picture of" and "' s" give "'s", but "' s" alone would keep its blank.
        return text[len(self.prompt.strip()) :].lstrip()

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``, whole or not at all."""
        with whole_file(Path(path)) as part:
            self._tokenizer.save(str(part))

    @classmethod
    def load(cls, path: str | Path, prompt: str = PROMPT, tag_length: int = TAG_TOKENS) -> OfficialTokenizer:
        """Read ``tokenizer.json``.

        Args:
            path: The file.
            prompt: As for the class.
            tag_length: As for the class.

        Raises:
            ModelError: If the file is missing, damaged, or the tokenizer of something else.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        # The library raises plain Exception, for a missing file as for a damaged one.
        except Exception as error:
            raise ModelError(f"{path}: not a tokenizer ({error}); get the model directory again") from error
        return cls(tokenizer, prompt, tag_length)


def build_official_tokenizer(
    wordpieces: Sequence[str], prompt: str = PROMPT, tag_length: int = TAG_TOKENS
) -> OfficialTokenizer:
    """The official tokenizer from BERT's word pieces.

    Args:
        wordpieces: The lines of ``vocab.txt`` of bert-base-uncased, in order: a piece's place is its id. The file is
            also that of all-MiniLM-L6-v2, see :func:`~anytag.nn.text_encoder.sentence_encoder_folder`.
        prompt: See :class:`OfficialTokenizer`.
        tag_length: See :class:`OfficialTokenizer`.

    Raises:
        ModelError: If a piece stands twice, which would shift ids, or one of BERT's special tokens is missing.
    """
    vocabulary = {piece: id for id, piece in enumerate(wordpieces)}
    if len(vocabulary) != len(wordpieces):
        twice = next(piece for id, piece in enumerate(wordpieces) if vocabulary[piece] != id)
        raise ModelError(f"the word piece {twice!r} stands twice in the vocabulary; use the original vocab.txt")
    tokenizer = wordpiece_tokenizer(vocabulary)
    # Only those that the vocabulary has: adding others would give them ids, and hide that they were missing.
    known = [token for token in _BERT if token in vocabulary]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (*known, *_ADDED)])
    return OfficialTokenizer(tokenizer, prompt, tag_length)
