"""What several seeds of a fine-tuning reached, in words."""

from typing import Any

from tasks.scores import FineTuned, Seeds, worse_in_most


def part(column: str, value: str, accuracy: float, difference: float) -> dict[str, Any]:
    return {"column": column, "value": value, "rows": 1200, "accuracy": accuracy, "difference": difference}


def test_slices_that_most_seeds_are_worse_on_are_said_the_worst_first() -> None:
    seeds = [
        [part("shop", "x", 0.8, -0.1), part("length", "1 to 9", 0.7, -0.2)],
        [part("shop", "x", 0.7, -0.2), part("length", "1 to 9", 0.5, -0.4), part("shop", "y", 0.1, -0.8)],
        [part("length", "1 to 9", 0.6, -0.3)],
    ]
    worse = worse_in_most(seeds)
    assert [(w.column, w.value, w.seeds) for w in worse] == [("length", "1 to 9", 3), ("shop", "x", 2)]
    assert worse_in_most(seeds[:2])[0].value == "1 to 9"  # y is worse in one of two: not in most
    result = FineTuned(
        shape="class",
        models=["a", "b", "c"],
        learning_rates=[None] * 3,
        best="b",
        validation={},
        test={"accuracy": Seeds(mean=0.8, interval=0.1, by_seed=[0.8] * 3)},
        test_rows=4000,
        worse_slices=[*worse * 3],
        not_sliced_by=[],
        trainable_parameters=1,
        total_parameters=2,
        seconds=[1.0] * 3,
        peak_memory_bytes=[1] * 3,
    )
    lines = result.lines()
    assert "  worse where length is 1 to 9 (1,200 rows): accuracy 0.600, 0.900 elsewhere, in 3 of 3 seeds" in lines
    assert "  … 1 more in details.json of the scores" in lines
    unsliced = result.model_copy(update={"worse_slices": [], "not_sliced_by": ["shop"]}).lines()
    assert any("predictions.jsonl has shop with each row" in line for line in unsliced)
    assert not any("worse where" in line for line in unsliced)
