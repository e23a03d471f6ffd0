import pytest
import yaml

from qrdistill.base.errors import ConfigError
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import dump_config, load_config, placed

OWN = "questions: {task: jsonl, file: q.jsonl, kind: number}\n"
REST = "teachers: [{name: t, kind: replay, file: p.jsonl}]\nstudents: [{name: a, model: m}]\n"


def test_a_users_epochs_beat_a_presets_steps():
    assert load_config({}).train.steps == 200
    assert load_config({"train": {"epochs": 2}}).train.steps is None
    assert load_config({"train": {"epochs": 2, "steps": 7}}).train.with_steps(100).steps == 7


def test_what_a_preset_fills_in_is_not_what_the_user_wrote():
    assert (
        load_config({}).own_paths.max_tokens == load_config({"own_paths": {"samples": 3}}).own_paths.max_tokens == 160
    )
    for given, overrides, idle in [
        ({}, [], None),
        ({"own_paths": {"samples": 3}}, [], "own_paths.samples (own_paths.rounds is 0)"),
        ({}, ["own_paths.max_tokens=160"], "own_paths.max_tokens (own_paths.rounds is 0)"),
        (load_config({}), [], None),  # a resolved config names every key
        ({"own_paths": {"rounds": 1, "samples": 3}}, [], None),
        ({"own_paths": {"rounds": 1, "min_agreement": 0.5}}, [], "own_paths.min_agreement (own_paths.gold is true)"),
    ]:
        said = list(load_config(given, overrides).own_paths.without_effect())
        assert said == ([f"options without effect: {idle}"] if idle else [])


def test_a_learning_rate_that_is_left_out_follows_from_what_trains_and_is_written_down():
    students = [{"name": "a", "model": "m"}, {"name": "b", "model": "m", "lora": {}}]
    students.append({"name": "c", "model": "m", "lora": {}, "learning_rate": 0.5})
    config = load_config(
        {"questions": {"task": "gsm8k"}, "teachers": [{"name": "t", "kind": "lab"}], "students": students}
    )
    assert [student.learning_rate for student in config.students] == [2e-5, 2e-4, 0.5]
    assert [student["learning_rate"] for student in yaml.safe_load(dump_config(config))["students"]] == [
        2e-5,
        2e-4,
        0.5,
    ]


def write(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("seed: 1\nnme: x\n", 2, "nme", "did you mean 'name'"),
        (
            "students:\n  - name: a\n    model: b\n    learnig_rate: 3\n",
            4,
            "students.0.learnig_rate",
            "did you mean 'learning_rate'",
        ),
        ("teachers:\n  - {name: x, kind: openai, modle: y}\n", 2, "teachers.0.modle", "did you mean 'model'"),
        (
            "teachers:\n  - {name: x, kind: telepathy}\n",
            2,
            "teachers.0.kind",
            "unknown kind 'telepathy'; known: 'lab', 'replay', 'openai', 'transformers'",
        ),
        ("teachers:\n  - {name: x, kind: replya}\n", 2, "teachers.0.kind", "did you mean 'replay'?"),
        ("students:\n  - {name: a, model: b, kind: c}\n", 2, "students.0.kind", "unknown key; known here: name, model"),
        ("teachers:\n  - {name: x}\n", 2, "teachers.0", "say which `kind`"),
        ("\ntrain: {steps: -1}\n", 2, "train.steps", "-1: input should be greater"),
        ("router: {kind: lerned}\n", 1, "router.kind", "unknown kind 'lerned'; did you mean 'learned'?"),
        ("filter:\n  judges:\n    - {kind: lab, error_rte: 0.1}\n", 3, "filter.judges.0.error_rte", "'error_rate'"),
        ("students:\n  - {name: a, model: b}\n  - {name: a, model: c}\n", 3, "students.1.name", "used twice"),
        ("questions: 3\n", 1, "questions", "dictionary"),
        ("paths:\n  styles: [vanilla\n", 3, "", "not valid YAML"),
        ("- a\n", 1, "", "mapping of sections"),
        (OWN, 1, "teachers", "task 'jsonl' brings none; list at least one"),
        (OWN + "teachres: []\n", OWN.count("\n") + 1, "teachres", "did you mean 'teachers'"),
        ("students: [{name: a/b, model: c}]", 1, "students.0.name", "should match pattern"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_key(tmp_path, text, line, key, words):
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert (caught.value.line or 1, caught.value.key, caught.value.exit_code) == (line, key, 2)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read this config"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_resolved_config_is_complete_and_reads_back(tmp_path):
    config = load_config(write(tmp_path, OWN + REST))
    text = dump_config(config)
    assert set(yaml.safe_load(text)) == set(Config.model_fields)
    assert load_config(write(tmp_path, text)) == config


def test_files_are_relative_to_the_config(tmp_path):
    config = load_config(write(tmp_path, OWN + REST))
    assert config.questions.file == str(tmp_path / "q.jsonl")
    assert config.students[0].model == "m"  # no such folder: a hub id
    (tmp_path / "m").mkdir()
    assert load_config(tmp_path / "config.yaml").students[0].model == str(tmp_path / "m")


def test_overrides_reach_lists_by_name_and_index():
    config = load_config({}, ["train.steps=7", "students.gemma.learning_rate=2e-3", "teachers.0.coverage=0.3"])
    assert (config.train.steps, config.students[1].learning_rate, config.teachers[0].coverage) == (
        7,
        2e-3,
        0.3,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.steps", "no '='"),
        ("train.stps=3", "did you mean 'steps'"),
        ("students.nobody.name=x", "there are mistral, gemma"),
        ("name.x=3", "below 'name'"),
    ],
)
def test_a_wrong_override_is_explained(text, words):
    with pytest.raises(ConfigError, match=words):
        load_config({"name": "n"}, [text])


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ([], "{file}:3: router.kind"),
        (["router.kind=lerned"], "--set: router.kind"),
        (["router={kind: x}"], "--set: router.kind"),
    ],
)
def test_the_place_is_where_the_value_was_written(tmp_path, given, start):
    file = write(tmp_path, "name: x\nrouter:\n  kind: lerned\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, given)
    assert str(caught.value).startswith(start.format(file=file))


def test_what_a_stage_says_of_a_key_gets_its_place(tmp_path):
    file = write(tmp_path, "name: x\npaths:\n  styles: [poem]\n")
    said = ConfigError("unknown style 'poem'", key="paths.styles.0")
    assert str(placed(said, file)) == f"{file}:3: paths.styles.0: unknown style 'poem'"
    assert str(placed(said, file, ["paths.styles=[poem]"])).startswith("--set: paths.styles.0")
    assert str(placed(said, {"name": "x"})) == str(said)
    teacher = ConfigError("no key", key="teachers.0.api_key_env")
    assert str(placed(teacher, {}, ["teachers.scripted.api_key_env=X"])).startswith("--set: teachers.0.api")


def test_the_lab_judge_is_a_default_of_the_lab_only(tmp_path):
    assert load_config({"filter": {"votes": 3}}).filter.judges == ["lab"]
    assert load_config({"filter": {"judges": []}}).filter.judges == []
    assert load_config(write(tmp_path, OWN + REST)).filter.judges == []


def test_overrides_leave_the_given_mapping_alone():
    given = {"train": {"steps": 3}}
    assert load_config(given, ["train.steps=9"]).train.steps == 9
    assert given == {"train": {"steps": 3}}


KEY = "sk-proj-Ab0123456789cdefGH"
LONG = "AIzaSyA0123456789abcdefGHIJKLMNOPQRSTU"


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ({"api_key_env": KEY}, "api_key_env is no variable's name"),
        ({"api_key_env": LONG}, "api_key_env is no variable's name"),
        ({"api_key_env": "Zq8w7e6r5t4y3u2i1o0pAsDfGhJk"}, "api_key_env is no variable's name"),
        ({"api_key": KEY}, "unknown key; did you mean 'api_key_env'"),
        ({"extra_body": {"api_key": "short"}}, "extra_body.api_key holds what looks like a key"),
        ({"extra_body": {"headers": {"Authorization": "Bearer abc"}}}, "extra_body.headers.Authorization holds"),
        ({"extra_body": {"a": [{"b": KEY}]}}, "extra_body.a.0.b holds"),
        ({"extra_body": {KEY: 1}, "top_p": 3}, "top_p"),
        ({KEY: 1}, "unknown key"),
        ({"temperature": KEY}, "unable to parse"),
        ({"base_url": f"https://x:{KEY}@y.org"}, "base_url holds"),
    ],
)
def test_a_pasted_key_is_refused_without_being_shown(tmp_path, teacher, words):
    given = {"kind": "openai", "name": "t", "model": "m", **teacher}
    file = write(tmp_path, yaml.safe_dump({"teachers": [given]}))
    for source, overrides in (
        (file, []),
        ({}, ["teachers=[" + yaml.safe_dump(given, default_flow_style=True, width=9999) + "]"]),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            load_config(source, overrides)
        shown = f"{caught.value} {caught.value.__cause__} {caught.value.__context__ if not caught.value.__suppress_context__ else ''}"
        assert not any(secret in shown for secret in (KEY, KEY[3:], LONG, "Zq8w7e6r", "short", "abc"))


def test_variables_that_hold_keys_may_be_named():
    for name in ("GEMINI_API_KEY", "my_key_2", "OPENAI_KEY_TEAM_RESEARCH_2026", "_K"):
        given = {
            "kind": "openai",
            "name": "t",
            "model": "m",
            "api_key_env": name,
            "extra_body": {"top_k": 3, "max_tokens": 9},
        }
        assert load_config({"teachers": [given]}).teachers[0].api_key_env == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train.steps=true", "train.steps: 'true': input should be a valid integer"),
        ("train.steps=yes", "train.steps: 'true'"),
        ("router.temperature=[true, 1]", "router.temperature.0: 'true'"),
        ("filter.keep=true", "filter.keep"),
        ("seed=99999999999999999999", "a number of 20 digits is too large"),
        ("train.clip=.inf", "no finite number"),
        ("train.clip='inf'", "finite number"),
        ("students.².model=x", "no entry '²'; there are mistral, gemma"),
        ("students.٣.model=x", "no entry"),
        ("students." + "9" * 5000 + ".model=x", "no entry"),
        ("students.-1.model=x", "no entry '-1'"),
        ("a..b=1", "'a..b' is no key"),
        ("=1", "'' is no key"),
        (".".join("a" * 40) + "=1", "is no key"),
        ("name=!!python/object:x", "tags such as"),
        ("paths.styles=[vanilla", "not valid YAML"),
        ("name=a\ud800", "cannot stand in a config"),
        ("train.device=&a [*a]", "stands inside what it names"),
        ("train.steps=2026-02-30", "'2026-02-30': input should be a valid integer"),
    ],
)
def test_odd_overrides_are_refused_in_few_words(text, words):
    with pytest.raises(ConfigError) as caught:
        load_config({}, [text])
    assert str(caught.value).startswith("--set: ")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_override_that_is_no_yaml_is_a_text():
    teacher = {"kind": "openai", "name": "t", "model": "m"}
    config = load_config({"teachers": [teacher]}, ["teachers.t.system=Answer: yes: or no", "name=2026-01-01"])
    assert (config.teachers[0].system, config.name) == ("Answer: yes: or no", "2026-01-01")
