"""Small public checkpoints, written by transformers as its users have them; weights are random."""

from pathlib import Path
from typing import Any

import torch

from sslcore.tokenization.engine import SPECIAL_TOKENS
from sslcore.tokenization.word_piece import WordPiece

SENTENCES = [
    f"The {a} {b} was seen near the {c} on the {d}."
    for a in ("small", "unbelievable", "grey")
    for b in ("quokka", "ship", "minister")
    for c in ("harbour", "police station", "river")
    for d in ("evening", "second of May", "way home")
]
SHAPE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = (
    "bert",
    "ernie",
    "electra",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "modernbert",
    "albert",
    "deberta-v2",
    "gpt2",
)
BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
TOKENIZERS = {  # whose vocabulary is written as which kind's
    "ernie": "bert",
    "electra": "bert",
    "distilbert": "bert",
    "camembert": "xlm-roberta",
    "mpnet": "roberta",
    "albert": "bert",
    "deberta-v2": "bert",
}
ROBERTA = {
    "cls_token": "<s>",
    "bos_token": "<s>",
    "sep_token": "</s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


OWN: dict[str, dict[str, Any]] = {  # what only a kind has
    "ernie": {"use_task_id": True},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16, "num_hidden_groups": 1, "intermediate_size": 48},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_buckets": 8,
        "type_vocab_size": 0,
    },
    "distilbert": {"hidden_dim": 64},
    "modernbert": {"local_attention": 8, "intermediate_size": 48, "global_attn_every_n_layers": 2},
}


def unigram(special: list[str]) -> Any:
    """Of characters and a few longer pieces. What Hugging Face's trainer learns differs from run to run."""
    from tokenizers import Tokenizer as Made
    from tokenizers import models

    longer = ["▁s", "▁wa", "▁se", "▁on", "▁ha", "ar", "ve", "ev", "li", "on", "ay", "in", "er", "st", "ip"]
    pieces = [*longer, "▁", *map(chr, range(33, 127))]
    scored = [(piece, -4 - 0.05 * place) for place, piece in enumerate(pieces)]
    made = Made(models.Unigram([*((token, 0.0) for token in special), *scored], unk_id=special.index("<unk>")))
    made.add_special_tokens(special)
    return made


def tokenizer_of(kind: str) -> Any:
    """A small vocabulary written as the kind writes it, its special tokens where the kind has them."""
    from tokenizers import Tokenizer as Made
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    kind = TOKENIZERS.get(kind, kind)
    if kind == "bert":
        special = ["[PAD]", *(f"[unused{n}]" for n in range(20)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        # Hugging Face's trainer numbers its pieces by chance.
        learnt = WordPiece(vocabulary_size=512).trained(SENTENCES).get_vocab()
        pieces = sorted(learnt.keys() - set(SPECIAL_TOKENS), key=learnt.__getitem__)
        vocabulary = {token: number for number, token in enumerate([*special, *pieces])}
        made = Made(models.WordPiece(vocabulary, unk_token="[UNK]"))
        made.add_special_tokens(special)
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        names = BERT
    elif kind == "xlm-roberta":
        made = unigram(["<s>", "<pad>", "</s>", "<unk>"])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        names = ROBERTA
    else:
        made = Made(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        special = ["<s>", "<pad>", "</s>", "<unk>"] if kind == "roberta" else []
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        names = {"roberta": ROBERTA, "modernbert": BERT}.get(kind, names)
        made.train_from_iterator(SENTENCES, trainer)
    last = {"bert": [], "gpt2": ["<|endoftext|>"], "modernbert": list(BERT.values())}.get(kind, ["<mask>"])
    made.add_special_tokens(last)
    made.enable_truncation(6)  # as many a public tokenizer.json has it: nothing of ours
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def made_checkpoint(kind: str, folder: Path) -> Path:
    """A checkpoint of random weights, written by transformers."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    tokenizer = tokenizer_of(kind)
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **SHAPE}
    if tokenizer.cls_token == "<s>":
        size |= {"type_vocab_size": 1, "max_position_embeddings": 66, "pad_token_id": tokenizer.pad_token_id}
    if kind == "gpt2":
        ends = tokenizer.eos_token_id
        size = {"vocab_size": len(tokenizer), "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
        size |= {"bos_token_id": ends, "eos_token_id": ends}
    size |= OWN.get(kind, {})
    if kind == "modernbert":
        size |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
        size |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **size)
    model = (AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))  # biases and norms too
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
