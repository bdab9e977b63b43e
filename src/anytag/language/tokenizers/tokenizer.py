"""The tokenizer of lite's captions and tag lists: BERT's WordPiece with a pruned vocabulary.

It has the word pieces that the training captions need, and every character, so that any word can be spelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from anytag.errors import ModelError
from anytag.foundations.atomic_files import whole_file

PAD, UNKNOWN, START, END, GIVEN, FOUND, SEPARATOR = "[PAD]", "[UNK]", "[DEC]", "[SEP]", "[GIVEN]", "[FOUND]", "|"
_SPECIAL = (PAD, UNKNOWN, START, END, GIVEN, FOUND, SEPARATOR)

#: Captions that are encoded at a time.
_BATCH = 4096


class WordPieceTokenizer:
    """A ``tokenizers.Tokenizer`` that has certain special tokens; ``name`` and ``advice`` are for messages.

    Raises:
        ModelError: If a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer, special: Sequence[str], name: str, advice: str):
        self._tokenizer = tokenizer
        ids = {token: tokenizer.token_to_id(token) for token in special}
        if missing := [token for token, id in ids.items() if id is None]:
            raise ModelError(f"the {name} has no {', '.join(missing)}; {advice}")
        self._special = {token: int(id) for token, id in ids.items() if id is not None}
        self.pad_id, self.start_id, self.end_id = (self._special[token] for token in (PAD, START, END))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def pieces(self) -> dict[str, int]:
        """Ids by word piece."""
        return dict(self._tokenizer.get_vocab())

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json`` atomically."""
        with whole_file(Path(path)) as part:
            self._tokenizer.save(str(part))


class CaptionTokenizer(WordPieceTokenizer):
    """Converts captions and tag lists to ids and back.

    A tag list starts with ``[GIVEN]`` (tags that the caption should name) or ``[FOUND]`` (tags that a recognizer
    proposes); tags are separated by ``|``, as in Tag2Text.

    Raises:
        ModelError: If a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(tokenizer, _SPECIAL, "caption tokenizer", "the model directory is damaged")
        self.given_id, self.found_id, self.separator_id = (self._special[token] for token in (GIVEN, FOUND, SEPARATOR))

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that no caption contains, without the end token."""
        return tuple(id for token, id in self._special.items() if token != END)

    def encode(self, text: str) -> list[int]:
        """Return the word pieces of a text, without start and end."""
        return list(self._tokenizer.encode(clean_caption(text), add_special_tokens=False).ids)

    def encode_caption(self, caption: str, limit: int) -> list[int]:
        """Return ``[DEC] … [SEP]``, at most ``limit`` ids."""
        return [self.start_id, *self.encode(caption)[: limit - 2], self.end_id]

    def join_tags(self, tags: Sequence[Sequence[int]], given: bool, limit: int) -> list[int]:
        """Join encoded tags to a list of at most ``limit`` ids; tags that do not fit are dropped whole."""
        ids = [self.given_id if given else self.found_id]
        for tag in tags:
            if len(ids) + len(tag) + 1 > limit:
                break
            ids += [*tag, self.separator_id]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text, without special tokens and blanks before punctuation."""
        skipped = {*self.special_ids, self.end_id}
        text = self._tokenizer.decode([i for i in ids if i not in skipped], skip_special_tokens=False)
        for mark in (",", ".", "'"):
            text = text.replace(f" {mark}", mark)
        return text.replace("' s ", "'s ").strip()

    @classmethod
    def load(cls, path: str | Path) -> CaptionTokenizer:
        """Read ``tokenizer.json``."""
        return cls(Tokenizer.from_file(str(path)))


def clean_caption(caption: str) -> str:
    """Return a caption in lower case, with single blanks and no punctuation but commas, apostrophes and hyphens."""
    kept = "".join(c if c.isalnum() or c in ",'- " else " " for c in caption.lower().replace("’", "'"))
    return " ".join(kept.split()).strip(" ,-'")


def build_caption_tokenizer(wordpieces: Sequence[str], captions: Iterable[str], min_count: int = 5) -> CaptionTokenizer:
    """Prune a WordPiece vocabulary to what captions need.

    Args:
        wordpieces: The full vocabulary, BERT's ``vocab.txt`` in order.
        captions: Training captions.
        min_count: Rarer pieces are dropped, and spelled by shorter ones.

    Returns:
        A tokenizer whose ids are special tokens, single characters, then pieces by falling frequency.
    """
    full = wordpiece_tokenizer({piece: i for i, piece in enumerate(wordpieces)})
    counts: Counter[str] = Counter()
    rest = map(clean_caption, captions)
    while batch := list(islice(rest, _BATCH)):
        for encoding in full.encode_batch(batch):
            counts.update(encoding.tokens)
    characters = [p for p in wordpieces if len(p.removeprefix("##")) == 1 and p.isascii() and p != SEPARATOR]
    frequent = [p for p, n in counts.most_common() if n >= min_count and p not in _SPECIAL]
    pieces = list(dict.fromkeys([*_SPECIAL, *characters, *frequent]))
    return CaptionTokenizer(wordpiece_tokenizer({piece: i for i, piece in enumerate(pieces)}))


def wordpiece_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """Return BERT's uncased tokenizer with a vocabulary of pieces and their ids, without special tokens."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer
