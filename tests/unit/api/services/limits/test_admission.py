"""Admission: all stages grant a call, or none keeps anything of it."""

from typing import cast

import pytest

from api.models.model_models import ModelWithKey
from api.services.calls.model_call import CallProgress, ModelCall
from api.services.limits.admission import (
    Admission,
    NotAdmittedError,
    WaitKind,
)


class Stage:
    """Notes what happens to it."""

    def __init__(self, refuses: WaitKind | None = None) -> None:
        self.refuses = refuses
        self.granted = 0
        self.ends: list[BaseException | None] = []

    async def admit(self, call: ModelCall) -> "Stage":
        assert call.user == "a question"
        if self.refuses is not None:
            raise NotAdmittedError(self.refuses, "not now", 2.0)
        self.granted += 1
        return self

    def ended(
        self, progress: CallProgress, error: BaseException | None
    ) -> None:
        assert isinstance(progress, CallProgress)
        self.ends.append(error)


# No stage here looks at the model.
CALL = ModelCall(cast("ModelWithKey", None), "", "a question", 1.0)


async def test_every_stage_grants_a_call_and_hears_of_its_end() -> None:
    stages = [Stage(), Stage()]
    async with Admission(stages).passing(CALL, CallProgress()):
        assert [(each.granted, each.ends) for each in stages] == [(1, [])] * 2
    assert [each.ends for each in stages] == [[None]] * 2


async def test_a_refused_call_is_not_made_and_leaves_the_stages_before() -> (
    None
):
    first, second, third = Stage(), Stage(WaitKind.BUDGET), Stage()
    made = False
    with pytest.raises(NotAdmittedError) as caught:
        async with Admission([first, second, third]).passing(
            CALL, CallProgress()
        ):
            made = True
    assert not made
    assert (caught.value.wait_kind, caught.value.retry_after) == ("budget", 2)
    assert first.ends == [caught.value]
    assert (third.granted, third.ends) == (0, [])


async def test_the_stages_hear_what_ended_a_call() -> None:
    stage, defect = Stage(), ValueError("x")
    with pytest.raises(ValueError, match="x"):
        async with Admission([stage]).passing(CALL, CallProgress()):
            raise defect
    assert stage.ends == [defect]
