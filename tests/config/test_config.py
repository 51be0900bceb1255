"""config: every mistake of the operator has its line, its key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from reeldrop.base import strict_yaml
from reeldrop.base.errors import ConfigError, Mistake, Unavailable
from reeldrop.config import builtin, config, profile_keys, profiles
from reeldrop.config.config import Config
from reeldrop.speed import fast

REPOSITORY = Path(__file__).parents[2]
MODELS = "models:\n  m: {path: x}\n"


def load(folder: Path, text: str | bytes) -> Config:
    """Write a config.yaml and load it."""
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path)


def mistakes(folder: Path, text: str | bytes) -> tuple[Mistake, ...]:
    """Return the mistakes of a config.yaml; each must name the file."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    found = tuple(caught.value.mistakes)
    assert {str(folder / "config.yaml")} == {mistake.file for mistake in found}
    return found


def mistake(folder: Path, text: str | bytes) -> Mistake:
    """Return the only mistake of a config.yaml."""
    (found,) = mistakes(folder, text)
    return found


def test_the_shipped_config_loads() -> None:
    """The shipped config.yaml is valid, with folders beside it."""
    loaded = config.load(REPOSITORY / "config.yaml")
    assert REPOSITORY / "inbox" == loaded.inbox
    assert REPOSITORY / "results" / "_failed" == loaded.failed
    assert {"ms-1.7b", "bundled"} == set(loaded.models)


def test_the_shipped_config_is_the_packages() -> None:
    """`reeldrop init` writes the file in the repository."""
    packaged = (REPOSITORY / "daemon" / "reeldrop" / "config.yaml").read_bytes()
    assert (REPOSITORY / "config.yaml").read_bytes() == packaged
    assert packaged.decode() == config.template()


def test_the_shipped_config_shows_the_defaults(tmp_path: Path) -> None:
    """Every value in it is the default, also in profiles."""
    shipped = load(tmp_path, config.template())
    assert shipped == load(tmp_path, "inbox: inbox\n")
    assert shipped.model_fields_set == set(Config.model_fields)
    profiles = strict_yaml.plain(strict_yaml.load_all(config.template())[0])["models"]
    assert {} == profiles.pop("bundled"), "it would keep the values of earlier weights"
    for name, profile in profiles.items():
        without = {k: v for k, v in builtin.profiles()[name].items() if k != "about"}
        assert without == {k: profile[k] for k in without}


def test_folders_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder does not matter."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir("/")
    (tmp_path / "x").mkdir()
    text = "inbox: ../in\nresults: /srv/out\nspool: ~/spool\nmodels:\n  m: {path: weights/a}\n"
    loaded = load(tmp_path / "x", text)
    assert tmp_path / "in" == loaded.inbox
    assert Path("/srv/out") == loaded.results
    assert Path("/home/somebody/spool") == loaded.spool
    assert tmp_path / "x" / "weights" / "a" == loaded.models["m"].path


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", "results/_failed"),
        ("results: out\n", "out/_failed"),
        ("results: out\nfailed: bad\n", "bad"),
        ("failed: results/x/y\n", "results/x/y"),
    ],
)
def test_failed_is_in_the_results(tmp_path: Path, lines: str, expected: str) -> None:
    """Unless it is set, `failed` is in the results, where people look."""
    assert tmp_path / expected == load(tmp_path, lines + MODELS).failed


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("inbox: results/x\n", "inbox"),
        ("results: inbox/out\n", "results"),
        ("spool: inbox/.spool\n", "spool"),
        ("spool: results\n", "results"),
        ("inbox: .\n", "results"),
        ("failed: results\n", "failed"),
        ("failed: inbox/bad\n", "failed"),
        ("failed: spool/active\n", "failed"),
        ("failed: .\n", "failed"),
    ],
)
def test_folders_that_overlap(tmp_path: Path, lines: str, key: str) -> None:
    """No folder may be inside another, except `failed` in the results."""
    found = mistake(tmp_path, lines + MODELS)
    assert key == found.key
    assert str(tmp_path) in found.problem


@pytest.mark.parametrize(
    ("text", "line", "key", "problem", "remedy"),
    [
        ("settle: 3\n" + MODELS, 1, "settle", "unknown key", "did you mean 'settle_seconds'?"),
        (MODELS + "qqqq: 3", 3, "qqqq", "unknown key 'qqqq'", "known are inbox, results"),
        ("settle_seconds: x\n" + MODELS, 1, "settle_seconds", "must be a number, not 'x'", ""),
        ("settle_seconds: -1\n" + MODELS, 1, "settle_seconds", "0 or more, not -1", ""),
        ("scan_seconds: 0\n" + MODELS, 1, "scan_seconds", "more than 0, not 0", ""),
        ("scan_seconds: .inf\n" + MODELS, 1, "scan_seconds", "3600", ""),
        ("scan_seconds: .nan\n" + MODELS, 1, "scan_seconds", "not nan", ""),
        ("ignore: '*.old'\n" + MODELS, 1, "ignore", "list, not", ""),
        ("ignore: [a, '*']\n" + MODELS, 1, "ignore.1", "such as '*.draft.txt'", ""),
        ("ignore: ['']\n" + MODELS, 1, "ignore.0", "such as '*.draft.txt'", ""),
        ("ignore: [5]\n" + MODELS, 1, "ignore.0", "such as '*.draft.txt'", ""),
        ("ignore: ['old/*']\n" + MODELS, 1, "ignore.0", "without a slash", ""),
        ("max_attempts: 2.5\n" + MODELS, 1, "max_attempts", "a whole number, not 2.5", ""),
        ("max_attempts: '2'\n" + MODELS, 1, "max_attempts", "a whole number, not '2'", ""),
        ("model: wan2.1-13b", 1, "model", "no profile 'wan2.1-13b'", "mean 'wan2.1-1.3b'? known"),
        ("model: ms-1.7b\nmodels: {ms-1.7b: }", 1, "model", "is removed under models", "name"),
        ("models:\n  mochi:", 2, "models.mochi", "has nothing in it", "write `{}` after it"),
        (
            "models:\n  x: {base: mochy, path: p}",
            2,
            "models.x.base",
            "no profile 'mochy'",
            "'mochi'?",
        ),
        ("model: 5\n" + MODELS, 1, "model", "a text, not 5", ""),
        ("inbox: 5\n" + MODELS, 1, "inbox", "the path of a folder", ""),
        ("inbox: ''\n" + MODELS, 1, "inbox", "the path of a folder", ""),
        ("results:\n" + MODELS, 1, "results", "the path of a folder", ""),
        ('spool: "a\\0b"\n' + MODELS, 1, "spool", "the path of a folder", ""),
        ("spool: ~nobody-of-this-name/x\n" + MODELS, 1, "spool", "~nobody-of-this-name", ""),
        ("models: {ms-1.7b: , bundled: }", 1, "models", "at least one", "reeldrop init"),
        ("models: [m]", 1, "models", "`key: value` lines", ""),
        ("models:\n  m: 5", 2, "models.m", "`key: value` lines", ""),
        ("models:\n  m: {}", 2, "models.m", "exactly one of repository, path and bundled", ""),
        ("models:\n  m: {path: x, bundled: true}", 2, "models.m", "exactly one of", ""),
        ("models:\n  m:\n    path: 5", 3, "models.m.path", "the path of a folder", ""),
        ("models:\n  m:\n    path: x\n    dtyp: auto", 4, "models.m.dtyp", "unknown", "'dtype'?"),
        ("models:\n  m:\n    path: x\n    dtype: int8", 4, "models.m.dtype", "int8", "'float16'"),
        ("models:\n  m: {path: x, dtype: {vae: f}}", 2, "models.m.dtype", "'f'", "'float32'"),
        ("models:\n  m: {path: x, dtype: [a]}", 2, "models.m.dtype", "`part: dtype` lines", ""),
        ("models:\n  m: {path: x, flow_shift: 0}", 2, "models.m.flow_shift", "than 0, not 0", ""),
        (
            "models:\n  m: {path: x, about: {license: x}}",
            2,
            "models.m.about.license",
            "",
            "'licence'",
        ),
        (
            "models:\n  m: {path: x, lossy: {deepcache: 2}}",
            2,
            "models.m.lossy.deepcache",
            "",
            "deep_c",
        ),
        (
            "models:\n  m: {path: x, defaults: {sigmas: [1.0, 0.5], num_inference_steps: 3}}",
            2,
            "models.m",
            "num_inference_steps is 3, but the list has 2 steps",
            "leave num_inference_steps out",
        ),
        (
            "models:\n  m: {path: x, defaults: {sigmas: [1.0], timesteps: [1]}}",
            2,
            "models.m",
            "sigmas and timesteps say the same",
            "give one of them",
        ),
        ("models:\n  m:\n    path: x\n    placement: gpu", 4, "models.m.placement", "", "'cuda'"),
        ("models:\n  m: {path: x, max_batch_size: 0}", 2, "models.m.max_batch_size", "not 0", ""),
        (
            "models:\n  m: {path: x, min_memory_gb: 20, placement: cpu}",
            2,
            "models.m",
            "min_memory_gb is that of a GPU, but placement is cpu",
            "leave one out",
        ),
        *(
            (
                f"models:\n  m:\n    path: x\n    window: {window}",
                4,
                "models.m.window",
                f"must be auto, or a whole number from 2 to 10000, not {told}",
                "",
            )
            for window, told in (
                ("Auto", "'Auto'"),
                ("1", "1"),
                ("true", "True"),
                ("16.0", "16.0"),
                ("'16'", "'16'"),
            )
        ),
        *(
            (
                f"models:\n  m:\n    path: x\n    window: 16\n    overlap: {overlap}",
                5,
                "models.m.overlap",
                f"an overlap of {overlap} does not fit a window of 16 frames",
                "use less than 16, such as 8",
            )
            for overlap in (16, 20)
        ),
        *(
            (
                f"models:\n  m:\n    path: x\n    limits: {{num_frames: {limit}}}",
                4,
                "models.m.limits.num_frames",
                "must be the largest value, or [smallest, largest]; neither is below 0",
                "",
            )
            for limit in ("-1", "[-1, 5]", ".inf", "[0, .inf]", "[9, 8]")
        ),
        ("ray: {renderers: some}\n" + MODELS, 1, "ray.renderers", "must be all, or a whole", ""),
        ("models:\n  m: {path: x, gpus: 0}", 2, "models.m.gpus", "1 or more, not 0", ""),
        ("models:\n  m: {path: x, gpus: 1.5}", 2, "models.m.gpus", "a whole number", ""),
        *(
            (f"models:\n  m: {{path: x, gpus: 2, {other}}}", 2, "models.m", problem, "leave it out")
            for other, problem in (
                ("placement: cpu", "several GPUs can't render a video together with placement"),
                ("speed: {compile: whole}", "together with compile: whole"),
                ("lossy: {first_block_cache: 0.1}", "together with first_block_cache"),
            )
        ),
        ("models:\n  m: {path: x, scheduler: 5}", 2, "models.m.scheduler", "not 5", ""),
        (
            "models:\n  m:\n    path: x\n    scheduler:\n      name: D\n      setting: {}",
            6,
            "models.m.scheduler.setting",
            "unknown key 'setting'",
            "did you mean 'settings'?",
        ),
        *(
            (
                f"models:\n  m:\n    path: x\n    speed:\n      {line}",
                5,
                f"models.m.speed.{line.partition(':')[0]}",
                words,
                remedy,
            )
            for line, words, remedy in [
                ("exact: yes", "must be auto, true or false", ""),
                ("exact: 1", "must be auto, true or false", ""),
                ("exakt: true", "unknown key 'exakt'", "did you mean 'exact'?"),
                ("compile: 1", "can't be 1", "use 'auto', 'off', 'whole' or 'blocks'"),
                ("text_once: true", "there is no 'text_once' any more", "it is part of `exact`"),
                ("compile_blocks: false", "there is no 'compile_blocks' any more", "`compile: "),
                ("cuda_graphs: true", "there is no 'cuda_graphs' any more", "leave it out"),
            ]
        ),
        ("models:\n  m: {path: x, speed: fast}", 2, "models.m.speed", "`key: value` lines", ""),
        ("models:\n  m: {path: x, limits: 5}", 2, "models.m.limits", "`key: value` lines", ""),
        *(
            (
                f"models:\n  m:\n    path: x\n    limits:\n      height: {limit}",
                5,
                "models.m.limits.height",
                "must be the largest value, or [smallest, largest]",
                "",
            )
            for limit in ("[64]", "[1, 2, 3]", "[640, 64]", "big", "[a, b]", "true", "", "{}")
        ),
        *(
            (
                f"models:\n  m:\n    path: x\n    defaults:\n      height: {value}",
                5,
                "models.m.defaults.height",
                "must be a text, a number, or true or false",
                "",
            )
            for value in ("", "[]", "[a]", "[true]", "{a: 1}")
        ),
        *(
            (f"models:\n  m: {{path: x, languages: {value}}}", 2, "models.m.languages", *wrong)
            for value, wrong in (
                ("english", ("must be a list of languages, such as [en, zh], or any", "")),
                ("[en, ZH]", ("'ZH' is no language", "such as zh")),
                ("[1]", ("1 is no language", "such as zh")),
            )
        ),
        *(
            (f"translate: {{{given}}}\n{MODELS}", 1, f"translate.{key}", *wrong)
            for given, key, *wrong in (
                ("zh: ./opus", "zh", "'./opus' is no repository", "`{path: ./opus}`"),
                ("ZH: a/b", "ZH", "'ZH' is no language", "such as zh"),
                ("zh: {}", "zh", "exactly one of repository and path", ""),
                ("zh: my opus/zh", "zh", "'my opus/zh' is no repository", "`{path: my opus/zh}`"),
                ("zh: {repository: x}", "zh.repository", "'x' is no repository", "`{path: x}`"),
                ("zh: {path: x, revision: v1}", "zh", "revision is a commit", "leave it out"),
                ("zh: {pat: x}", "zh.pat", "unknown key 'pat'", "did you mean 'path'"),
            )
        ),
        *(
            (
                f"models:\n  m: {{repository: {name}}}",
                2,
                "models.m.repository",
                f"'{name}' is no repository",
                f"a folder is named so: `{{path: {name}}}`",
            )
            for name in (
                "./models/mine",
                "/models/mine",
                "mine",
                "a/b/c",
                "a/b--c",
                "a/b-",
                "a/b.git",
            )
        ),
        (f"translate: {{deu: a/b}}\n{MODELS}", 1, "translate", "nothing here recognises 'deu'", ""),
        *(
            (f"{section}\n{MODELS}", 1, place, "unknown key", f"did you mean '{meant}'? {known}")
            for section, place, meant, known in [
                ("metrics: {prt: 9100}", "metrics.prt", "port", "known are textfile, port"),
                ("notify: [{url: x, quite: x}]", "notify.0.quite", "quiet", "known are url, on"),
                (
                    "provenance: {certificate: a, kee: b, key: b}",
                    "provenance.kee",
                    "key",
                    "known are certificate, key",
                ),
                ("ray: {adress: auto}", "ray.adress", "address", "known are address, renderers"),
            ]
        ),
        (f"translate: {{en: a/b}}\n{MODELS}", 1, "translate", "leave it out", ""),
        ("inbox: a: b\n" + MODELS, 1, "", "not YAML", "between quotes"),
        ("inbox: x\ninbox: y\n" + MODELS, 2, "", "'inbox' is there twice", "line 1"),
        ("inbox: !!str x\n" + MODELS, 1, "", "tag", "remove it"),
        (MODELS + "x: !!python/name:os.system\n", 3, "", "!!python/name:os.system is", "remove it"),
        ("models:\n  m: {path: x, path: y}\n", 2, "", "'path' is there twice", "line 2"),
        ("models:\n  m: {path: x, revision: 1}", 2, "models.m.revision", "a text, not 1", ""),
        ("models:\n  m: {path: x, bundled: 1}", 2, "models.m.bundled", "true or false", ""),
        ("", None, "", "`key: value` lines", "reeldrop init"),
        ("just text", None, "", "`key: value` lines", "reeldrop init"),
        ("- a", None, "", "`key: value` lines", "reeldrop init"),
        (MODELS + "---\na: 1", None, "", "`key: value` lines", "reeldrop init"),
        (b"\xff\xfe", None, "", "is not UTF-8 text", "UTF-8"),
    ],
)
def test_mistakes(
    tmp_path: Path, text: str | bytes, line: int | None, key: str, problem: str, remedy: str
) -> None:
    """Each mistake has file, line and key, the problem and the remedy."""
    found = mistake(tmp_path, text)
    assert (line, key) == (found.line, found.key)
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("models.wan2.1-1.3b.limits.num_frames", "line 4, column 14"),
        ("models.wan2.1-1.3b.window", "line 2, column 3"),  # the built-in profile has it
        ("models.m.overlap", "line 6, column 5"),
        ("model", ""),
        ("m", ""),
        ("", ""),
    ],
)
def test_what_comes_up_with_a_model_gets_its_place(tmp_path: Path, key: str, place: str) -> None:
    """Those of its keys, or of the section that they would be in; nothing else changes."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "models:\n  wan2.1-1.3b:\n    tiling: true\n    limits: {num_frames: 0}\n"
        "  m:\n    overlap: 3\n"
    )
    before = Mistake("it is wrong", "change it", key=key, example="so")
    with pytest.raises(Unavailable) as caught, config.placing(path):
        raise Unavailable(before)
    (found,) = caught.value.mistakes
    where = f"{path}, {place}, " if place else ""
    assert str(found) == where + str(before)
    assert "so" == found.example
    path.unlink()
    assert str(before) == str(config.placed(ConfigError(before), path))


def test_every_mistake_is_found_at_once(tmp_path: Path) -> None:
    """All mistakes are reported together."""
    text = "settle: 1\nmax_attempts: 0\nmodels:\n  m: {path: x, dtype: x}\n  n: {path: y, a: 1}\n"
    keys = {"settle", "max_attempts", "models.m.dtype", "models.n.a"}
    assert keys == {found.key for found in mistakes(tmp_path, text)}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*can't be read: No such.*reeldrop init"):
        config.load(tmp_path / "nowhere.yaml")


def test_profiles(tmp_path: Path) -> None:
    """A scheduler may be only a name, a limit only the largest value."""
    text = (
        "models:\n  m:\n    repository: a/b\n    scheduler: DDIMScheduler\n"
        "    defaults: {height: 64, fps: 12.5, negative_prompt: no, clean_caption: true}\n"
        "    limits: {num_frames: 200, height: [64, 128], guidance_scale: 0.5}\n"
        "  n:\n    path: x\n    scheduler: {name: D, settings: {shift: 3.0}}\n"
    )
    loaded = load(tmp_path, text)
    first, second = loaded.models["m"], loaded.models["n"]
    assert first.scheduler is not None
    assert second.scheduler is not None
    assert ("DDIMScheduler", {}) == (first.scheduler.name, first.scheduler.settings)
    assert ("D", {"shift": 3.0}) == (second.scheduler.name, second.scheduler.settings)
    assert {
        "height": 64,
        "fps": 12.5,
        "negative_prompt": "no",
        "clean_caption": True,
    } == first.defaults
    assert {
        "num_frames": (None, 200),
        "height": (64, 128),
        "guidance_scale": (None, 0.5),
    } == first.limits


def test_translation_is_turned_off_as_in_prompt_files(tmp_path: Path) -> None:
    """By `false`: it stands in place of the translators."""
    assert {} == load(tmp_path, f"translate: false\n{MODELS}").translate


def test_switches_of_the_fast_path(tmp_path: Path) -> None:
    """The loader gets only switches that are not auto. Earlier ones, which `init` wrote into every
    config.yaml, may be auto still."""
    for given, expected in (
        ("exact: false, mixed_precision: auto", {"exact": False}),
        ("compile: blocks", {"compile": "blocks"}),
        ("compile: true", {"compile": "whole"}),
        ("compile: false", {"compile": "off"}),
        (": auto, ".join(profile_keys.REPLACED) + ": auto", {}),
    ):
        text = f"models:\n  m:\n    path: x\n    speed: {{{given}}}\n"
        speed = profiles.source("m", load(tmp_path, text)).speed
        assert expected == speed


def test_every_way_of_the_fast_path_has_a_switch() -> None:
    """And each switch has a way."""
    assert [*fast.PLAIN] == list(profile_keys.Speed.model_fields)


@pytest.mark.parametrize(
    ("lines", "cuda", "expected"),
    [
        ("", True, "ms-1.7b"),
        ("", False, "bundled"),
        ("model: auto\n", False, "bundled"),
        ("model: other\n", True, "other"),
        ("model: other\n", False, "other"),
    ],
)
def test_selected_model(tmp_path: Path, lines: str, cuda: bool, expected: str) -> None:
    """auto depends on the machine; a name is that profile."""
    models = "models:\n  other: {path: b}\n"
    assert expected == load(tmp_path, lines + models).selected_model(cuda=cuda)


@pytest.mark.parametrize(("cuda", "missing"), [(True, "ms-1.7b"), (False, "bundled")])
def test_auto_without_its_profile(tmp_path: Path, cuda: bool, missing: str) -> None:
    """If the profile of auto is missing, the message names it and the others."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{MODELS}  ms-1.7b:\n  bundled:\n").selected_model(cuda=cuda)
    (found,) = caught.value.mistakes
    assert "model" == found.key
    assert f"'{missing}'" in found.problem
    assert "one of m" in found.remedy


def test_find_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The given file, the environment's, the current folder's, the system's."""
    system = tmp_path / "etc" / "config.yaml"
    monkeypatch.setattr(config, "SYSTEM_WIDE", system)
    monkeypatch.delenv(config.ENVIRONMENT, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="reeldrop init"):
        config.find(None)
    system.parent.mkdir()
    system.touch()
    assert system == config.find(None)
    (tmp_path / "here" / "config.yaml").touch()
    assert tmp_path / "here" / "config.yaml" == config.find(None)
    monkeypatch.setenv(config.ENVIRONMENT, "/environment.yaml")
    assert Path("/environment.yaml") == config.find(None)
    assert Path("/given.yaml") == config.find(Path("/given.yaml"))
