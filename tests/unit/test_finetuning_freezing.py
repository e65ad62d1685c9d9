"""What is frozen stays, what learns moves, at every moment of a run, whatever is frozen by which name."""

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.adapters import add_adapters, merge_adapters
from sslcore.finetuning.blocks import Block, table
from sslcore.finetuning.freezing import (
    ADAPTED,
    FREEZING,
    HEAD_SHARE,
    Moment,
    check,
    frozen,
    frozen_groups,
    rate_shares,
)
from sslcore.finetuning.learning import freeze
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.finetuning.training import ExampleBatches, TaskLoss, learner
from sslcore.models.encoder import Encoder
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.masked_lm import MaskedLM
from tests.checkpoints import KINDS, SENTENCES, made_checkpoint
from tests.topics import TOPICS, labelled, untrained
from tests.unit.conftest import topic_texts

GROUPS = [
    ("embeddings", ["words.weight", "norm.bias"]),
    ("layer 1", ["1.weight", "1.bias"]),
    ("layer 2", ["2.weight", "2.bias"]),
]
HALF = ("bfloat16", "float16")
START, END = Moment(0, 0.0), Moment(9, 0.99)
ALL = {name for _, names in GROUPS for name in names}


@pytest.mark.parametrize(
    ("freezing", "moment", "learns"),
    [
        ("none", START, ALL),
        ("embeddings", START, ALL - set(GROUPS[0][1])),
        ("first_1", START, set(GROUPS[2][1])),
        ("first_2", END, set()),
        ("encoder", END, set()),
        *((adapted, END, set()) for adapted in ADAPTED),
        ("biases", START, {"norm.bias", "1.bias", "2.bias"}),
        ("gradual", Moment(0, 0.3), set()),
        ("gradual", Moment(1, 0.4), set(GROUPS[2][1])),
        ("gradual", Moment(2, 0.6), set(GROUPS[2][1]) | set(GROUPS[1][1])),
        ("gradual", Moment(5, 0.9), ALL),
        ("two_stage", Moment(0, HEAD_SHARE - 0.01), set()),
        ("two_stage", Moment(0, HEAD_SHARE), ALL),
    ],
)
def test_a_policy_says_what_learns_at_a_moment(freezing: str, moment: Moment, learns: set[str]) -> None:
    assert ALL - frozen(freezing, GROUPS, moment) == learns


@pytest.mark.parametrize("freezing", [*FREEZING, "first_1"])
def test_nothing_is_frozen_again(freezing: str) -> None:
    moments = [Moment(step // 3, step / 12) for step in range(12)]
    sets = [frozen(freezing, GROUPS, moment) for moment in moments]
    assert all(later <= earlier for earlier, later in pairwise(sets))


def test_groups_frozen_without_a_gap_from_the_input_are_counted() -> None:
    assert frozen_groups(GROUPS, frozen("none", GROUPS, START)) == 0
    assert frozen_groups(GROUPS, frozen("first_1", GROUPS, START)) == 2
    assert frozen_groups(GROUPS, frozen("encoder", GROUPS, START)) == 3
    assert frozen_groups(GROUPS, frozen("biases", GROUPS, START)) == 0
    assert frozen_groups(GROUPS, frozenset(GROUPS[1][1])) == 0


def test_rates_fall_from_layer_to_layer_towards_the_input() -> None:
    shares = rate_shares(GROUPS, 0.5)
    assert (shares["2.weight"], shares["1.bias"], shares["words.weight"]) == (1.0, 0.5, 0.25)


@pytest.mark.parametrize("name", ["first_0", "first_", "first", "last_2", "bitfit", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ValidationError, match=r"match pattern .*none\|embeddings\|first_"):
        FineTuning(freezing=name)


def test_what_cannot_be_frozen_is_the_users_mistake_and_names_the_groups() -> None:
    with pytest.raises(UserError, match=r"first_3: the encoder has 2 layers .* embeddings, layer 1, layer 2"):
        check("first_3", GROUPS)
    check("first_2", GROUPS)
    texts, labels = topic_texts(40, seed=0)
    words = untrained(texts)
    train = labelled(words, texts, labels)
    for freezing, message in (
        ("biases", "no biases, .* vectors"),
        ("first_1", "has 0 layers"),
        *((adapted, f"{adapted} .* no attention") for adapted in ADAPTED),
    ):
        with pytest.raises(UserError, match=message):
            fine_tune(Classification(), words, train, train, FineTuning(freezing=freezing), labels=TOPICS, seed=0)


@pytest.fixture(scope="module")
def task() -> tuple[Encoder, LabelledTexts]:
    texts, labels = topic_texts(64, seed=0)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=64))
    return encoder, labelled(encoder, texts, labels)


Task = tuple[Encoder, LabelledTexts]


def tuned(task: Task, freezing: str, **fields: object) -> FineTunedModel:
    encoder, train = task
    config = FineTuning.model_validate(
        {"freezing": freezing, "epochs": 3, "minimum_steps": 3, "batch_size": 16, **fields}
    )
    nothing = train.take(np.arange(0))  # the last weights are kept
    return fine_tune(Classification(), encoder, train, nothing, config, labels=TOPICS, seed=1)


def moved(task: Task, model: FineTunedModel) -> set[str]:
    before = dict(task[0].network.named_parameters())
    return {name for name, p in model.network.encoder.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("freezing", ["none", "embeddings", "first_1", "encoder", "biases", "gradual", "two_stage"])
def test_exactly_what_may_learn_has_moved_and_is_counted(task: Task, freezing: str) -> None:
    groups = task[0].layer_groups()
    names = {name for _, own in groups for name in own}
    model = tuned(task, freezing, epochs=2)  # of gradual the top layer learns in the second epoch
    assert model.training.steps == 8
    learns = names - frozen(freezing, groups, Moment(1, 0.9))
    assert moved(task, model) == learns
    sizes = {name: parameter.numel() for name, parameter in task[0].network.named_parameters()}
    blocks = {block.name: block for block in model.training.blocks}
    for group, own in groups:
        assert blocks[group].total == sum(sizes[name] for name in own)
        assert blocks[group].trainable == sum(sizes[name] for name in own if name in learns)
    assert model.training.trainable_parameters == sum(sizes[name] for name in learns) + blocks["head"].total


def test_gradual_unfreezing_moves_a_layer_from_its_epoch_on(task: Task) -> None:
    """In the first epoch the head alone, in the second the top layer with it, in the third the one below."""
    encoder, _ = task
    top, below = (list(own) for _, own in reversed(encoder.layer_groups()[-2:]))
    assert moved(task, tuned(task, "gradual", epochs=1)) == set()
    assert moved(task, tuned(task, "gradual", epochs=2)) == set(top)
    assert moved(task, tuned(task, "gradual", epochs=3)) == set(top) | set(below)


def test_what_never_learns_is_not_in_the_optimiser_and_what_will_is(task: Task) -> None:
    encoder, _ = task
    groups = encoder.layer_groups()
    for freezing in ("encoder", "embeddings", "two_stage"):
        network = Classification().network(encoder, TOPICS)
        network.encoder = Encoder.fresh(encoder, torch.Generator().manual_seed(1)).network
        freeze(network, frozen(freezing, groups, END))
        optimizer = learner(network, FineTuning(freezing=freezing), groups, "class", 0, set())._optimizers[0]
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        of_encoder = {name for name, p in network.encoder.named_parameters() if id(p) in held}
        assert of_encoder == {n for _, own in groups for n in own} - frozen(freezing, groups, END), freezing
        assert all(id(parameter) in held for parameter in network.head_parameters())


def test_each_layer_has_its_rate(task: Task) -> None:
    encoder, _ = task
    network = Classification().network(encoder, TOPICS)
    config = FineTuning(layer_decay=0.5, learning_rate=1e-3, head_learning_rate=1e-2)
    optimizer = learner(network, config, encoder.layer_groups(), "class", 0, set())._optimizers[0]
    shares = {id(p): group["share_of_rate"] for group in optimizer.param_groups for p in group["params"]}
    top, below, inputs = (
        {shares[id(network.encoder.get_parameter(name))] for name in own} for _, own in reversed(encoder.layer_groups())
    )
    assert (top, below, inputs) == ({1.0}, {0.5}, {0.25})
    assert {shares[id(p)] for p in network.head_parameters()} == {10.0}


@pytest.mark.parametrize("objective", [MaskedLM(size="tiny", maximum_tokens=32), CausalLM(size="tiny")])
def test_dropout_rests_where_nothing_learns(objective: object) -> None:
    texts, labels = topic_texts(16, seed=0)
    encoder = untrained(texts, objective)  # type: ignore[arg-type]
    train = labelled(encoder, texts, labels)
    groups = encoder.layer_groups()
    network = Classification().network(encoder, TOPICS)
    policy = [frozen("gradual", groups, Moment(epoch, 0)) for epoch in range(4)]
    loss = TaskLoss(network, 0.1, 0, lambda moment: policy[moment.epoch])
    batches = ExampleBatches(train, 16, 4, seed=0)
    for epoch in range(4):
        loss.train()
        loss(batches[epoch])  # an epoch a step
        drops = [m.training for n, m in network.encoder.named_modules() if isinstance(m, torch.nn.Dropout)]
        # Every layer has as many, the input one; those that rest come first.
        layers = len(groups) - 1
        each = (len(drops) - 1) // layers
        awake = each * min(epoch, layers) + (epoch > layers)
        assert drops == sorted(drops)
        assert sum(drops) == awake, epoch


@pytest.mark.parametrize(
    "how",
    [*({"freezing": name} for name in ("gradual", "two_stage", *ADAPTED)), *({"precision": p} for p in HALF)],
    ids=str,
)
def test_a_killed_run_ends_as_an_unbroken_one(
    task: Task, how: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sslcore.training import checkpoints

    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    encoder, train = task
    config = FineTuning(epochs=3, minimum_steps=3, batch_size=16, patience=99, **how)  # type: ignore[arg-type]

    def run(killed_at: int | None = None) -> FineTunedModel:
        def watch(step: int, metrics: dict[str, float]) -> None:
            if step == killed_at:
                raise KeyboardInterrupt

        return fine_tune(
            Classification(), encoder, train, train, config, labels=TOPICS, seed=1,
            checkpoints=tmp_path, on_metrics=watch,
        )  # fmt: skip

    unbroken = fine_tune(Classification(), encoder, train, train, config, labels=TOPICS, seed=1)
    for step in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            run(step)
    assert list(tmp_path.iterdir())
    again = run()
    assert again.curve == unbroken.curve
    for name, tensor in unbroken.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


@pytest.mark.parametrize("freezing", ADAPTED)
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_change_nothing_at_first_learn_and_are_merged(kind: str, freezing: str, tmp_path: Path) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    before = encoder.encode(SENTENCES)
    names = list(encoder.network.state_dict())
    add_adapters(encoder.network, freezing, FineTuning().lora, seed=0)
    np.testing.assert_allclose(encoder.encode(SENTENCES), before, atol=1e-6)
    adapters = {n: p for n, p in encoder.network.named_parameters() if p.requires_grad}
    tensors = {"lora": 2, "dora": 3, "ia3": 1}[freezing]
    modules = (3 if freezing == "ia3" else 4) if kind not in ("gpt2", "modernbert") else 2  # q, k and v come of one
    layers = 1 if kind == "albert" else 2  # ALBERT's two are the same
    assert len(adapters) == layers * modules * tensors
    with torch.no_grad():
        for number, parameter in enumerate(adapters.values()):
            parameter.add_(torch.full_like(parameter, 0.01 * (number + 1)))
    after = encoder.encode(SENTENCES)
    assert np.abs(after - before).max() > 1e-3
    merge_adapters(encoder.network)
    assert list(encoder.network.state_dict()) == names
    np.testing.assert_allclose(encoder.encode(SENTENCES), after, atol=1e-5)


def with_learnt_adapters(encoder: Encoder, freezing: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What has been learnt, made up here, by name; and the encoder's own parameters after it was merged."""
    network = copy.deepcopy(encoder.network)
    add_adapters(network, freezing, FineTuning().lora, seed=0)
    generator = torch.Generator().manual_seed(0)
    learnt = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for parameter in learnt.values():
            parameter.uniform_(0.5, 1.5, generator=generator)
    learnt = {name.replace(".default", ""): parameter.detach().clone() for name, parameter in learnt.items()}
    merge_adapters(network)
    return learnt, dict(network.named_parameters())


def test_dora_learns_the_lengths_of_rows_apart_from_their_directions(task: Task) -> None:
    encoder, _ = task
    learnt, merged = with_learnt_adapters(encoder, "dora")
    name = "model.encoder.layer.0.attention.self.query"
    b, a, lengths = (learnt[f"{name}.lora_{part}.weight"] for part in ("B", "A", "magnitude_vector"))
    moved = encoder.network.get_parameter(f"{name}.weight") + 16 / 8 * b @ a
    expected = lengths[:, None] * moved / moved.norm(dim=1, keepdim=True)
    torch.testing.assert_close(merged[f"{name}.weight"], expected)


def test_ia3_scales_keys_values_and_what_the_activation_gives(task: Task) -> None:
    encoder, _ = task
    learnt, merged = with_learnt_adapters(encoder, "ia3")
    layer = "model.encoder.layer.0"
    for name, made in ((f"{layer}.attention.self.key", True), (f"{layer}.output.dense", False)):
        scale = learnt[f"{name}.ia3_l"].flatten()
        weight, bias = (encoder.network.get_parameter(f"{name}.{part}") for part in ("weight", "bias"))
        torch.testing.assert_close(merged[f"{name}.weight"], weight * (scale[:, None] if made else scale))
        torch.testing.assert_close(merged[f"{name}.bias"], bias * scale if made else bias)
    assert {name.split(".")[-2] for name in learnt} == {"key", "value", "dense"}
    assert not any("attention.output" in name for name in learnt)


def test_scales_are_not_decayed(task: Task) -> None:
    """Towards zero, that is: they begin at one. Nor are the lengths of rows."""
    encoder, _ = task
    for freezing, decayed in (("lora", {"A", "B"}), ("dora", {"A", "B"}), ("ia3", set())):
        network = Classification().network(encoder, TOPICS)
        network.encoder = copy.deepcopy(encoder.network)
        add_adapters(network.encoder, freezing, FineTuning().lora, seed=0)
        config = FineTuning(freezing=freezing, weight_decay=0.5)
        optimizer = learner(network, config, encoder.layer_groups(), "class", 0, set())._optimizers[0]
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        learning = [(name, p) for name, p in network.encoder.named_parameters() if p.requires_grad]
        assert {name.split(".")[-3][-1] for name, p in learning if decay[id(p)]} == decayed, freezing


def test_a_model_with_adapters_learns_and_is_saved_as_any_other(task: Task, tmp_path: Path) -> None:
    encoder, _ = task
    model = tuned(task, "lora", epochs=10, lora={"rank": 4, "alpha": 8}, learning_rate=1e-2)
    sizes = {n: p.shape for n, p in encoder.network.named_parameters()}
    projections = encoder.network.attention_projections()
    assert moved(task, model) == {f"{name}.weight" for name in projections}
    layer_1 = [f"{name}.weight" for name in projections if ".layer.0." in name]
    blocks = {block.name: block for block in model.training.blocks}
    assert blocks["layer 1"].trainable == sum(4 * sum(sizes[name]) for name in layer_1)
    whole = sum(sizes[n].numel() for n in dict(encoder.layer_groups())["layer 1"])
    assert blocks["layer 1"].total == whole + blocks["layer 1"].trainable
    assert blocks["embeddings"].trainable == 0
    losses = [value for _, name, value in model.curve if name == "loss"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    model.save(tmp_path)
    texts, _ = topic_texts(8, seed=2)
    np.testing.assert_array_equal(FineTunedModel.load(tmp_path).logits(texts), model.logits(texts))


def test_the_table_adds_up() -> None:
    rows = [Block(name="embeddings", trainable=0, total=1000), Block(name="head", trainable=24, total=24)]
    assert table(rows).splitlines() == [
        "block       trainable  total",
        "embeddings          0  1,000    0.0 %",
        "head               24     24  100.0 %",
        "all                24  1,024    2.3 %",
    ]
