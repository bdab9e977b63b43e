"""Word pieces for captions and tag lists.

BERT's WordPiece over a pruned vocabulary: the pieces that the training captions need, and every character, so that
any word can still be spelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from anytag.errors import ModelError

PAD, UNKNOWN, START, END, GIVEN, FOUND, SEPARATOR = "[PAD]", "[UNK]", "[DEC]", "[SEP]", "[GIVEN]", "[FOUND]", "|"
_SPECIAL = (PAD, UNKNOWN, START, END, GIVEN, FOUND, SEPARATOR)


class CaptionTokenizer:
    """Captions and tag lists to ids and back.

    A tag list starts with ``[GIVEN]`` (tags that the caption should name) or ``[FOUND]`` (tags that a recognizer
    proposes); tags are separated by ``|``, as Tag2Text joins them.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` that knows the special tokens.

    Raises:
        ModelError: If a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        found = {token: tokenizer.token_to_id(token) for token in _SPECIAL}
        ids = {token: id for token, id in found.items() if id is not None}
        if missing := [token for token in _SPECIAL if token not in ids]:
            raise ModelError(f"the caption tokenizer has no {', '.join(missing)}; the model directory is damaged")
        self.pad_id, self.unknown_id, self.start_id, self.end_id = (ids[t] for t in (PAD, UNKNOWN, START, END))
        self.given_id, self.found_id, self.separator_id = (ids[t] for t in (GIVEN, FOUND, SEPARATOR))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that no caption contains (the end token excepted)."""
        return (self.pad_id, self.unknown_id, self.start_id, self.given_id, self.found_id, self.separator_id)

    @property
    def pieces(self) -> dict[str, int]:
        """Ids by word piece."""
        return dict(self._tokenizer.get_vocab())

    def encode(self, text: str) -> list[int]:
        """Word pieces of a text, without start and end."""
        return list(self._tokenizer.encode(clean_caption(text), add_special_tokens=False).ids)

    def encode_caption(self, caption: str, limit: int) -> list[int]:
        """``[DEC] … [SEP]``, at most ``limit`` ids."""
        return [self.start_id, *self.encode(caption)[: limit - 2], self.end_id]

    def join_tags(self, tags: Sequence[Sequence[int]], given: bool, limit: int) -> list[int]:
        """Encoded tags to one list; tags that no longer fit are left out whole."""
        ids = [self.given_id if given else self.found_id]
        for tag in tags:
            if len(ids) + len(tag) + 1 > limit:
                break
            ids += [*tag, self.separator_id]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text: special tokens dropped, pieces joined, no blank before punctuation."""
        skipped = {*self.special_ids, self.end_id}
        text = self._tokenizer.decode([i for i in ids if i not in skipped], skip_special_tokens=False)
        for mark in (",", ".", "'"):
            text = text.replace(f" {mark}", mark)
        return text.replace("' s ", "'s ").strip()

    def save(self, path: str | Path) -> None:
        """Write ``tokenizer.json``."""
        self._tokenizer.save(str(path))

    @classmethod
    def load(cls, path: str | Path) -> CaptionTokenizer:
        """Read ``tokenizer.json``."""
        return cls(Tokenizer.from_file(str(path)))


def clean_caption(caption: str) -> str:
    """Lower case, punctuation but commas, apostrophes and hyphens dropped, single blanks."""
    kept = "".join(c if c.isalnum() or c in ",'- " else " " for c in caption.lower().replace("’", "'"))
    return " ".join(kept.split()).strip(" ,-'")


def build_caption_tokenizer(wordpieces: Sequence[str], captions: Iterable[str], min_count: int = 5) -> CaptionTokenizer:
    """Prune a WordPiece vocabulary to what captions need.

    Args:
        wordpieces: The full vocabulary, BERT's ``vocab.txt`` in order.
        captions: Training captions.
        min_count: Pieces seen more rarely are dropped and spelled with shorter ones.

    Returns:
        A tokenizer whose ids are: special tokens, single characters, then pieces by falling frequency.
    """
    full = wordpiece_tokenizer({piece: i for i, piece in enumerate(wordpieces)})
    counts: Counter[str] = Counter()
    batch: list[str] = []
    for caption in captions:
        batch.append(clean_caption(caption))
        if len(batch) == 4096:
            for encoding in full.encode_batch(batch):
                counts.update(encoding.tokens)
            batch = []
    for encoding in full.encode_batch(batch):
        counts.update(encoding.tokens)
    characters = [p for p in wordpieces if len(p.removeprefix("##")) == 1 and p.isascii() and p != SEPARATOR]
    frequent = [p for p, n in counts.most_common() if n >= min_count and p not in _SPECIAL]
    pieces = list(dict.fromkeys([*_SPECIAL, *characters, *frequent]))
    return CaptionTokenizer(wordpiece_tokenizer({piece: i for i, piece in enumerate(pieces)}))


def wordpiece_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """BERT's uncased tokenizer over a vocabulary of pieces with their ids; it adds no special tokens."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer
