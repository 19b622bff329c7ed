import threading
from dataclasses import replace

import pytest

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.profiles.known import known
from llm_sdks.profiles.learnt import LearntProfiles
from llm_sdks.profiles.profile import (
    EVERYTHING,
    NEWER_LIMIT,
    NOTHING,
    OLDER_LIMIT,
    Profile,
)

CONFIG = LLMConfig("m", model_id="id-1", revision="2026-01-01")
HOT = Profile(supports_temperature=False)


def test_said_goes_before_learnt_before_known_before_the_format() -> None:
    config = replace(CONFIG, name="o3")
    learnt = LearntProfiles()
    assert not learnt.whole(config, EVERYTHING).supports_temperature
    assert learnt.whole(config, EVERYTHING).supports_tools
    learnt.learn(config, Profile(supports_tools=False))
    whole = learnt.whole(config, EVERYTHING)
    assert (whole.supports_tools, whole.supports_images) == (False, True)
    said = Profile(supports_tools=True, supports_temperature=True)
    whole = learnt.whole(replace(config, profile=said), EVERYTHING)
    assert whole.supports_tools
    assert whole.supports_temperature
    assert whole.token_limit_field == NEWER_LIMIT


def test_refused_keywords_add_up() -> None:
    one, two = (
        Profile(schema_keywords_refused=(each,)) for each in ("oneOf", "not")
    )
    assert one.over(two).schema_keywords_refused == ("not", "oneOf")
    assert Profile.of(one.over(HOT).known()) == one.over(HOT)


def test_a_changed_document_forgets_what_was_learnt() -> None:
    learnt = LearntProfiles()
    learnt.whole(CONFIG, EVERYTHING)
    learnt.learn(CONFIG, HOT)
    assert learnt.of("id-1") == HOT
    changed = replace(CONFIG, revision="2026-01-02")
    assert learnt.whole(changed, EVERYTHING) == EVERYTHING
    assert learnt.of("id-1") == NOTHING
    # A thread that has not seen the change yet disturbs nothing.
    learnt.whole(CONFIG, EVERYTHING)
    assert learnt.of("id-1") == NOTHING
    assert learnt.of("id-2") == NOTHING


def test_only_so_many_models_are_remembered() -> None:
    learnt = LearntProfiles(most=3)
    configs = [replace(CONFIG, model_id=f"id-{n}") for n in range(10)]
    for config in configs:
        learnt.whole(config, EVERYTHING)
        learnt.learn(config, HOT)
    kept = [learnt.whole(each, EVERYTHING) != EVERYTHING for each in configs]
    assert kept == [False] * 7 + [True] * 3


def test_threads_learn_together() -> None:
    learnt = LearntProfiles()
    names = ("supports_top_p", "supports_seed", "supports_stop")

    def learn(name: str) -> None:
        for _ in range(200):
            learnt.learn(CONFIG, Profile.of({name: False}))
            assert not getattr(learnt.whole(CONFIG, EVERYTHING), name)

    threads = [threading.Thread(target=learn, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert learnt.of("id-1") == Profile.of(dict.fromkeys(names, False))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("gpt-5", {"supports_temperature": False}),
        ("gpt-5.1-mini", {"token_limit_field": NEWER_LIMIT}),
        ("openai/o3-mini-2025-01-31", {"supports_temperature": False}),
        ("o1-preview", {"supports_system": False}),
        ("gpt-5-chat-latest", {"supports_temperature": None}),
        ("gpt-4o-mini", {"supports_temperature": None}),
        ("deepseek-reasoner", {"supports_json_schema": False}),
        ("DeepSeek-Chat", {"supports_json_schema": False}),
        ("mistral-large-latest", {"token_limit_field": OLDER_LIMIT}),
        ("gemma-2-9b-it", {"supports_system": False}),
        ("claude-sonnet-4-5", {"supports_temperature": None}),
        ("my-gpt-5", {"supports_temperature": None}),
        ("o365-helper", {"supports_temperature": None}),
        ("m", {"supports_temperature": None}),
    ],
)
def test_common_models_are_known(name: str, fields: dict[str, object]) -> None:
    profile = known(name)
    assert {each: getattr(profile, each) for each in fields} == fields


def test_the_same_weights_do_more_elsewhere() -> None:
    groq = "https://api.groq.com/openai/v1"
    name = "llama-3.3-70b-versatile"
    assert known(name, groq).supports_json_schema is False
    assert known(name, "https://host/v1") == NOTHING
