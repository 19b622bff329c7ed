"""What providers have refused, remembered once for all threads."""

import threading

from llm_sdks.base_sdk import LLMConfig
from llm_sdks.profiles.known import known
from llm_sdks.profiles.profile import NOTHING, Profile

_MOST_MODELS = 1000

# The model's document and its state, and what it is called where.
_Key = tuple[str, str, str, str]


class LearntProfiles:
    """The profiles of the models that a process calls; thread-safe.

    What was learnt is forgotten when a model's document changes, and when
    too many other models have been called since.
    """

    def __init__(self, most: int = _MOST_MODELS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._learnt: dict[_Key, Profile] = {}
        # The latest state of each document that was asked for.
        self._revisions: dict[str, str] = {}
        self._whole: dict[tuple[_Key, Profile | None, Profile], Profile] = {}

    def whole(self, config: LLMConfig, default: Profile) -> Profile:
        """Return everything that is known of a model.

        `default` is what the format knows of all its models.
        """
        key = _key(config), config.profile, default
        found = self._whole.get(key)
        if found is None:
            with self._lock:
                found = self.with_pending(config, default, NOTHING)
                self._keep(key, found)
        return found

    def with_pending(
        self, config: LLMConfig, default: Profile, pending: Profile
    ) -> Profile:
        """Return the same with what a call is just learning."""
        learnt = pending.over(self._learnt.get(_key(config), NOTHING))
        said = config.profile or NOTHING
        by_name = known(config.provider_model, config.endpoint)
        return said.over(learnt).over(by_name).over(default)

    def learn(self, config: LLMConfig, refused: Profile) -> bool:
        """Remember what a model's provider has refused; tell if it is new."""
        key = _key(config)
        with self._lock:
            before = self._learnt.pop(key, NOTHING)
            after = self._learnt[key] = refused.over(before)
            while len(self._learnt) > self._most:
                del self._learnt[next(iter(self._learnt))]
            if after != before:
                self._whole.clear()
            return after != before

    def of(self, model_id: str) -> Profile:
        """Return what was learnt of a model in its latest state."""
        with self._lock:
            revision = self._revisions.get(model_id)
            found = NOTHING
            for key, profile in self._learnt.items():
                if key[:2] == (model_id, revision):
                    found = profile.over(found)
        return found

    def _keep(
        self, key: tuple[_Key, Profile | None, Profile], whole: Profile
    ) -> None:
        (model_id, revision, *_), *_ = key
        if len(self._whole) >= self._most:
            self._whole.clear()
            self._revisions.clear()
        self._whole[key] = whole
        # Threads take up a change one after the other.
        if revision >= self._revisions.get(model_id, ""):
            self._revisions[model_id] = revision
            self._forget_older(model_id, revision)

    def _forget_older(self, model_id: str, revision: str) -> None:
        for key in list(self._learnt):
            if key[0] == model_id and key[1] < revision:
                del self._learnt[key]


def _key(config: LLMConfig) -> _Key:
    return (
        config.model_id,
        config.revision,
        config.endpoint,
        config.provider_model,
    )
