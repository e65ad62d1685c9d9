"""The evaluation report: everything that was measured, as one checked JSON file, a markdown page and a screenful."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sslcore.errors import UserError
from sslcore.evaluation.budgets import ALL
from sslcore.evaluation.config import Method
from sslcore.evaluation.geometry import Geometry, Neighbours
from sslcore.evaluation.label_efficiency import Cell, Score
from sslcore.evaluation.verdict import Verdict, number
from sslcore.evaluation.word_benchmarks import WordScore
from sslcore.training.probing import Probed, said_of

REPORT = "report.json"
SCREEN_LINES = 25


class ContenderInfo(BaseModel):
    """One line of the table."""

    model_config = ConfigDict(frozen=True)

    name: str
    method: Method
    encoder: str  # "" for the baseline
    pretrained: bool


class Budget(BaseModel):
    """One column of the table."""

    model_config = ConfigDict(frozen=True)

    labels_per_class: int  # as asked for; −1: every label
    labels: float  # per class, really had, on average

    @property
    def title(self) -> str:
        """`8`, or `all (2,140)`."""
        return f"all ({number(self.labels)})" if self.labels_per_class == ALL else str(self.labels_per_class)


class Confusion(BaseModel):
    """Test rows by true and predicted class: the chosen contender with every label, first seed."""

    model_config = ConfigDict(frozen=True)

    contender: str
    rows: tuple[tuple[int, ...], ...]  # [true][predicted], in the order of the report's labels


class EvaluationReport(BaseModel):
    """What the encoders brought. Lists over classes are in the order of `labels`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    labels: tuple[str, ...]  # empty: the corpus has none
    train_rows: int
    validation_rows: int
    test_rows: int
    budgets: tuple[Budget, ...]
    contenders: tuple[ContenderInfo, ...]
    table: tuple[Score, ...]
    cells: tuple[Cell, ...]
    verdict: Verdict
    chosen_encoder: str  # of the pretrained contender that the validation rows preferred; "" without labels
    confusion: Confusion | None
    word_benchmarks: dict[str, tuple[WordScore, ...]]  # by encoder
    geometry: dict[str, Geometry | None]
    neighbours: dict[str, tuple[Neighbours, ...]]
    pretraining_seconds: dict[str, float]
    probes: dict[str, tuple[Probed, ...]] = {}  # of the encoders that a probe chose while they were pretrained
    seconds: dict[str, float]  # of each part of this evaluation
    notes: tuple[str, ...]  # what was left out, capped or run once

    def save(self, folder: str | Path) -> None:
        """Write report.json."""
        (Path(folder) / REPORT).write_text(self.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "EvaluationReport":
        """The report of a folder. Raises UserError when report.json is missing or not a report."""
        path = Path(folder) / REPORT
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{folder} holds no evaluation report: {REPORT} is missing") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole file"
            raise UserError(f"{path}: {field}: {first['msg']}; evaluate again") from error

    def score(self, contender: str, labels_per_class: int) -> Score:
        """One place of the table."""
        return next(s for s in self.table if s.contender == contender and s.labels_per_class == labels_per_class)

    def score_rows(self) -> list[dict[str, Any]]:
        """The table as rows: contender, labels per class ("all" for every one), means and 95 % intervals."""
        return [
            {
                "contender": score.contender,
                "labels per class": "all" if score.labels_per_class == ALL else score.labels_per_class,
                "macro-F1": round(score.macro_f1, 4),
                "low": round(score.low, 4),
                "high": round(score.high, 4),
                "accuracy": round(score.accuracy, 4),
                "seeds": score.seeds,
                "spread over seeds": None if score.seed_spread is None else round(score.seed_spread, 4),
                "seconds": round(score.seconds, 2),
                "steps": round(score.steps),
            }
            for score in self.table
        ]

    def markdown(self) -> str:
        """The report as a page: verdict, table, words, geometry, neighbours, notes."""
        parts = [f"## {self.verdict.answer.capitalize()}", self.verdict.sentence]
        if self.table:
            parts += [
                f"Macro-F1 on {self.test_rows:,} test rows, {len(self.labels)} classes: mean over seeds "
                "[95 % interval]; best of each column in bold.",
                self.score_table(),
                self.comparison_table(),
                self.noise_line(),
            ]
        if self.word_benchmarks:
            names = [each.benchmark for each in next(iter(self.word_benchmarks.values()))]
            rows = [[name, *(said(each) for each in found)] for name, found in self.word_benchmarks.items()]
            parts += ["### Words", markdown_table(["encoder", *names], rows)]
        shapes = {name: shape for name, shape in self.geometry.items() if shape}
        if shapes:
            rows = [
                [name, f"{g.effective_rank:.0f} of {g.dimensions}", f"{g.uniformity:.2f}", f"{g.anisotropy:.2f}"]
                for name, g in shapes.items()
            ]
            head = ["encoder", "effective rank", "uniformity", "anisotropy"]
            parts += ["### Shape of the space", markdown_table(head, rows)]
        if self.probes:
            chosen = [f"- {name}: {said_of(found)}" for name, found in self.probes.items()]
            parts += ["### Pretext loss and probe", "\n".join(chosen)]
        for name, found in self.neighbours.items():
            rows = [[each.word, ", ".join(word for word, _ in each.nearest)] for each in found]
            parts += [f"### Nearest words, {name}", markdown_table(["word", "nearest"], rows)]
        if self.notes:
            parts += ["### Notes", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def score_table(self) -> str:
        """Contenders × budgets in markdown."""
        best = {
            budget.labels_per_class: max(
                (s for s in self.table if s.labels_per_class == budget.labels_per_class), key=lambda s: s.macro_f1
            ).contender
            for budget in self.budgets
        }
        rows = []
        for contender in self.contenders:
            row = [contender.name]
            for budget in self.budgets:
                score = self.score(contender.name, budget.labels_per_class)
                mark = "**" if best[budget.labels_per_class] == contender.name else ""
                row.append(f"{mark}{score.macro_f1:.3f}{mark} [{score.low:.3f}, {score.high:.3f}]")
            last = self.score(contender.name, self.budgets[-1].labels_per_class)
            rows.append([*row, f"{last.seconds:.1f} s, {last.steps:,.0f}"])
        head = ["labels per class", *(budget.title for budget in self.budgets), "time, steps at the most labels"]
        return markdown_table(head, rows)

    def noise_line(self) -> str:
        """How large a difference the seeds alone may make."""
        noise = self.verdict.seed_noise
        if noise is None:
            return ""
        return f"A gain below {noise:.3f}, averaged over the budgets, may be the luck of the seeds."

    def comparison_table(self) -> str:
        """The verdict's two contenders at each budget."""
        verdict = self.verdict
        if not verdict.budgets:
            return ""
        rows = []
        for budget, gain in zip(self.budgets, verdict.budgets, strict=True):
            needs = gain.baseline_needs
            rows.append(
                [
                    budget.title,
                    f"{gain.pretrained:.3f}",
                    f"{gain.baseline:.3f}",
                    f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
                    f"{needs.bound} {number(needs.labels)}",
                ]
            )
        head = [
            "labels per class",
            verdict.pretrained,
            verdict.baseline,
            "gain",
            "labels for the same without",
        ]
        return markdown_table(head, rows)

    def screen(self) -> list[str]:
        """At most 25 lines for a terminal: the table, the words, the verdict."""
        lines = []
        if self.table:
            lines += [
                f"Macro-F1 by labels per class, mean ± half the 95 % interval ({self.test_rows:,} test rows, "
                f"{len(self.labels)} classes)",
                *self.screen_table(),
                "",
            ]
        for name, found in list(self.word_benchmarks.items())[:4]:
            told = [
                f"{each.benchmark} {said(each)}"
                for each in found
                if each.score is not None and "," not in each.benchmark
            ]
            lines.append(f"Words, {name}: {'; '.join(told) or 'the vocabulary covers none of the benchmarks'}")
        for name, shape in list(self.geometry.items())[:4]:
            if shape:
                lines.append(
                    f"Space, {name}: {shape.effective_rank:.0f} of {shape.dimensions} dimensions in use, "
                    f"anisotropy {shape.anisotropy:.2f}"
                )
        if not self.table:
            for near in list(self.neighbours.values())[:2]:
                lines += [f"  {each.word}: {', '.join(word for word, _ in each.nearest)}" for each in near[:5]]
        lines += ["", self.verdict.sentence]
        return lines[: SCREEN_LINES - 2] + lines[-2:] if len(lines) > SCREEN_LINES else lines

    def screen_table(self) -> list[str]:
        """Contenders × budgets in columns; at most 12 contenders, the best at the fewest labels first."""
        fewest = self.budgets[0].labels_per_class
        order = sorted(self.contenders, key=lambda contender: -self.score(contender.name, fewest).macro_f1)[:12]
        rows = [["", *(budget.title for budget in self.budgets)]]
        for contender in order:
            scores = [self.score(contender.name, budget.labels_per_class) for budget in self.budgets]
            rows.append([contender.name, *(f"{s.macro_f1:.3f} ±{(s.high - s.low) / 2:.3f}" for s in scores)])
        first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            f"  {name:{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, others, strict=True))
            for name, *cells in rows
        ]


def said(score: WordScore) -> str:
    """`0.412 (203 of 353)`."""
    value = "–" if score.score is None else f"{score.score:.3f}"
    return f"{value} ({score.found:,} of {score.total:,})"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A GitHub-flavoured table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
