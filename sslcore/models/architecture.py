"""Which transformer of Hugging Face it is: the fields of a config.json, checked and completed for a tokenizer.

A dictionary in place of transformers' own object: it goes into configurations, forms and encoder.json as it is.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from sslcore.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sslcore.tokenization.tokenizer import Tokenizer

Architecture = dict[str, Any]


class Kind(NamedTuple):
    """What there is to know of a model_type of transformers, where they differ."""

    layers: str | None = "encoder.layer"  # None: they cannot be run one by one
    inputs: tuple[str, ...] = ("embeddings",)  # the modules that make the states the first layer is given
    last: str | None = None  # a norm after the last layer
    as_bert: bool = True  # its layers and embeddings are BERT's, by name and by what they do
    pooler: bool = False  # it has a layer that only next-sentence prediction trains, and can do without
    offset_positions: bool = False  # the first position is the one after the padding's id
    separators: int = 1  # between the texts of a pair: RoBERTa has <s> a </s></s> b </s>
    causal: bool = False
    padded: bool = False  # its attention is its own, and takes sequences in padded blocks
    fields: tuple[str, ...] = ()  # of its configuration that transformers reads and does not declare


ROBERTA = Kind(pooler=True, offset_positions=True, separators=2)
KINDS: dict[str, Kind] = {
    "bert": Kind(pooler=True),
    "ernie": Kind(pooler=True),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "electra": Kind(inputs=("embeddings", "embeddings_project"), as_bert=False),
    "distilbert": Kind(layers="transformer.layer", as_bert=False),
    "modernbert": Kind(layers="layers", last="final_norm", as_bert=False, fields=("global_attn_every_n_layers",)),
    "albert": Kind(layers=None, as_bert=False, pooler=True),
    "mpnet": Kind(layers=None, as_bert=False, pooler=True, offset_positions=True, separators=2, padded=True),
    "deberta-v2": Kind(
        layers=None,
        as_bert=False,
        padded=True,
        fields=(
            "attention_head_size",
            "conv_act",
            "conv_groups",
            "conv_kernel_size",
            "norm_rel_ebd",
            "position_buckets",
            "share_att_key",
        ),
    ),
    "gpt2": Kind(layers="h", inputs=("wte", "wpe", "drop"), last="ln_f", as_bert=False, causal=True),
}
BIDIRECTIONAL = tuple(name for name, kind in KINDS.items() if not kind.causal)
AS_BERT = tuple(name for name, kind in KINDS.items() if kind.as_bert)
CAUSAL = tuple(name for name, kind in KINDS.items() if kind.causal)
NOT_ARCHITECTURE = {"architectures", "dtype", "id2label", "label2id", "transformers_version", "_name_or_path"}
DROPOUTS = ("hidden_dropout_prob", "embd_pdrop", "resid_pdrop", "dropout", "embedding_dropout", "mlp_dropout")
DROPOUTS_OF_ATTENTION = ("attention_probs_dropout_prob", "attn_pdrop", "attention_dropout")
ACTIVATIONS = ("hidden_act", "activation", "hidden_activation")
EPSILONS = ("layer_norm_eps", "norm_eps")


def configured(architecture: Architecture, tokenizer: "Tokenizer", dropout: float) -> "PretrainedConfig":
    """The configuration of a model of this architecture for the tokenizer's vocabulary and special tokens.

    Raises UserError for a field that its model_type does not have, a wrong value, and a vocabulary that is too small.
    """
    ids = (tokenizer.padding_id, tokenizer.classification_id, tokenizer.separator_id)
    config = _read(architecture, tokenizer.vocabulary_size, ids)
    if config.vocab_size < tokenizer.vocabulary_size:
        raise UserError(
            f"the architecture has vectors for {config.vocab_size:,} tokens (vocab_size), the tokenizer has "
            f"{tokenizer.vocabulary_size:,} tokens: they are not of one checkpoint. Encode the corpus with the "
            "checkpoint's own tokenizer, or leave vocab_size out"
        )
    if config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"the architecture's width of {config.hidden_size} cannot be divided among {config.num_attention_heads} "
            "heads: give a width that is a multiple of the heads"
        )
    config.use_cache = False
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    for name in DROPOUTS_OF_ATTENTION:
        if hasattr(config, name):
            setattr(config, name, 0.0)  # with any, torch has no fast attention on the CPU
    return config


def architecture_of(config: "PretrainedConfig") -> Architecture:
    """What `configured` needs to make the same again."""
    known = type(config)().to_dict().keys() - NOT_ARCHITECTURE | set(KINDS[config.model_type].fields)
    said = {name: value for name, value in config.to_diff_dict().items() if name in known}
    return {"model_type": config.model_type, **said}


def shape_of(architecture: Architecture) -> tuple[int, int, int]:
    """Width, layers, heads."""
    config = _read(architecture, 1, (0, 0, 0))
    return config.hidden_size, config.num_hidden_layers, config.num_attention_heads


def first_position(config: "PretrainedConfig") -> int:
    """The number that the model gives to the first token of a sequence."""
    return int(config.pad_token_id) + 1 if KINDS[config.model_type].offset_positions else 0


def activation(config: "PretrainedConfig") -> str:
    """Its name, of the feed-forward layers."""
    return next(str(getattr(config, name)) for name in ACTIVATIONS if hasattr(config, name))


def norm_epsilon(config: "PretrainedConfig") -> float:
    """Of the norms; DistilBERT writes its own nowhere."""
    return next((float(getattr(config, name)) for name in EPSILONS if hasattr(config, name)), 1e-12)


def _read(architecture: Architecture, vocabulary_size: int, ids: tuple[int, int, int]) -> "PretrainedConfig":
    """`ids` of padding, begin and end take the place of any that the architecture has."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    kind = type(AutoConfig.for_model(architecture["model_type"]))
    own = KINDS[architecture["model_type"]].fields
    known = kind().to_dict().keys() | kind.attribute_map.keys() | set(own)
    if unknown := architecture.keys() - known:  # transformers takes any name and forgets it
        raise UserError(
            f"architecture: {architecture['model_type']} has no field {sorted(unknown)[0]!r}; its fields are "
            f"{', '.join(sorted(known - NOT_ARCHITECTURE))}"
        )
    try:
        padding, begin, end = ids
        special = {"pad_token_id": padding, "bos_token_id": begin, "eos_token_id": end}
        special |= {name: id for name, id in (("cls_token_id", begin), ("sep_token_id", end)) if name in known}
        return AutoConfig.for_model(**{"vocab_size": vocabulary_size, **architecture, **special})
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UserError(f"architecture: {' '.join(str(error).split())}") from error
