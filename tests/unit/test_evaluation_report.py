"""The whole evaluation on corpora whose answer is known, and its report."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

import sslcore
from sslcore.contracts import check_folder
from sslcore.corpus.shards import Corpus
from sslcore.errors import UserError
from sslcore.evaluation import Evaluation, write_evaluation_report
from sslcore.evaluation.figures import report_figures
from sslcore.evaluation.report import SCREEN_LINES, EvaluationReport
from sslcore.finetuning import FineTuning
from sslcore.models.encoder import Encoder
from sslcore.randomness import torch_generator
from sslcore.tokenization import EncodedCorpus
from sslcore.training.probing import Probed
from tests.unit.conftest import TOPICS, topic_texts

QUICK = Evaluation(
    labels_per_class=(2, 8, -1),
    seeds=(0, 1, 2),
    resamples=200,
    finetuning=FineTuning(epochs=1, minimum_steps=30),
    minimum_test_rows=60,
)
Splits = dict[str, tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Skip-gram on many texts about the topics, without their labels."""
    texts, _ = topic_texts(4000, seed=10)
    objective = sslcore.SkipGram(dimensions=32, epochs=30)
    return sslcore.pretrain(objective, (text.split() for text in texts), seed=0, workers=1)


@pytest.fixture
def splits() -> Splits:
    return {
        name: topic_texts(rows, seed)
        for seed, (name, rows) in enumerate((("train", 320), ("validation", 120), ("test", 200)))
    }


def evaluated(
    corpus: Corpus, encoder: Encoder, folder: Path, config: Evaluation = QUICK, **options: int
) -> EvaluationReport:
    folder.mkdir()
    write_evaluation_report(
        config, corpus, {"skip_gram": encoder}, folder, pretraining_seconds={"skip_gram": 12.0}, seed=0, **options
    )
    check_folder("evaluation_report", folder)
    return EvaluationReport.load(folder)


def test_pretraining_that_knows_the_topics_is_worth_it(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    report = evaluated(corpus_of(**splits), encoder, tmp_path / "report")
    assert report.verdict.answer == "worth it"
    assert report.chosen_encoder == "skip_gram"
    assert report.verdict.sentence.startswith("Worth it: skip_gram, ")
    assert "12 s" in report.verdict.sentence
    probe, scratch, tfidf = (
        report.score(name, 2).macro_f1
        for name in ("skip_gram, frozen + linear probe", "skip_gram, from scratch", "TF-IDF + logistic regression")
    )
    assert probe > tfidf + 0.1
    assert probe > scratch + 0.1

    # every score of the table is what scikit-learn says of the predictions that were kept
    predictions = pq.read_table(tmp_path / "report" / "predictions.parquet").to_pandas()
    assert len(predictions) == len(report.cells) * 200
    for (contender, budget), rows in predictions.groupby(["contender", "labels_per_class"]):
        f1 = [f1_score(run["label"], run["prediction"], average="macro") for _, run in rows.groupby("seed")]
        score = report.score(contender, budget)
        assert score.macro_f1 == pytest.approx(np.mean(f1))
        assert score.low <= score.macro_f1 <= score.high
        assert (
            score.seeds
            == len(f1)
            == (1 if budget == -1 and "scratch" not in contender and "tuned" not in contender else 3)
        )
        logits = np.stack(rows["logits"].to_list())
        assert [report.labels[i] for i in logits.argmax(axis=1)] == rows["prediction"].tolist()
    assert {cell.train_labels for cell in report.cells} == {8, 32, 320}
    assert {(cell.train_labels, cell.validation_labels) for cell in report.cells} == {(8, 8), (32, 32), (320, 120)}
    assert all(cell.seconds > 0 and cell.steps > 0 and cell.setting for cell in report.cells)
    assert report.confusion is not None
    assert np.array(report.confusion.rows).sum() == 200

    screen, page = report.screen(), report.markdown()
    assert len(screen) <= SCREEN_LINES
    assert screen[-1] == report.verdict.sentence
    for contender in report.contenders:
        assert any(contender.name in line for line in screen)
        assert contender.name in page
    assert "| labels per class | 2 | 8 | all (80) |" in page
    assert set(report_figures(tmp_path / "report")) == {"label_efficiency.svg", "confusion.svg"}


def test_an_encoder_that_a_probe_chose_is_shown_with_its_probes_and_with_what_that_means(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    probes = tuple(
        Probed(step=step, loss=loss, score=score, error=0.02)
        for step, loss, score in ((10, 3.0, 0.5), (20, 2.0, 0.8), (30, 1.5, 0.7))
    )
    folder = tmp_path / "report"
    folder.mkdir()
    config = QUICK.model_copy(update={"labels_per_class": (2,), "contenders": ("tfidf", "probe")})
    options = {"pretraining_seconds": {"skip_gram": 12.0}, "seed": 0, "probes": {"skip_gram": probes, "other": ()}}
    write_evaluation_report(config, corpus_of(**splits), {"skip_gram": encoder}, folder, **options)  # type: ignore[arg-type]
    report = EvaluationReport.load(folder)
    assert report.probes == {"skip_gram": probes}
    assert "- skip_gram: of 3 probes that of step 20 is the best, macro-F1 0.800 ± 0.020" in report.markdown()
    assert "Spearman's ρ of pretext loss and probe -0.50" in report.markdown()
    assert any(note.startswith("skip_gram was chosen among its steps by a probe on labels") for note in report.notes)
    assert not any("other" in note.split() for note in report.notes)
    assert "pretext_and_probe.svg" in report_figures(folder)


def test_labels_that_no_text_explains_are_not_worth_it_or_cannot_be_told(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    random = {name: (texts, generator.permutation(labels).tolist()) for name, (texts, labels) in splits.items()}
    report = evaluated(corpus_of(**random), encoder, tmp_path / "report")
    assert report.verdict.answer in ("not worth it", "cannot tell")
    assert report.verdict.sentence.lower().startswith(report.verdict.answer)


def test_cells_do_not_depend_on_their_order_or_number_of_workers(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    corpus = corpus_of(**splits)
    many = QUICK.model_copy(update={"labels_per_class": (2, 8), "seeds": (0, 2)})
    fewer = QUICK.model_copy(update={"labels_per_class": (8,), "seeds": (2,), "contenders": ("fine_tuned", "tfidf")})
    alone = evaluated(corpus, encoder, tmp_path / "alone", many, workers=1)
    among = evaluated(corpus, encoder, tmp_path / "among", fewer, workers=2)
    beside = evaluated(corpus, encoder, tmp_path / "beside", many, workers=2)
    scores = {(c.contender, c.labels_per_class, c.seed): c.macro_f1 for c in alone.cells}
    assert {(c.contender, c.labels_per_class, c.seed): c.macro_f1 for c in beside.cells} == scores
    for cell in among.cells:
        assert cell.macro_f1 == scores[cell.contender, cell.labels_per_class, cell.seed]
    assert alone.verdict.gain == beside.verdict.gain
    assert alone.verdict.interval == beside.verdict.interval


def test_without_labels_there_are_words_geometry_and_what_to_do(
    corpus_of: Callable[..., Corpus], encoder: Encoder, tmp_path: Path
) -> None:
    texts, _ = topic_texts(300, seed=0)
    report = evaluated(corpus_of(train=(texts, None)), encoder, tmp_path / "report")
    assert report.verdict.answer == "cannot tell"
    assert "no labels" in report.verdict.sentence
    assert "Label a few hundred documents" in report.verdict.sentence
    assert (report.labels, report.cells, report.chosen_encoder) == ((), (), "")
    assert [score.total for score in report.word_benchmarks["skip_gram"]][:2] == [353, 999]
    assert report.geometry["skip_gram"] is not None
    near = {each.word: [word for word, _ in each.nearest] for each in report.neighbours["skip_gram"]}
    assert any(word.startswith(topic) and all(other.startswith(topic) for other in others)
               for word, others in near.items() for topic in TOPICS)  # fmt: skip
    assert len(report.screen()) <= SCREEN_LINES
    assert report_figures(tmp_path / "report") == {}


def test_odd_labels_are_counted_and_said(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    train, labels = splits["train"]
    odd = [*labels]
    odd[0] = "alone"  # a class of one row
    odd[1:4] = ["rare"] * 3  # fewer than a budget of 8
    test, test_labels = splits["test"]
    corpus = corpus_of(
        train=([*train, "no label here"], [*odd, None]),
        validation=splits["validation"],
        test=(test, [*test_labels[:-2], "unheard", "alone"]),
    )
    report = evaluated(corpus, encoder, tmp_path / "report")
    notes = "\n".join(report.notes)
    assert report.labels == (*TOPICS[:2], "rare", *TOPICS[2:])
    assert "1 of 6 classes have fewer than 2 train rows and are left out with their 1 rows: 'alone'." in notes
    assert "2 test rows have a label that no train class stands for" in notes
    assert "1 train rows have no label" in notes
    assert "1 of 5 classes have fewer than 8 labels" in notes
    assert "1 classes have no test row" in notes
    assert report.test_rows == 198
    assert {c.train_labels for c in report.cells if c.labels_per_class == 8} == {4 * 8 + 3}


def test_budgets_that_are_every_label_are_not_repeated(
    corpus_of: Callable[..., Corpus], encoder: Encoder, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"labels_per_class": (2, 32, -1), "contenders": ("tfidf", "probe")})
    corpus = corpus_of(train=topic_texts(40, 0), validation=topic_texts(40, 1), test=topic_texts(100, 2))
    report = evaluated(corpus, encoder, tmp_path / "report", config)
    assert [budget.labels_per_class for budget in report.budgets] == [2, -1]
    assert "not repeated" in "\n".join(report.notes)


def test_an_encoder_that_has_seen_the_labels_is_marked(corpus_of: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = corpus_of(train=topic_texts(40, 0), validation=topic_texts(40, 1), test=topic_texts(100, 2))
    config = QUICK.model_copy(update={"labels_per_class": (-1,), "contenders": ("tfidf", "probe")})
    tokenizer = EncodedCorpus.from_token_lists([text.split() for text in topic_texts(40, 0)[0]]).tokenizer
    for objective in (sslcore.S4L(size="tiny"), sslcore.MaskedLM(size="tiny")):
        network = objective.network(tokenizer, torch_generator(0))
        encoder = Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)
        report = evaluated(corpus, encoder, tmp_path / objective.kind, config)
        marked = any("was pretrained with the labels of the whole training split" in note for note in report.notes)
        assert marked == (objective.kind == "s4l")


def test_too_few_test_rows_or_seeds_cannot_tell(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"contenders": ("tfidf", "probe"), "labels_per_class": (2, -1)})
    few = corpus_of("few", **{**splits, "test": topic_texts(20, seed=5)})
    report = evaluated(few, encoder, tmp_path / "few-report", config)
    assert report.verdict.answer == "cannot tell"
    assert "only 20 labelled test rows, 60 are needed" in report.verdict.sentence
    one_seed = config.model_copy(update={"seeds": (0,)})
    report = evaluated(corpus_of("seed", **splits), encoder, tmp_path / "seed-report", one_seed)
    assert report.verdict.answer == "cannot tell"
    assert "one seed" in report.verdict.sentence
    nothing = corpus_of("nothing", train=splits["train"], validation=splits["validation"])
    report = evaluated(nothing, encoder, tmp_path / "nothing-report", config)
    assert "the test split has no labelled row" in report.verdict.sentence


def test_mistakes_are_told_before_any_work(
    corpus_of: Callable[..., Corpus], splits: Splits, encoder: Encoder, tmp_path: Path
) -> None:
    texts, labels = splits["train"]
    one = corpus_of("one", train=(texts, ["music"] * len(texts)))
    with pytest.raises(UserError, match="needs two classes of 2 or more train rows; found one, 'music'"):
        evaluated(one, encoder, tmp_path / "report")
    assert not list((tmp_path / "report").iterdir())
    with pytest.raises(UserError, match="no encoder to evaluate"):
        write_evaluation_report(
            QUICK, corpus_of("two", train=(texts, labels)), {}, tmp_path, pretraining_seconds={}, seed=0
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels_per_class": [0, 8]}, "positive number of labels per class, or -1"),
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"contenders": ["bert"]}, "tfidf"),
        ({"minimum_effects": 0.1}, "minimum_effects"),
    ],
)
def test_a_wrong_configuration_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluation.model_validate(fields)


def test_budgets_are_sorted_with_all_of_them_last() -> None:
    assert Evaluation(labels_per_class=(-1, 32, 2, 32)).labels_per_class == (2, 32, -1)


def test_a_damaged_report_is_refused_by_field(
    corpus_of: Callable[..., Corpus], encoder: Encoder, tmp_path: Path
) -> None:
    evaluated(corpus_of(train=(topic_texts(40, 0)[0], None)), encoder, tmp_path / "report")
    path = tmp_path / "report" / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_rows": "many"}))
    with pytest.raises(UserError, match=r"test_rows: .*evaluate again"):
        EvaluationReport.load(tmp_path / "report")
    with pytest.raises(UserError, match=r"report\.json is missing"):
        EvaluationReport.load(tmp_path)
