"""Several objectives at once: the sum of what each says alone, in whole steps, in parts and in processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

import sslcore
from flows.job import parsed
from sslcore.errors import UserError
from sslcore.evaluation.figures import curve_figures
from sslcore.models.encoder import Encoder
from sslcore.objectives._combined import WeightedSum
from sslcore.objectives.combined import Combined
from sslcore.objectives.members import OBJECTIVES, SHARED
from sslcore.objectives.registry import Objective, objective_kinds, parse_objective
from sslcore.objectives.text_views import TextBatch
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import derive_seed, torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.learner import Metrics
from sslcore.training.pretraining import write_encoder
from tasks.tracking import NOT_IN_A_NAME

TINY: dict[str, Any] = {
    "size": "tiny", "dimensions": 16, "layers": 1, "maximum_tokens": 32, "batch_tokens": 512, "epochs": 2,
    "dropout": 1e-9,
}  # fmt: skip
MEMBERS: list[dict[str, Any]] = [
    {"kind": "masked_lm", "weight": 0.7, "masked_share": 0.3},
    {"kind": "sim_cse", "weight": 0.1, "batch_size": 24, "head": "mlp"},
    {"kind": "next_sentence", "weight": 2.0},
    {"kind": "tsdae", "batch_size": 24},
]


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    """120 documents of 6 to 63 tokens."""
    lists = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 50, 6 + 3 * (i % 20))] for i in range(120)]
    return EncodedCorpus.from_token_lists(lists, minimum_count=1)


def combined(members: list[dict[str, Any]] = MEMBERS, **fields: Any) -> Combined:
    return Combined(**{**TINY, **fields}, members=members)


def loss_of(objective: Combined, corpus: EncodedCorpus) -> Any:
    network = objective.network(corpus.tokenizer, torch_generator(0))
    loss = objective.loss(Encoder(corpus.tokenizer, network, {}, 0), torch_generator(1))
    assert isinstance(loss, WeightedSum)
    return loss


def alone(member: dict[str, Any], loss: WeightedSum, corpus: EncodedCorpus, step: int) -> tuple[Any, Any]:
    """The objective of a member as one uses it without others: its loss with the same weights, and its batch."""
    fields = {**TINY, **{name: value for name, value in member.items() if name != "weight"}}
    known = objective_kinds()[member["kind"]].model_fields
    objective: Any = parse_objective({name: value for name, value in fields.items() if name in known})
    network = objective.network(corpus.tokenizer, torch_generator(3))
    module = objective.loss(Encoder(corpus.tokenizer, network, {}, 0), torch_generator(4))
    module.load_state_dict(loss.losses[member["kind"]].state_dict())
    return module, objective.batches(corpus, derive_seed(5, member["kind"]))[step]


def test_loss_and_gradient_are_the_weighted_sums_of_the_members_own(corpus: EncodedCorpus) -> None:
    objective = combined()
    loss = loss_of(objective, corpus)
    said = loss(objective.batches(corpus, 5)[3])
    said["loss"].backward()
    total, gradients = 0.0, 0.0
    for member in MEMBERS:
        module, batch = alone(member, loss, corpus, 3)
        own = module(batch)
        for name, value in own.items():
            assert said[f"{member['kind']}.{name}"].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)
        own["loss"].backward()
        weight = member.get("weight", 1.0)
        total += weight * own["loss"].item()
        gradients += weight * torch.cat([p.grad.flatten() for p in module.encoder.parameters()])
    assert said["loss"].item() == pytest.approx(total, rel=1e-6)
    ours = torch.cat([p.grad.flatten() for p in loss.losses["tsdae"].encoder.parameters()])
    torch.testing.assert_close(ours, gradients)
    assert len({id(member.encoder) for member in loss.losses.values()}) == 1


def test_parts_together_say_what_the_step_says_and_compared_texts_stay_together(corpus: EncodedCorpus) -> None:
    objective = combined()
    loss, batch = loss_of(objective, corpus), objective.batches(corpus, 5)[0]
    whole = loss(batch)
    parts = batch.split(3)
    assert [[member is None for member in part.members] for part in parts[:2]] == [[False, True, False, False]] * 2
    assert not any(member is None for member in parts[-1].members)
    assert parts[-1].members[1] is batch.members[1]
    said = [loss(part) for part in parts]
    of_the_whole_batch = ("uniformity", "effective_rank", "dead_units")  # of texts beside each other: no means
    for name, value in whole.items():
        if name.split(".")[-1] not in of_the_whole_batch:
            summed = sum(part[name].item() for part in said if name in part)
            assert summed == pytest.approx(value.item(), rel=1e-5, abs=1e-6), name


def test_shares_together_say_what_the_step_says(corpus: EncodedCorpus) -> None:
    """Of unlike sizes, of each of two processes in two parts; texts that are compared need the processes themselves."""
    objective = combined([MEMBERS[0], MEMBERS[2]])
    loss, batch = loss_of(objective, corpus), objective.batches(corpus, 5)[0]
    parts = [part for rank in range(3) for part in batch.share(rank, 3).split(2)]
    assert len(parts) == 6
    shares = np.array([part.shares for part in parts])
    assert shares.sum(axis=0) == pytest.approx([1, 1])
    assert not np.allclose(shares[:, 0], shares[:, 1])  # each member's mean has weights of its own
    said = [loss(part) for part in parts]
    for name, value in loss(batch).items():
        assert sum(part[name].item() for part in said) == pytest.approx(value.item(), rel=1e-5, abs=1e-6), name


def test_fewer_texts_than_parts_and_processes_still_have_all_members_in_the_last(corpus: EncodedCorpus) -> None:
    objective = combined([{"kind": "masked_lm"}, {"kind": "tsdae", "batch_size": 4}])
    batch = objective.batches(corpus, 5)[0]
    part = batch.share(3, 5)  # of the 4 texts of tsdae the fourth alone
    assert [len(p.members) - p.members.count(None) for p in part.split(3)] == [1, 1, 2]
    none = batch._replace(members=(batch.members[0], batch.members[1].share(4, 5))).split(2)
    assert none[-1].shares[1] == 0


def test_the_member_with_the_most_steps_leads_and_the_others_go_along(corpus: EncodedCorpus) -> None:
    byol = {"kind": "byol", "batch_size": 17}
    objective = combined([{"kind": "masked_lm"}, {"kind": "sim_cse", "batch_size": 4}, byol])
    batches = objective.batches(corpus, 5)
    assert 60 % (len(objective.objectives[2].batches(corpus, 5)) // 2)  # the run ends within an epoch of BYOL's
    assert len(batches) == 2 * 30  # of 4 sentences each, twice over the corpus
    made = [batches[step] for step in range(len(batches))]
    assert sum(batch.tokens for batch in made) == 2 * corpus.tokens
    assert [batch.begin for batch in made] == pytest.approx(np.arange(60) / 60)
    assert made[-1].end == 1
    masked = [batch.members[0] for batch in made]
    passes = sum(batch.tokens for batch in masked) / corpus.tokens
    assert passes == pytest.approx(60 / 9, abs=0.05)  # 9 batches of masked texts in an epoch
    assert len({batch.ids.tobytes() for batch in masked}) == 60  # other masks each time
    first = np.concatenate([np.where(b.targets < 0, b.ids, b.targets) for b in masked[:9]])
    assert sorted(first[first >= 5]) == sorted(corpus.ids)
    for batch in made:
        assert isinstance(batch.members[2], TextBatch)
        assert (batch.members[2].begin, batch.members[2].end) == (batch.begin, batch.end)


def test_a_step_follows_from_the_seed_and_its_number(corpus: EncodedCorpus) -> None:
    def ids(seed: int, step: int) -> list[list[int]]:
        return [member.ids.tolist() for member in combined().batches(corpus, seed)[step].members]

    assert ids(5, 7) == ids(5, 7)
    assert all(a != b for a, b in zip(ids(5, 7), ids(6, 7), strict=True))


def test_training_in_parts_is_training_at_once(corpus: EncodedCorpus) -> None:
    def trained(parts: int) -> np.ndarray:
        objective = combined(parts=parts, learning_rate=1e-4, batch_tokens=2048)
        return sslcore.pretrain(objective, corpus, seed=0, workers=1).encode(["w1 w2 w3", "w9"])

    np.testing.assert_allclose(trained(3), trained(1), atol=1e-4)


def test_what_a_member_remembers_is_in_the_state(corpus: EncodedCorpus) -> None:
    loss = loss_of(combined([{"kind": "moco", "queue": 64}, {"kind": "byol"}]), corpus)
    names = set(loss.state_dict())
    assert {"losses.moco.queue", "losses.moco.enqueued"} < names
    assert any(name.startswith("losses.byol.slow_projector.") for name in names)


def test_training_goes_on_with_the_heads_of_its_members(corpus: EncodedCorpus) -> None:
    encoder = sslcore.pretrain(combined(epochs=1), corpus, seed=0, workers=1)
    going_on = combined().going_on_from(encoder)
    assert all(objective._goes_on for objective in going_on.objectives)
    loss: Any = going_on.loss(encoder, torch_generator(0))
    bias = loss.losses["masked_lm"].head.bias
    assert torch.equal(bias, encoder.heads["masked_lm.bias"])
    assert bias.any()


def test_every_loss_has_its_curve(corpus: EncodedCorpus, tmp_path: Path) -> None:
    write_encoder(combined(), corpus, tmp_path, seed=0, workers=1)
    metrics = set(pd.read_parquet(tmp_path / "curve.parquet")["metric"])
    assert {"loss", "masked_lm.loss", "masked_lm.accuracy", "sim_cse.loss", "next_sentence.order_loss"} < metrics
    assert not [name for name in metrics if NOT_IN_A_NAME.search(name)]  # MLflow takes them as they are
    titles = {axes.get_title(loc="left") for axes in curve_figures(tmp_path)["curve.svg"].axes}
    assert {"loss", "masked lm.loss", "sim cse.loss", "tsdae.loss"} < titles
    encoder = Encoder.load(tmp_path)
    assert encoder.fresh(torch_generator(0)).dimensions == encoder.dimensions == 16


def test_all_that_see_both_sides_of_a_token_learn_together(corpus: EncodedCorpus) -> None:
    members = [{"kind": kind} for kind in OBJECTIVES]
    losses: list[Metrics] = []
    objective = combined(members, dropout=0.1, parts=2)
    sslcore.pretrain(objective, corpus, seed=0, workers=2, on_metrics=lambda step, m: losses.append(m))
    assert {f"{kind}.loss" for kind in OBJECTIVES} < set(losses[0])
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_members_are_all_objectives_of_the_same_model() -> None:
    """One that is added is named among them, or here with its reason."""
    others = {"causal_lm", "combined", "s4l", "label_augmentation"}  # another model; no tasks of raw text alone
    assert set(OBJECTIVES) == {k for k, m in objective_kinds().items() if issubclass(m, TransformerObjective)} - others
    assert {"size", "epochs", "dropout", "learning_rate", "batch_tokens"} < SHARED


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([{"kind": "masked_lm"}, {"kind": "causal_lm"}], "members.1: .*no token of its model sees those after it"),
        ([{"kind": "masked_lm"}], "members: .*at least 2 items"),
        ([{"kind": "masked_lm"}] * 2, "masked_lm is there twice.* give it once"),
        ([{"kind": "masked_lm"}, {"kind": "sim_cse", "size": "tiny"}], "size is of the one encoder.* beside sim_cse"),
        ([{"kind": "masked_lm"}, {"kind": "skip_gram"}], "'skip_gram' .*expected tags: 'masked_lm'"),
        ([{"kind": "masked_lm"}, {"kind": "combined"}], "'combined' .*expected tags"),
        ([{"kind": "masked_lm", "weight": 0}, {"kind": "byol"}], "members.0.masked_lm.weight: .*greater than 0"),
        ([{"kind": "masked_lm", "temperature": 1}, {"kind": "byol"}], "members.0.masked_lm.temperature"),
        ([{"kind": "masked_lm"}, {"kind": "moco", "queue": 8}], "moco: queue is 8, less than batch_size 64"),
    ],
)
def test_what_cannot_be_combined_is_refused(members: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_objective({"kind": "combined", **TINY, "members": members})


def test_what_stands_beside_the_members_must_suit_each_of_them() -> None:
    with pytest.raises(ValidationError, match="sim_cse: dropout: Input should be greater than 0"):
        combined(dropout=0)


def test_a_corpus_that_one_member_cannot_learn_from_is_refused(corpus: EncodedCorpus) -> None:
    short = EncodedCorpus.from_token_lists([["a", "b"]] * 20)
    with pytest.raises(UserError, match="sim_cse needs 2 texts or more"):
        sslcore.pretrain(combined(), short, seed=0)


def test_a_form_and_a_command_line_change_one_member() -> None:
    settings = ("members.1.weight=0.5", "members.1.temperature=0.1", "size=tiny")
    objective = parsed(Objective, {"kind": "combined"}, settings, "pretrain")
    assert [m.model_dump(exclude_unset=True) for m in objective.members][1]["temperature"] == 0.1
    assert (objective.members[1].weight, objective.objectives[1].size) == (0.5, "tiny")
    another = parsed(Objective, objective.model_dump(mode="json"), ("members.1.kind=moco",), "pretrain")
    assert [member.kind for member in another.members] == ["masked_lm", "moco"]
    assert another.objectives[1].queue == 4096


DESCEND = """
import json, os
import numpy as np, sslcore, torch
from sslcore.objectives.registry import parse_objective
from sslcore.tokenization.encoding import EncodedCorpus

def descend(objective):
    lists = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 30, 6 + i % 30)] for i in range(75)]
    corpus = EncodedCorpus.from_token_lists(lists)
    corpus.labels, corpus.label_names = (np.arange(75) % 5 - 2).clip(-1).astype(np.int32), ("a", "b", "c")
    said = []
    encoder = sslcore.pretrain(
        parse_objective(objective), corpus, seed=0, workers=1, on_metrics=lambda step, metrics: said.append(metrics)
    )
    return said, torch.cat([p.flatten() for p in encoder.network.parameters()]).detach().tolist()

if "RANK" in os.environ:
    said = {name: descend(objective) for name, objective in json.load(open("runs.json")).items()}
    json.dump(said, open("said-" + os.environ["RANK"], "w"))
"""
SMALL = {**TINY, "epochs": 1, "maximum_tokens": 16, "learning_rate": 1e-3, "parts": 2}
CONTRAST = [{"kind": "moco", "queue": 20, "batch_size": 13}, {"kind": "sim_siam", "batch_size": 13, "views": "dropout"}]
RUNS = {
    "members": {"kind": "combined", **SMALL, "members": [*MEMBERS, *CONTRAST]},
    "fewer texts than parts": {  # shares of 3 and 2: the second process begins with masked tokens alone
        **{"kind": "combined", **SMALL, "parts": 3},
        "members": [{"kind": "tsdae", "batch_size": 5}, {"kind": "masked_lm"}],
    },
    "labels": {"kind": "s4l", **SMALL, "labelled_batch_size": 11},
    "a label a step": {"kind": "s4l", **SMALL, "labelled_batch_size": 1},  # so the second process has none
}


def test_two_processes_descend_as_one_does(tmp_path: Path) -> None:
    """Each member's mean is over both, though their shares of it differ; batches are computed in parts."""
    (tmp_path / "train.py").write_text(DESCEND)
    (tmp_path / "runs.json").write_text(json.dumps(RUNS))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here: dict[str, Any] = {}
    exec(DESCEND, here)
    two, other = (json.loads((tmp_path / f"said-{rank}").read_text()) for rank in range(2))
    assert two == other
    for name, objective in RUNS.items():
        one, weights = here["descend"](objective)
        for ours, theirs in zip(one, two[name][0], strict=True):
            assert ours.keys() == theirs.keys()
            for metric, value in ours.items():
                if not metric.endswith(("uniformity", "effective_rank", "dead_units", "alignment")):
                    assert theirs[metric] == pytest.approx(value, rel=2e-3, abs=2e-4), (name, metric)
        assert np.mean(np.abs(np.array(weights) - two[name][1])) < 2e-4, name


def test_without_a_rate_the_member_that_bears_least_says_it() -> None:
    size = sslcore.MaskedLM(size="tiny").peak_rate
    alone = sslcore.SimSiam(size="tiny").peak_rate
    assert 0 < alone < size
    assert combined(size="tiny").peak_rate == size
    both = Combined(size="tiny", members=[{"kind": "masked_lm"}, {"kind": "sim_siam"}])
    assert both.peak_rate == sslcore.S4L(size="tiny", pretext={"kind": "sim_siam"}).peak_rate == alone
    assert sslcore.SimSiam(size="tiny", learning_rate=0.01).peak_rate == 0.01
    assert (
        sslcore.SimSiam(architecture={"model_type": "bert", "hidden_size": 128, "num_attention_heads": 2}).peak_rate
        == alone
    )
