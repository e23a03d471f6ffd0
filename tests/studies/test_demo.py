"""The demo's arms: the whole method and the recipe, at equal training per student, and the caller's word last."""

from qrdistill.runs.config import Config
from qrdistill.studies.demo import arms


def paths_per_student(config: Config) -> float:
    return config.train.num_steps * config.train.paths_per_step / len(config.students)


def test_the_arms_are_the_whole_method_and_equal_per_student():
    found = arms(3)
    assert list(found) == ["recipe", "learned", "base"]
    assert {config.seed for config in found.values()} == {3}
    learned, recipe = found["learned"], found["recipe"]
    assert (learned.router.kind, recipe.router.kind) == ("learned", "best_style")
    assert learned.mutual.weight > 0
    assert recipe.own_paths.rounds > 0
    assert all(config.filter.judges for config in found.values())
    assert paths_per_student(recipe) == paths_per_student(learned)
    assert found["base"].train.steps == 0


def test_the_callers_word_is_last():
    found = arms(0, ["train.steps=7", "questions.train=24", "own_paths.rounds=0"])
    assert [config.train.steps for config in found.values()] == [7, 7, 0]
    assert {(config.questions.train, config.own_paths.rounds) for config in found.values()} == {(24, 0)}
