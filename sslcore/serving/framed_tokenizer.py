"""An encoder's tokenizer for transformers, which frames and cuts texts, and pairs of them, as the network does."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from sslcore.models.encoder import Encoder


def tokenizer_with_frame(
    encoder: "Encoder", *, longest: int | None = None, inputs: Sequence[str] | None = None
) -> "PreTrainedTokenizerFast":
    """The tokenizer of a transformer's texts; with truncation they are cut to `longest` tokens, the frame's among them.

    `inputs` are what it gives of a text; by default all that the network reads.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokens, network = encoder.tokenizer.tokens, encoder.network
    first, last = (tokens[i] for i in network.frame)
    between = " ".join([last] * network.separators)
    kind = ":1" if network.tells_apart else ""
    end = "" if network.causal else last  # where a text ends is for it to say, not to be told
    framed = Tokenizer.from_str(encoder.tokenizer.huggingface().to_str())
    framed.post_processor = TemplateProcessing(
        single=f"{first} $A {end}".strip(),
        pair=f"{first} $A {between} $B{kind} {end and end + kind}".strip(),
        special_tokens=list(zip((first, last), network.frame, strict=True)),
    )
    all_inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if network.tells_apart else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=framed,
        model_max_length=longest or network.maximum_tokens,
        model_input_names=list(inputs or all_inputs),
        pad_token=tokens[encoder.tokenizer.padding_id],
        unk_token=tokens[encoder.tokenizer.unknown_id],
        cls_token=tokens[encoder.tokenizer.classification_id],
        sep_token=tokens[encoder.tokenizer.separator_id],
        mask_token=tokens[encoder.tokenizer.mask_id],
    )
